#include "rgb_to_lab.cuh"

namespace videxplain::cuda {

int64_t lab_workspace() { return (kFloatSteps + 2) / 2; }

void rgb_to_lab(const void* rgb, bool bytes, float* lab, int64_t batch, int64_t voxels, int64_t* workspace,
                int32_t device) {
  if (batch == 0 || voxels == 0) return;
  const OnDevice guard(device);
  const cudaStream_t stream = current_stream(device);
  const Lab c{rgb, reinterpret_cast<float*>(workspace), lab, voxels,
              voxels % 4 == 0 && aligned(rgb, bytes ? 4 : 16) && aligned(lab, 16)};
  const int steps = bytes ? kByteSteps : kFloatSteps;
  VX_LAUNCH(tabulate, blocks_for(steps + 1, kThreads), kThreads, stream, c.linear, steps);
  const dim3 grid(blocks_for(voxels, int64_t{kThreads} * kVoxelsPerThread), static_cast<unsigned>(batch));
  const auto kernel = bytes ? convert<unsigned char, uchar4> : convert<float, float4>;
  VX_LAUNCH(kernel, grid, kThreads, stream, c);
  check(cudaGetLastError(), "rgb_to_lab");
}

}  // namespace videxplain::cuda
