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

// Sums of N values by label, gathered as long as labels stay the same: along a thread's own voxels, then over the
// threads of its warp. Memory is asked once for each run, by `flush(label, sums)`. Wrapping makes subtraction exact.
// With kMaximum the first value is not added up: the largest counts.
template <int N, bool kMaximum, typename Flush>
class Runs {
 public:
  __device__ explicit Runs(const Flush& flush) : flush_(flush) {}

  __device__ void add(int32_t label, const unsigned long long (&values)[N]) {
    if (label != label_) end_run();
    label_ = label;
    combine(values);
  }

  // Once, by all threads of a warp, those without voxels too.
  __device__ void finish() {
    const unsigned busy = __ballot_sync(kWarp, label_ >= 0);
    if (__popc(busy) < kFew) {
      if (head_label_ >= 0) flush_(head_label_, head_);
      if (label_ >= 0) flush_(label_, total_);
      return;
    }
    const int lane = static_cast<int>(threadIdx.x % 32);
    const int32_t before = __shfl_sync(kWarp, label_, lane > 0 ? lane - 1 : 0);
    // a thread's first run goes to the thread before, where that one has ended with the same label
    const bool given = lane > 0 && head_label_ >= 0 && head_label_ == before;
    if (head_label_ >= 0 && !given) flush_(head_label_, head_);
    const bool takes = __shfl_sync(kWarp, static_cast<int>(given), lane < 31 ? lane + 1 : 0) != 0;
    take(head_, 1, takes);
    // then every run of threads is added up by the first of them
    const bool first = lane == 0 || before != label_;
    const unsigned firsts = __ballot_sync(kWarp, first) & ~((2u << lane) - 1);
    const int end = firsts == 0 ? 32 : __ffs(static_cast<int>(firsts)) - 1;
    for (int apart = 1; apart < 32; apart *= 2) take(total_, apart, lane + apart < end);
    if (first && label_ >= 0) flush_(label_, total_);
  }

 private:
  static constexpr unsigned kWarp = 0xffffffffu;
  static constexpr int kFew = 8;  // threads for which memory is asked sooner than the warp has added up

  __device__ void combine(const unsigned long long (&values)[N]) {
#pragma unroll
    for (int i = 0; i < N; ++i)
      total_[i] = kMaximum && i == 0 ? (values[0] > total_[0] ? values[0] : total_[0]) : total_[i] + values[i];
  }

  // What the thread so far up has, if it is wanted.
  __device__ void take(const unsigned long long (&from)[N], int up, bool wanted) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    unsigned long long values[N];
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = __shfl_sync(kWarp, from[i], lane + up < 32 ? lane + up : lane);
    if (wanted) combine(values);
  }

  __device__ void end_run() {
    if (label_ >= 0 && head_label_ >= 0) flush_(label_, total_);
    const bool is_head = head_label_ < 0;
    if (is_head) head_label_ = label_;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (is_head) head_[i] = total_[i];
      total_[i] = 0;
    }
  }

  const Flush& flush_;
  int32_t label_ = -1, head_label_ = -1;
  unsigned long long total_[N] = {}, head_[N] = {};
};

}  // namespace videxplain::cuda
