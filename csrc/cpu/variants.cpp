// Chooses, once, among the instruction sets that the library holds and this machine has.
#include "variants.h"

#include <cstdlib>
#include <cstring>

namespace videxplain {
namespace {

#define VX_ADDRESS(isa, kernel) isa::kernel,

Kernels choose() {
  // VIDEXPLAIN_ISA=plain|avx2 asks for less than the machine has, for tests.
  const char* wanted = std::getenv("VIDEXPLAIN_ISA");
  const bool any = wanted == nullptr;
  (void)any;
#if defined(VX_X86)
  __builtin_cpu_init();
  if ((any || std::strcmp(wanted, "avx512") == 0) && __builtin_cpu_supports("avx512f"))
    return {"AVX-512", VX_KERNELS(VX_ADDRESS, avx512)};
  if ((any || std::strcmp(wanted, "avx2") == 0) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return {"AVX2", VX_KERNELS(VX_ADDRESS, avx2)};
#endif
  return {"plain", VX_KERNELS(VX_ADDRESS, plain)};
}

}  // namespace

const Kernels& kernels() {
  static const Kernels chosen = choose();
  return chosen;
}

}  // namespace videxplain
