// What every launcher needs: torch's device and stream, grids, errors. The tests put an emulation of CUDA in front.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "launch.h"

#ifndef VX_LAUNCH
#define VX_LAUNCH(kernel, grid, block, stream, ...) kernel<<<grid, block, 0, stream>>>(__VA_ARGS__)
#define VX_SHARED(Type, name) __shared__ Type name
#endif

#ifndef VX_THREADS
#define VX_THREADS 256
#endif

namespace videxplain::cuda {

constexpr int kThreads = VX_THREADS;  // of a block

inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

class OnDevice {
 public:
  explicit OnDevice(int device) {
    check(cudaGetDevice(&before_), "cudaGetDevice");
    check(cudaSetDevice(device), "cudaSetDevice");
  }
  ~OnDevice() { cudaSetDevice(before_); }

 private:
  int before_ = 0;
};

inline cudaStream_t current_stream(int32_t device) {
  void* stream = nullptr;
  const StreamOfTorch ask = stream_of_torch();
  if (ask == nullptr || ask(device, &stream) != 0) throw std::runtime_error("torch gives no CUDA stream");
  return static_cast<cudaStream_t>(stream);
}

inline unsigned blocks_for(int64_t items, int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

inline bool aligned(const void* pointer, uintptr_t bytes) { return reinterpret_cast<uintptr_t>(pointer) % bytes == 0; }

// As fixed_point of kernels.h: limited, multiplied exactly, cut off.
__device__ inline int32_t fixed_point(float value) {
  const float limited = value > -kColourLimit ? (value < kColourLimit ? value : kColourLimit) : -kColourLimit;
  return static_cast<int32_t>(limited * kColourUnit);
}

// Four values that lie together, with one load where they do so in memory too; zeros past the end.
template <typename Four, typename Value>
__device__ inline void load_four(const Value* from, bool together, int64_t count, Value (&to)[4]) {
  if (together) {
    const Four four = *reinterpret_cast<const Four*>(from);
    to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) to[i] = i < count ? from[i] : Value(0);
  }
}

}  // namespace videxplain::cuda
