// Kernels of the fused reduction. Sums are kept as integers, so that the order in which threads arrive cannot matter.
//
// Two passes over the voxels: the first finds the largest magnitude of a clip, which sets the unit of the integers; the
// second adds up, and touches memory once for each run of equal labels.
#pragma once

#include "runtime.cuh"

namespace videxplain::cuda {

constexpr int kFours = 4;  // times that a thread of the first pass takes four voxels

// Where a place lies among the samples of the class activation map: the lower of its two, and the weight of the upper.
struct Sample {
  int32_t low;
  float weight;
};

struct Reduce {
  const int32_t* labels;
  const float* dense;  // null stands for 1
  const float* cam;    // null stands for 1
  int64_t frames, height, width, channels;
  int64_t cam_frames, cam_height, cam_width;
  int64_t num_segments;
  int reduction;  // 0 sum, 1 mean, 2 max
  bool keep_sign;
  bool by_fours;  // four voxels of a clip lie together in memory, so that one load takes them
  // of each clip: the bits of the largest magnitude; of each segment: a sum or a maximum, and a count
  unsigned long long *largest, *values, *counts;
  Sample* samples;  // of each frame, row and column
  float* scores;

  __device__ int64_t voxels() const { return frames * height * width; }
};

// Half-pixel centres.
__global__ void find_samples(Reduce r) {
  int64_t place = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  Sample* out = r.samples + place;
  const auto along = [&](int64_t small, int64_t large) {
    if (place >= large) {
      place -= large;
      return false;
    }
    const double ratio = static_cast<double>(small) / static_cast<double>(large);
    const double at = fmax((static_cast<double>(place) + 0.5) * ratio - 0.5, 0.0);
    int64_t low = static_cast<int64_t>(at);
    if (low > small - 1) low = small - 1;
    out->low = static_cast<int32_t>(low);
    out->weight = low < small - 1 ? static_cast<float>(at - static_cast<double>(low)) : 0.0f;
    return true;
  };
  if (!along(r.cam_frames, r.frames) && !along(r.cam_height, r.height)) along(r.cam_width, r.width);
}

__device__ inline float blend(float a, float b, float weight) { return a * (1 - weight) + b * weight; }

// The class activation map brought to the labels' size, voxel after voxel.
class Upsampled {
 public:
  __device__ Upsampled(const Reduce& r, int64_t clip, int64_t voxel) : r_(r) {
    if (r.cam == nullptr) return;
    cam_ = r.cam + clip * r.cam_frames * r.cam_height * r.cam_width;
    x_ = voxel % r.width;
    y_ = voxel / r.width % r.height;
    t_ = voxel / r.width / r.height;
    enter_row();
  }

  __device__ float next() {
    if (x_ == r_.width) {
      x_ = 0;
      if (++y_ == r_.height) y_ = 0, ++t_;
      enter_row();
    }
    const Sample at = r_.samples[r_.frames + r_.height + x_++];
    if (at.low != low_) {
      low_ = at.low;
      left_ = column(low_);
      right_ = column(low_ + 1 < r_.cam_width ? low_ + 1 : low_);
    }
    return blend(left_, right_, at.weight);
  }

 private:
  __device__ void enter_row() {
    const Sample t = r_.samples[t_], y = r_.samples[r_.frames + y_];
    const int64_t t_next = t.low + 1 < r_.cam_frames ? r_.cam_height * r_.cam_width : 0;
    above_ = cam_ + (t.low * r_.cam_height + y.low) * r_.cam_width;
    y_next_ = y.low + 1 < r_.cam_height ? r_.cam_width : 0;
    t_next_ = t_next;
    t_weight_ = t.weight, y_weight_ = y.weight;
    low_ = -1;
  }
  __device__ float column(int64_t x) const {
    const float *a = above_ + x, *b = above_ + t_next_ + x;
    return blend(blend(a[0], b[0], t_weight_), blend(a[y_next_], b[y_next_], t_weight_), y_weight_);
  }

