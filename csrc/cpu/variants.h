// The functions that are compiled once for each instruction set; dispatch.cpp chooses among them.
#pragma once

#include "../kernels.h"

#define VX_VARIANTS(isa)                                                                                      \
  namespace isa {                                                                                             \
  void lab_of_linear(const float* const linear[3], float* const lab[3], int64_t count);                       \
  void slic(const float* lab, Shape shape, const SlicSettings& settings, int32_t* labels, float* centres,     \
            ColourSums* totals, const ParallelFor& parallel);                                                 \
  void voxel_row(const float* const* dense, int64_t channels, const float* up, bool keep_sign, int64_t count, \
                 float* values);                                                                              \
  }

namespace videxplain {
VX_VARIANTS(plain)
VX_VARIANTS(avx2)
VX_VARIANTS(avx512)
}  // namespace videxplain
