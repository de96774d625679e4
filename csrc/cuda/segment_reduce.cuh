// Kernels of the fused reduction. Sums are kept as integers, so that the order in which threads arrive cannot matter.
//
// Two passes over the voxels: the first finds the largest magnitude of a clip, which sets the unit of the integers; the
// second adds up. A thread walks along a stretch of voxels and touches memory once for each run of equal labels.
#pragma once

#include <cstdint>

namespace videxplain::cuda {

constexpr int kThreads = 256;
constexpr int kStretch = 16;  // voxels that one thread walks along

struct Reduce {
  const int32_t* labels;
  const float* dense;  // null stands for 1
  const float* cam;    // null stands for 1
  int64_t frames, height, width, channels;
  int64_t cam_frames, cam_height, cam_width;
  int64_t num_segments;
  int reduction;  // 0 sum, 1 mean, 2 max
  bool keep_sign;
  // of each clip: the bits of the largest magnitude; of each segment: a sum or a maximum, and a count
  unsigned long long *largest, *values, *counts;
  float* scores;
};

// The lower of the two samples of a place and the weight of the upper; half-pixel centres.
__device__ inline int64_t sample(int64_t place, int64_t small, int64_t large, float& weight) {
  const double ratio = static_cast<double>(small) / static_cast<double>(large);
  const double at = fmax((static_cast<double>(place) + 0.5) * ratio - 0.5, 0.0);
  int64_t low = static_cast<int64_t>(at);
  if (low > small - 1) low = small - 1;
  weight = low < small - 1 ? static_cast<float>(at - static_cast<double>(low)) : 0.0f;
  return low;
}

__device__ inline float blend(float a, float b, float weight) { return a * (1 - weight) + b * weight; }

__device__ inline float upsampled(const Reduce& r, const float* cam, int64_t t, int64_t y, int64_t x) {
  float wt, wy, wx;
  const int64_t t0 = sample(t, r.cam_frames, r.frames, wt), y0 = sample(y, r.cam_height, r.height, wy);
  const int64_t x0 = sample(x, r.cam_width, r.width, wx);
  const int64_t t1 = t0 + 1 < r.cam_frames ? t0 + 1 : t0, y1 = y0 + 1 < r.cam_height ? y0 + 1 : y0;
  const int64_t x1 = x0 + 1 < r.cam_width ? x0 + 1 : x0;
  const auto at = [&](int64_t i, int64_t j, int64_t k) { return cam[(i * r.cam_height + j) * r.cam_width + k]; };
  const float left = blend(blend(at(t0, y0, x0), at(t1, y0, x0), wt), blend(at(t0, y1, x0), at(t1, y1, x0), wt), wy);
  const float right = blend(blend(at(t0, y0, x1), at(t1, y0, x1), wt), blend(at(t0, y1, x1), at(t1, y1, x1), wt), wy);
  return blend(left, right, wx);
}

__device__ inline float voxel_value(const Reduce& r, int64_t clip, int64_t voxel) {
  const int64_t voxels = r.frames * r.height * r.width;
  float value = 1.0f;
  if (r.dense != nullptr) {
    value = 0.0f;
    for (int64_t c = 0; c < r.channels; ++c) {
      const float part = r.dense[(clip * r.channels + c) * voxels + voxel];
      value += r.keep_sign ? part : fabsf(part);
    }
  }
  if (r.cam != nullptr) {
    const float* cam = r.cam + clip * r.cam_frames * r.cam_height * r.cam_width;
    value *= upsampled(r, cam, voxel / (r.height * r.width), voxel / r.width % r.height, voxel % r.width);
  }
  return r.keep_sign ? value : fabsf(value);
}

// Integers that are ordered as the floats are.
__device__ inline unsigned long long ordered(float value) {
  const unsigned bits = __float_as_uint(value);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ inline float from_ordered(unsigned long long code) {
  const unsigned bits = static_cast<unsigned>(code);
  return __uint_as_float(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}

// Units per 1, a power of two: no sum of all voxels of a clip leaves 62 bits.
__device__ inline double units(const Reduce& r, int64_t clip) {
  const float largest = __uint_as_float(static_cast<unsigned>(r.largest[clip]));
  if (!(largest > 0.0f)) return 1.0;
  int above_value, above_count;
  frexp(static_cast<double>(largest), &above_value);
  frexp(static_cast<double>(r.frames * r.height * r.width), &above_count);
  return ldexp(1.0, 62 - above_value - above_count);
}

template <typename Visit>
__device__ inline void stretch_of_thread(const Reduce& r, const Visit& visit) {
  const int64_t voxels = r.frames * r.height * r.width;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kStretch;
  for (int64_t voxel = first; voxel < first + kStretch && voxel < voxels; ++voxel) visit(voxel);
}

__global__ void find_largest(Reduce r) {
  const int64_t clip = blockIdx.y;
  float largest = 0.0f;
  stretch_of_thread(r, [&](int64_t voxel) { largest = fmaxf(largest, fabsf(voxel_value(r, clip, voxel))); });
  // magnitudes are ordered as their bits are
  atomicMax(r.largest + clip, static_cast<unsigned long long>(__float_as_uint(largest)));
}

__global__ void accumulate(Reduce r) {
  const int64_t clip = blockIdx.y, voxels = r.frames * r.height * r.width;
  const double unit = units(r, clip);
  const bool maximum = r.reduction == 2;
  int32_t label = -1;
  unsigned long long value = 0, count = 0;
  const auto flush = [&] {
    if (count == 0) return;
    const int64_t slot = clip * r.num_segments + label;
    if (maximum)
      atomicMax(r.values + slot, value);
    else
      atomicAdd(r.values + slot, value);
    atomicAdd(r.counts + slot, count);
  };
  stretch_of_thread(r, [&](int64_t voxel) {
    const int32_t own = r.labels[clip * voxels + voxel];
    if (own < 0 || own >= r.num_segments) return;
    const float found = voxel_value(r, clip, voxel);
    if (own != label) {
      flush();
      label = own;
      value = count = 0;
    }
    ++count;
    if (maximum) {
      const unsigned long long code = ordered(found);
      value = code > value ? code : value;
    } else {
      // two's complement: sums of negative numbers come out right
      value += static_cast<unsigned long long>(__double2ll_rn(static_cast<double>(found) * unit));
    }
  });
  flush();
}

__global__ void finish(Reduce r) {
  const int64_t clip = blockIdx.y, k = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (k >= r.num_segments) return;
  const int64_t slot = clip * r.num_segments + k;
  const unsigned long long count = r.counts[slot];
  float score = 0.0f;
  if (count > 0 && r.reduction == 2) {
    score = from_ordered(r.values[slot]);
  } else if (count > 0) {
    double sum = static_cast<double>(static_cast<long long>(r.values[slot])) / units(r, clip);
    if (r.reduction == 1) sum /= static_cast<double>(count);
    score = static_cast<float>(sum);
  }
  r.scores[slot] = score;
}

}  // namespace videxplain::cuda