  const Reduce& r_;
  const float *cam_ = nullptr, *above_ = nullptr;
  int64_t t_ = 0, y_ = 0, x_ = 0, t_next_ = 0, y_next_ = 0;
  int32_t low_ = -1;
  float t_weight_ = 0, y_weight_ = 0, left_ = 0, right_ = 0;
};

// The values of four voxels that follow each other, of as many as there are.
struct Four {
  int64_t voxel;
  int count = 0;
  float values[4] = {1.0f, 1.0f, 1.0f, 1.0f};

  __device__ Four(const Reduce& r, int64_t clip, int64_t first) : voxel(first) {
    const int64_t voxels = r.voxels();
    if (voxel >= voxels) return;
    count = voxels - voxel < 4 ? static_cast<int>(voxels - voxel) : 4;
    if (r.dense != nullptr) {
      values[0] = values[1] = values[2] = values[3] = 0.0f;
      for (int64_t c = 0; c < r.channels; ++c) {
        float parts[4];
        load_four<float4>(r.dense + (clip * r.channels + c) * voxels + voxel, r.by_fours, count, parts);
#pragma unroll
        for (int i = 0; i < 4; ++i) values[i] += r.keep_sign ? parts[i] : fabsf(parts[i]);
      }
    }
    Upsampled up(r, clip, voxel);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (r.cam != nullptr && i < count) values[i] *= up.next();
      if (!r.keep_sign) values[i] = fabsf(values[i]);
    }
  }
};

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
  frexp(static_cast<double>(r.voxels()), &above_count);
  return ldexp(1.0, 62 - above_value - above_count);
}

__global__ void find_largest(Reduce r) {
  const int64_t clip = blockIdx.y;
  float largest = 0.0f;
  for (int turn = 0; turn < kFours; ++turn) {
    const int64_t place = (static_cast<int64_t>(blockIdx.x) * kFours + turn) * blockDim.x + threadIdx.x;
    const Four four(r, clip, 4 * place);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (i < four.count) largest = fmaxf(largest, fabsf(four.values[i]));
  }
  for (int apart = 16; apart > 0; apart /= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, apart));
  // magnitudes are ordered as their bits are
  if (threadIdx.x % 32 == 0) atomicMax(r.largest + clip, static_cast<unsigned long long>(__float_as_uint(largest)));
}

template <bool kMaximum>
__global__ void accumulate(Reduce r) {
  const int64_t clip = blockIdx.y;
  const double unit = kMaximum ? 1.0 : units(r, clip);
  const auto flush = [&](int32_t label, const unsigned long long (&sums)[2]) {
    const int64_t slot = clip * r.num_segments + label;
    if (kMaximum)
      atomicMax(r.values + slot, sums[0]);
    else
      atomicAdd(r.values + slot, sums[0]);
    if (r.reduction != 0) atomicAdd(r.counts + slot, sums[1]);
  };
  const Four four(r, clip, 4 * (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x));
  int32_t labels[4] = {};
  if (four.count > 0) load_four<int4>(r.labels + clip * r.voxels() + four.voxel, r.by_fours, four.count, labels);
  Runs<2, kMaximum, decltype(flush)> runs(flush);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i >= four.count || labels[i] < 0 || labels[i] >= r.num_segments) continue;
    // two's complement: sums of negative numbers come out right
    const unsigned long long value =
        kMaximum ? ordered(four.values[i])
                 : static_cast<unsigned long long>(__double2ll_rn(static_cast<double>(four.values[i]) * unit));
    runs.add(labels[i], {value, 1});
  }
  runs.finish();
}

__global__ void finish(Reduce r) {
  const int64_t clip = blockIdx.y, k = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (k >= r.num_segments) return;
  const int64_t slot = clip * r.num_segments + k;
  const unsigned long long count = r.counts[slot];  // not kept for a sum
  float score = 0.0f;
  if (r.reduction == 2) {
    if (count > 0) score = from_ordered(r.values[slot]);
  } else if (r.reduction == 0 || count > 0) {
    double sum = static_cast<double>(static_cast<long long>(r.values[slot])) / units(r, clip);
    if (r.reduction == 1) sum /= static_cast<double>(count);
    score = static_cast<float>(sum);
  }
  r.scores[slot] = score;
}

}  // namespace videxplain::cuda
