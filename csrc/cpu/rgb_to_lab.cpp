// sRGB to CIELAB: linear by a table, the rest in vectors.
#include <algorithm>
#include <array>
#include <cmath>

#include "../kernels.h"

namespace videxplain {
namespace {

constexpr int kSteps = 4096;
constexpr int64_t kBlock = 1024;  // voxels that stay in the nearest cache between the two halves of the work

double linear(double value) { return value > 0.04045 ? std::pow((value + 0.055) / 1.055, 2.4) : value / 12.92; }

template <int Count>
std::array<float, Count + 1> linear_table() {
  std::array<float, Count + 1> table{};
  for (int i = 0; i <= Count; ++i) table[i] = static_cast<float>(linear(static_cast<double>(i) / Count));
  return table;
}

// The table for values of a kind, which loops fetch once.
const float* table_for(uint8_t) {
  static const std::array<float, 256> table = linear_table<255>();
  return table.data();
}

const float* table_for(float) {
  static const std::array<float, kSteps + 1> table = linear_table<kSteps>();
  return table.data();
}

inline float linear_of(uint8_t value, const float* table) { return table[value]; }

inline float linear_of(float value, const float* table) {
  // written so that a NaN becomes 0
  const float place = (value > 0.0f ? std::min(value, 1.0f) : 0.0f) * static_cast<float>(kSteps);
  const int low = std::min(static_cast<int>(place), kSteps - 1);
  return table[low] + (table[low + 1] - table[low]) * (place - static_cast<float>(low));
}

template <typename Value>
void convert(const Value* rgb, Layout layout, float* lab, int64_t voxels, const ParallelFor& parallel) {
  const float* const table = table_for(Value{});
  parallel((voxels + kBlock - 1) / kBlock, 32, [&](int64_t begin, int64_t end) {
    float values[3][kBlock];
    const float* const in[3] = {values[0], values[1], values[2]};
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kBlock, count = std::min(kBlock, voxels - first);
      float* out[3];
      for (int c = 0; c < 3; ++c) {
        const Value* channel = rgb + c * layout.channel_step + first * layout.voxel_step;
        for (int64_t i = 0; i < count; ++i) values[c][i] = linear_of(channel[i * layout.voxel_step], table);
        out[c] = lab + c * voxels + first;
      }
      kernels().lab_of_linear(in, out, count);
    }
  });
}

}  // namespace

void rgb_to_lab(const uint8_t* rgb, Layout layout, float* lab, int64_t voxels, const ParallelFor& parallel) {
  convert(rgb, layout, lab, voxels, parallel);
}

void rgb_to_lab(const float* rgb, Layout layout, float* lab, int64_t voxels, const ParallelFor& parallel) {
  convert(rgb, layout, lab, voxels, parallel);
}

}  // namespace videxplain
