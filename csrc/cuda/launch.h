// Launchers of the CUDA kernels: no torch header on this side, no CUDA header on the other.
#pragma once

#include <cstdint>

#include "../kernels.h"

namespace videxplain::cuda {

// torch's function that tells the current stream of a device, none beside a torch without CUDA. Python loads torch's
// libraries with local symbols, so that it is not found by name but in the library that has it.
using StreamOfTorch = int32_t (*)(int32_t device, void** stream);
StreamOfTorch stream_of_torch();

// Each operation is as in kernels.h, for a batch of clips (at most 65,535) on a device, on torch's current stream of
// it. The workspace is zeroed; its size is in values of 8 bytes.

int64_t lab_workspace();
void rgb_to_lab(const void* rgb, bool bytes, float* lab, int64_t batch, int64_t voxels, int64_t* workspace,
                int32_t device);

int64_t slic_workspace(int64_t batch, const SlicSettings& settings);
void slic(const float* lab, int64_t batch, Shape shape, const SlicSettings& settings, int32_t* labels, float* centres,
          int64_t* workspace, int32_t device);

int64_t connect_workspace(int64_t batch, Shape shape);
void connect_segments(const int32_t* labels, const float* lab, int64_t batch, Shape shape, int64_t min_size,
                      int32_t* connected, int64_t* workspace, int32_t device);

int64_t reduce_workspace(int64_t batch, Shape shape, const ReduceSettings& settings);
void segment_reduce(const int32_t* labels, const float* dense, const float* cam, int64_t batch, Shape shape,
                    const ReduceSettings& settings, int64_t* workspace, float* scores, int32_t device);

}  // namespace videxplain::cuda
