// Chooses, once, among the instruction sets that the library holds and this machine has.
#include "dispatch.h"

#include <cstdlib>
#include <cstring>
#include <vector>

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
    return {"AVX-512", avx512::lab_of_linear, avx512::slic, avx512::slic_exact, avx512::segment_reduce};
  if ((any || std::strcmp(wanted, "avx2") == 0) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return {"AVX2", avx2::lab_of_linear, avx2::slic, avx2::slic_exact, avx2::segment_reduce};
#endif
  return {"plain", plain::lab_of_linear, plain::slic, plain::slic_exact, plain::segment_reduce};
}

constexpr int64_t kKeptVoxels = 1 << 20;

}  // namespace

const Variants& variants() {
  static const Variants chosen = choose();
  return chosen;
}

const char* instruction_set() { return variants().name; }

void slic(const float* lab, Shape shape, const SlicSettings& settings, int32_t* labels, float* centres,
          ColourSums* totals, const ParallelFor& parallel) {
  variants().slic(lab, shape, settings, labels, centres, totals, parallel);
}

void slic_exact(const double* lab, Shape shape, const double* seeds, const ExactSettings& settings, int32_t* labels,
                const ParallelFor& parallel) {
  variants().slic_exact(lab, shape, seeds, settings, labels, parallel);
}

bool segment_reduce(const int32_t* labels, const float* dense, const float* cam, Shape shape,
                    const ReduceSettings& settings, float* scores, const ParallelFor& parallel) {
  return variants().segment_reduce(labels, dense, cam, shape, settings, scores, parallel);
}

void supervoxels(const uint8_t* frames, Shape shape, const SlicSettings& settings, int64_t min_size, int32_t* connected,
                 float* centres, const ParallelFor& parallel) {
  const int64_t voxels = shape.voxels();
  // Kept from call to call, for fresh pages cost more than what is done on them; large ones are given back.
  thread_local std::vector<float> lab;
  thread_local std::vector<int32_t> labels;
  lab.resize(3 * voxels);
  labels.resize(voxels);
  std::vector<ColourSums> totals(settings.clusters());
  rgb_to_lab(frames, {1, 3}, lab.data(), voxels, parallel);
  slic(lab.data(), shape, settings, labels.data(), centres, totals.data(), parallel);
  connect_segments(labels.data(), lab.data(), shape, min_size, totals.data(), settings.clusters(), connected, parallel);
  if (voxels > kKeptVoxels) {
    std::vector<float>().swap(lab);
    std::vector<int32_t>().swap(labels);
  }
}

}  // namespace videxplain
