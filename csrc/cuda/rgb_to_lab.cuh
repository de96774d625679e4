// Kernels of the colour conversion: a table of linear intensities, made in double precision by operations that are
// rounded alike everywhere, then four voxels to a thread.
#pragma once

#include "runtime.cuh"

namespace videxplain::cuda {

constexpr int kByteSteps = 255, kFloatSteps = 4096;
constexpr int kVoxelsPerThread = 4;

struct Lab {
  const void* rgb;
  float *linear, *lab;
  int64_t voxels;  // of a clip
  bool by_fours;   // four voxels of a clip lie together in memory, so that one load takes them
};

// ((v + 0.055) / 1.055)^2.4, as square times the fifth root of the square; Newton's iteration from above.
__device__ inline double linear_intensity(double value) {
  if (!(value > 0.04045)) return value / 12.92;
  const double base = (value + 0.055) / 1.055, square = base * base;
  double root = 1.0;
  for (int step = 0; step < 14; ++step) {
    const double second = root * root;
    root = (4.0 * root + square / (second * second)) / 5.0;
  }
  return square * root;
}

__global__ void tabulate(float* linear, int steps) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i <= steps) linear[i] = static_cast<float>(linear_intensity(static_cast<double>(i) / steps));
}

__device__ inline float linear_of(const float* linear, unsigned char value) { return linear[value]; }

__device__ inline float linear_of(const float* linear, float value) {
  // written so that a NaN becomes 0
  const float place = (value > 0.0f ? fminf(value, 1.0f) : 0.0f) * static_cast<float>(kFloatSteps);
  const int whole = static_cast<int>(place), low = whole < kFloatSteps ? whole : kFloatSteps - 1;
  return linear[low] + (linear[low + 1] - linear[low]) * (place - static_cast<float>(low));
}

// The curve of CIELAB: a cube root by two steps of Halley's iteration, or a line near black.
__device__ inline float curve(float value) {
  const float cut = 0.008856f, x = value > cut ? value : cut;
  float y = __int_as_float(__float_as_int(x) / 3 + 709921077);
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    const float cube = y * y * y;
    y = y * ((cube + (x + x)) / ((cube + cube) + x));
  }
  return value > cut ? y : 7.787f * value + static_cast<float>(16.0 / 116.0);
}

// Linear sRGB to Lab; the matrix to XYZ over the D65 white point.
__device__ inline void lab_of(float r, float g, float b, float& l_out, float& a_out, float& b_out) {
  const float x = curve((static_cast<float>(0.412453 / 0.95047) * r + static_cast<float>(0.357580 / 0.95047) * g) +
                        static_cast<float>(0.180423 / 0.95047) * b);
  const float y = curve((0.212671f * r + 0.715160f * g) + 0.072169f * b);
  const float z = curve((static_cast<float>(0.019334 / 1.08883) * r + static_cast<float>(0.119193 / 1.08883) * g) +
                        static_cast<float>(0.950227 / 1.08883) * b);
  l_out = 116.0f * y - 16.0f;
  a_out = 500.0f * (x - y);
  b_out = 200.0f * (y - z);
}

template <typename Value, typename Four>
__global__ void convert(Lab c) {
  const int64_t voxel = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kVoxelsPerThread;
  if (voxel >= c.voxels) return;
  const int64_t first = 3 * static_cast<int64_t>(blockIdx.y) * c.voxels + voxel, left = c.voxels - voxel;
  const Value* rgb = static_cast<const Value*>(c.rgb) + first;
  Value in[3][4];
  float out[3][4];
#pragma unroll
  for (int channel = 0; channel < 3; ++channel)
    load_four<Four>(rgb + channel * c.voxels, c.by_fours, left, in[channel]);
#pragma unroll
  for (int i = 0; i < 4; ++i)
    lab_of(linear_of(c.linear, in[0][i]), linear_of(c.linear, in[1][i]), linear_of(c.linear, in[2][i]), out[0][i],
           out[1][i], out[2][i]);
#pragma unroll
  for (int channel = 0; channel < 3; ++channel) {
    float* lab = c.lab + first + channel * c.voxels;
    if (c.by_fours) {
      *reinterpret_cast<float4*>(lab) = {out[channel][0], out[channel][1], out[channel][2], out[channel][3]};
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (i < left) lab[i] = out[channel][i];
    }
  }
}

}  // namespace videxplain::cuda
