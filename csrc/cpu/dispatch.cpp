// Chooses, once, among the instruction sets that the library holds and this machine has.
#include "dispatch.h"

#include <cstdlib>
#include <cstring>

namespace videxplain {
namespace {

Variants choose() {
  // VIDEXPLAIN_ISA=plain|avx2 asks for less than the machine has, for tests.
  const char* wanted = std::getenv("VIDEXPLAIN_ISA");
  const bool any = wanted == nullptr;
  (void)any;
#if defined(VX_X86)
  __builtin_cpu_init();
  if ((any || std::strcmp(wanted, "avx512") == 0) && __builtin_cpu_supports("avx512f"))
    return {"AVX-512", avx512::lab_of_linear, avx512::slic, avx512::voxel_row};
  if ((any || std::strcmp(wanted, "avx2") == 0) && __builtin_cpu_supports("avx2"))
    return {"AVX2", avx2::lab_of_linear, avx2::slic, avx2::voxel_row};
#endif
  return {"plain", plain::lab_of_linear, plain::slic, plain::voxel_row};
}

}  // namespace

const Variants& variants() {
  static const Variants chosen = choose();
  return chosen;
}

const char* instruction_set() { return variants().name; }

void slic(const float* lab, Shape shape, const SlicSettings& settings, int32_t* labels, float* centres,
          const ParallelFor& parallel) {
  variants().slic(lab, shape, settings, labels, centres, parallel);
}

}  // namespace videxplain
