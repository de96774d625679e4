// Linear sRGB to CIELAB, a vector of values at a time. Compiled once for each instruction set.
#include <algorithm>
#include <cmath>

#include "variants.h"
#include "vectors.h"

namespace videxplain::VX_ISA {

namespace {

inline Floats curve(Floats value) {
  const Floats cut = all(0.008856f);
  const Floats x = value > cut ? value : cut;
  Ints bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits = bits / 3 + 709921077;
  Floats y;
  std::memcpy(&y, &bits, sizeof y);
  for (int step = 0; step < 2; ++step) {
    const Floats cube = y * y * y;
    y = y * ((cube + (x + x)) / ((cube + cube) + x));
  }
  return value > cut ? y : 7.787f * value + static_cast<float>(16.0 / 116.0);
}

// Linear sRGB to XYZ over the D65 white point, each entry divided in double and rounded once.
constexpr float kXyz[3][3] = {
    {float(0.412453 / 0.95047), float(0.357580 / 0.95047), float(0.180423 / 0.95047)},
    {0.212671f, 0.715160f, 0.072169f},
    {float(0.019334 / 1.08883), float(0.119193 / 1.08883), float(0.950227 / 1.08883)},
};

inline void lab_of_vector(Floats r, Floats g, Floats b, Floats out[3]) {
  Floats f[3];
  for (int i = 0; i < 3; ++i) f[i] = curve((kXyz[i][0] * r + kXyz[i][1] * g) + kXyz[i][2] * b);
  out[0] = 116.0f * f[1] - 16.0f;
  out[1] = 500.0f * (f[0] - f[1]);
  out[2] = 200.0f * (f[1] - f[2]);
}

}  // namespace

void lab_of_linear(const float* const linear[3], float* const lab[3], int64_t count) {
  Floats out[3];
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    lab_of_vector(load(linear[0] + i), load(linear[1] + i), load(linear[2] + i), out);
    for (int c = 0; c < 3; ++c) store(lab[c] + i, out[c]);
  }
  if (i == count) return;
  float rest[3][kLanes] = {};
  for (int c = 0; c < 3; ++c) std::copy(linear[c] + i, linear[c] + count, rest[c]);
  lab_of_vector(load(rest[0]), load(rest[1]), load(rest[2]), out);
  for (int c = 0; c < 3; ++c) {
    store(rest[c], out[c]);
    std::copy(rest[c], rest[c] + (count - i), lab[c] + i);
  }
}

}  // namespace videxplain::VX_ISA
