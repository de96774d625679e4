// Backward passes along chords: what videxplain/passes/secants.py does with tensors, each value read once.
// Compiled once for each instruction set.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "variants.h"
#include "vectors.h"

namespace videxplain::VX_ISA {

namespace {

constexpr int64_t kGrain = 1 << 15;  // values that are worth a thread
constexpr int64_t kLine = 16;        // channels that share a cache line

// The same row of the next clip in a row's ring.
int64_t following(int64_t row, Ring ring) {
  return row / ring.step % ring.size + 1 < ring.size ? row + ring.step : row - (ring.size - 1) * ring.step;
}

// How much of the way between two values is above 0.
inline float share_above(float x, float other) {
  const float size = std::max(std::abs(x) + std::abs(other), std::numeric_limits<float>::min());
  return (std::max(x, 0.0f) + std::max(other, 0.0f)) / size;
}

}  // namespace

void clamp_chords(const float* x, const float* gradient, float* out, int64_t rows, int64_t values, Ring ring, float low,
                  float high, const ParallelFor& parallel) {
  const bool bounded = high < std::numeric_limits<float>::infinity();
  parallel(rows * values, kGrain, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t row = begin / values, stop = std::min(end, (row + 1) * values);
      const float* other = x + (following(row, ring) - row) * values;
      if (bounded)
        for (int64_t i = begin; i < stop; ++i)
          out[i] = (share_above(x[i] - low, other[i] - low) - share_above(x[i] - high, other[i] - high)) * gradient[i];
      else
        for (int64_t i = begin; i < stop; ++i) out[i] = share_above(x[i] - low, other[i] - low) * gradient[i];
      begin = stop;
    }
  });
}

bool max_pool_chords(const float* x, const float* y, const int64_t* places, const float* gradient, float* out,
                     int64_t rows, PoolShape shape, Ring ring, const ParallelFor& parallel) {
  const int64_t channels = shape.channels, groups = (channels + kLine - 1) / kLine;
  const int64_t grain = std::max<int64_t>(1, kGrain / (shape.inputs * std::min(channels, kLine)));
  std::atomic<bool> good{true};
  parallel(rows * groups, grain, [&](int64_t begin, int64_t end) {
    bool all_inside = true;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task / groups, first = task % groups * kLine, count = std::min(kLine, channels - first);
      const int64_t large = row * shape.inputs * channels + first, small = row * shape.outputs * channels + first;
      const int64_t ahead = following(row, ring) - row;
      const float *x0 = x + large, *x1 = x0 + ahead * shape.inputs * channels;
      const int64_t to_next = ahead * shape.outputs * channels;
      float* leaving = out + large;
      for (int64_t i = 0; i < shape.inputs; ++i) std::fill_n(leaving + i * channels, count, 0.0f);
      for (int64_t i = 0; i < shape.outputs; ++i)
        for (int64_t at = small + i * channels, c = 0; c < count; ++c, ++at) {
          const float y0 = y[at], y1 = y[at + to_next];
          const int64_t input = y0 >= y1 ? places[at] : places[at + to_next];
          const bool inside = static_cast<uint64_t>(input) < static_cast<uint64_t>(shape.inputs);
          all_inside &= inside;
          const int64_t place = (inside ? input : 0) * channels + c;
          const float slope = (y0 - y1) / (x0[place] - x1[place]);
          leaving[place] += (std::isnan(slope) ? 1.0f : slope) * gradient[at];  // 0 / 0 where nothing changes
        }
    }
    if (!all_inside) good = false;
  });
  return good;
}

}  // namespace videxplain::VX_ISA
