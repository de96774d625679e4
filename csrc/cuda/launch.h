// Launchers of the CUDA kernels: no torch header on this side, no CUDA header on the other.
#pragma once

#include <cstdint>

#include "../kernels.h"

namespace videxplain::cuda {

// Values of 8 bytes, zeroed, that segment_reduce needs.
int64_t reduce_workspace(int64_t batch, Shape shape, const ReduceSettings& settings);

// As videxplain::segment_reduce, for a batch of clips on a device, on torch's current stream of it.
void segment_reduce(const int32_t* labels, const float* dense, const float* cam, int64_t batch, Shape shape,
                    const ReduceSettings& settings, int64_t* workspace, float* scores, int32_t device);

}  // namespace videxplain::cuda
