// The functions that are compiled once for each instruction set; dispatch.cpp chooses among them.
#pragma once

#include "../kernels.h"

#define VX_VARIANTS(isa)                                                                                               \
  namespace isa {                                                                                                      \
  void lab_of_linear(const float* const linear[3], float* const lab[3], int64_t count);                                \
  void slic(const float* lab, Shape shape, const SlicSettings& settings, int32_t* labels, float* centres,              \
            ColourSums* totals, const ParallelFor& parallel);                                                          \
  void slic_exact(const double* lab, Shape shape, const double* seeds, const ExactSettings& settings, int32_t* labels, \
                  const ParallelFor& parallel);                                                                        \
  bool segment_reduce(const int32_t* labels, const float* dense, const float* cam, Shape shape,                        \
                      const ReduceSettings& settings, float* scores, const ParallelFor& parallel);                     \
  void clamp_chords(const float* x, const float* gradient, float* out, int64_t rows, int64_t values, Ring ring,        \
                    float low, float high, const ParallelFor& parallel);                                               \
  bool max_pool_chords(const float* x, const float* y, const int64_t* places, const float* gradient, float* out,       \
                       int64_t rows, PoolShape shape, Ring ring, const ParallelFor& parallel);                         \
  }

namespace videxplain {
VX_VARIANTS(plain)
VX_VARIANTS(avx2)
VX_VARIANTS(avx512)
}  // namespace videxplain
