// The kernels that are compiled once for each instruction set; variants.cpp chooses among them.
#pragma once

#include <type_traits>

#include "../kernels.h"

// In the order of the struct.
#define VX_KERNELS(KERNEL, isa) \
  KERNEL(isa, lab_of_linear)    \
  KERNEL(isa, slic)             \
  KERNEL(isa, slic_exact)       \
  KERNEL(isa, segment_reduce)   \
  KERNEL(isa, clamp_chords)     \
  KERNEL(isa, max_pool_chords)

#define VX_DECLARE(isa, kernel) std::remove_pointer_t<decltype(Kernels::kernel)> kernel;

namespace videxplain {
namespace plain {
VX_KERNELS(VX_DECLARE, plain)
}
namespace avx2 {
VX_KERNELS(VX_DECLARE, avx2)
}
namespace avx512 {
VX_KERNELS(VX_DECLARE, avx512)
}
}  // namespace videxplain
