// The operations on raw arrays, without torch: what the binding calls, and what the tests build under sanitizers.
//
// Contracts are those of videxplain/ops/reference.py. Arrays are contiguous; nothing is checked here.
#pragma once

#include <cstdint>
#include <functional>

namespace videxplain {

struct Shape {
  int64_t frames, height, width;
  int64_t voxels() const { return frames * height * width; }
};

// Calls body(begin, end) on pieces of [0, count), each about `grain` or longer, side by side where that pays.
using ParallelFor = std::function<void(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>&)>;

// Lab values are summed as integers in units of 1 / kColourUnit, so that the order of summation cannot matter.
constexpr float kColourUnit = 65536, kColourLimit = 30000;

// Lightness is compared relative to this, so that squares stay small beside the digits of a float.
constexpr float kMiddle = 50;

inline int32_t fixed_point(float value) {
  const float limited = value > -kColourLimit ? (value < kColourLimit ? value : kColourLimit) : -kColourLimit;
  return static_cast<int32_t>(limited * kColourUnit);  // an exact product, cut off
}

// A place along an axis as an index in 0..size, cut off; what is not a number is 0.
template <typename Real>
inline int64_t index_within(Real place, int64_t size) {
  if (!(place > 0)) return 0;
  return place < static_cast<Real>(size) ? static_cast<int64_t>(place) : size;
}

struct SlicSettings {
  int64_t grid[3];  // clusters along t, y, x
  float weight[3];  // of the squared distance along t, y, x
  float reach[3];   // of a centre's window along t, y, x
  int64_t iterations;
  bool warm;  // start from the centres given
  int64_t clusters() const { return grid[0] * grid[1] * grid[2]; }
};

// Voxels of one label or component, and the sums of their colours in fixed point.
struct ColourSums {
  int64_t size, colour[3];
};

// scikit-image's SLIC: its labels, voxel for voxel.
struct ExactSettings {
  int64_t clusters;
  double weight;      // of the squared distance in space
  double spacing[3];  // along t, y, x
  double reach[3];    // of a centre's window
  int64_t iterations;
};

enum class Reduction { kSum, kMean, kMax };

struct ReduceSettings {
  int64_t channels;  // of dense
  Shape cam;         // size of the class activation map
  int64_t num_segments;
  Reduction reduction;
  bool keep_sign;
};

// Rows of a batch, `step` to a clip and `size` clips to a ring: a chord leads from a row to the same one of the next
// clip.
struct Ring {
  int64_t size, step;
};

// What a pooling makes of each row: so many places of so many.
struct PoolShape {
  int64_t inputs, outputs, channels;
};

// What is compiled once for each instruction set.
struct Kernels {
  const char* instruction_set;  // "AVX-512", "AVX2" or "plain"

  // Linear sRGB, a channel each, to CIELAB.
  void (*lab_of_linear)(const float* const linear[3], float* const lab[3], int64_t count);

  // lab (3, T, H, W) to labels (T, H, W); centres (K, 6), read where the start is warm, are left as they end.
  // Each label's sums (K,) go to `totals` unless it is null.
  void (*slic)(const float* lab, Shape shape, const SlicSettings& settings, int32_t* labels, float* centres,
               ColourSums* totals, const ParallelFor& parallel);

  // lab (3, T, H, W), already divided by the compactness, and seeds (K, 3) as t, y, x, to labels (T, H, W).
  void (*slic_exact)(const double* lab, Shape shape, const double* seeds, const ExactSettings& settings,
                     int32_t* labels, const ParallelFor& parallel);

  // labels (T, H, W), dense (C, T, H, W) or null, cam (t, h, w) or null, to scores (K,). False where a label lies
  // outside 0..K-1.
  bool (*segment_reduce)(const int32_t* labels, const float* dense, const float* cam, Shape shape,
                         const ReduceSettings& settings, float* scores, const ParallelFor& parallel);

  // All (rows, values): out = gradient times the slope of the chord of a value kept between two bounds.
  void (*clamp_chords)(const float* x, const float* gradient, float* out, int64_t rows, int64_t values, Ring ring,
                       float low, float high, const ParallelFor& parallel);

  // x, out (rows, inputs, channels), the others (rows, outputs, channels), `places` among the inputs: out is, where
  // the larger of two maxima lies, the gradient times the share of its change that reaches the maximum. False where a
  // place is none of the inputs'.
  bool (*max_pool_chords)(const float* x, const float* y, const int64_t* places, const float* gradient, float* out,
                          int64_t rows, PoolShape shape, Ring ring, const ParallelFor& parallel);
};

// The best of them that this machine runs.
const Kernels& kernels();

// Channels of `rgb` lie `channel_step` apart, voxels `voxel_step`; `lab` is (3, T, H, W).
struct Layout {
  int64_t channel_step, voxel_step;
};
void rgb_to_lab(const uint8_t* rgb, Layout layout, float* lab, int64_t voxels, const ParallelFor& parallel);
void rgb_to_lab(const float* rgb, Layout layout, float* lab, int64_t voxels, const ParallelFor& parallel);

// labels (T, H, W), lab (3, T, H, W) to connected (T, H, W).
// With `totals`, of labels in 0..K-1, only the voxels of small components are looked at again; else null.
void connect_segments(const int32_t* labels, const float* lab, Shape shape, int64_t min_size, const ColourSums* totals,
                      int64_t num_labels, int32_t* connected, const ParallelFor& parallel);

// All of it: frames (T, H, W, 3) to connected labels (T, H, W); centres as for slic.
void supervoxels(const uint8_t* frames, Shape shape, const SlicSettings& settings, int64_t min_size, int32_t* connected,
                 float* centres, const ParallelFor& parallel);

// labels (T, H, W), none negative, to connected (T, H, W).
void connect_exact(const int32_t* labels, Shape shape, int64_t min_size, int64_t max_size, int32_t* connected);

}  // namespace videxplain
