#include <stdexcept>
#include <string>

#include "launch.h"
#include "segment_reduce.cuh"

// torch's; missing beside a torch without CUDA, which never calls us
extern "C" __attribute__((weak)) int32_t aoti_torch_get_current_cuda_stream(int32_t device, void** stream);

namespace videxplain::cuda {
namespace {

void check(cudaError_t status, const char* what) {
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

cudaStream_t current_stream(int32_t device) {
  void* stream = nullptr;
  if (aoti_torch_get_current_cuda_stream == nullptr || aoti_torch_get_current_cuda_stream(device, &stream) != 0)
    throw std::runtime_error("torch gives no CUDA stream");
  return static_cast<cudaStream_t>(stream);
}

unsigned blocks_for(int64_t items, int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

}  // namespace

int64_t reduce_workspace(int64_t batch, int64_t num_segments) { return batch * (1 + 2 * num_segments); }

void segment_reduce(const int32_t* labels, const float* dense, const float* cam, int64_t batch, Shape shape,
                    const ReduceSettings& settings, int64_t* workspace, float* scores, int32_t device) {
  if (batch == 0 || settings.num_segments == 0) return;
  const OnDevice guard(device);
  const cudaStream_t stream = current_stream(device);
  auto* zeroed = reinterpret_cast<unsigned long long*>(workspace);
  const int64_t slots = batch * settings.num_segments;
  const Reduce r{labels,
                 dense,
                 cam,
                 shape.frames,
                 shape.height,
                 shape.width,
                 settings.channels,
                 settings.cam.frames,
                 settings.cam.height,
                 settings.cam.width,
                 settings.num_segments,
                 static_cast<int>(settings.reduction),
                 settings.keep_sign,
                 zeroed,
                 zeroed + batch,
                 zeroed + batch + slots,
                 scores};
  const dim3 over_voxels(blocks_for(shape.voxels(), int64_t{kThreads} * kStretch), static_cast<unsigned>(batch));
  const dim3 over_segments(blocks_for(settings.num_segments, kThreads), static_cast<unsigned>(batch));
  if (shape.voxels() > 0) {
    if (settings.reduction != Reduction::kMax) find_largest<<<over_voxels, kThreads, 0, stream>>>(r);
    accumulate<<<over_voxels, kThreads, 0, stream>>>(r);
  }
  finish<<<over_segments, kThreads, 0, stream>>>(r);
  check(cudaGetLastError(), "segment_reduce");
}

}  // namespace videxplain::cuda
