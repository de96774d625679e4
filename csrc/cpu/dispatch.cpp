// Chooses, once, among the instruction sets that the library holds and this machine has.
#include "dispatch.h"

#include <cstdlib>
#include <cstring>
#include <new>
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
    return {"AVX-512",
            avx512::lab_of_linear,
            avx512::slic,
            avx512::slic_exact,
            avx512::segment_reduce,
            avx512::clamp_chords,
            avx512::max_pool_chords};
  if ((any || std::strcmp(wanted, "avx2") == 0) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return {"AVX2",
            avx2::lab_of_linear,
            avx2::slic,
            avx2::slic_exact,
            avx2::segment_reduce,
            avx2::clamp_chords,
            avx2::max_pool_chords};
#endif
  return {"plain",
          plain::lab_of_linear,
          plain::slic,
          plain::slic_exact,
          plain::segment_reduce,
          plain::clamp_chords,
          plain::max_pool_chords};
}

constexpr int64_t kKeptVoxels = 1 << 21;

// Memory as it comes, not filled, from the beginning of a cache line on, so that vectors do not lie across two.
template <typename Value>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(); }
  Value* room_for(int64_t count) {
    if (count > count_) {
      release();
      values_ = static_cast<Value*>(::operator new(count * sizeof(Value), kLine));
      count_ = count;
    }
    return values_;
  }
  void release() {
    ::operator delete(values_, kLine);
    values_ = nullptr, count_ = 0;
  }

 private:
  static constexpr std::align_val_t kLine{64};
  Value* values_ = nullptr;
  int64_t count_ = 0;
};

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

void clamp_chords(const float* x, const float* gradient, float* out, int64_t rows, int64_t values, Ring ring, float low,
                  float high, const ParallelFor& parallel) {
  variants().clamp_chords(x, gradient, out, rows, values, ring, low, high, parallel);
}

bool max_pool_chords(const float* x, const float* y, const int64_t* places, const float* gradient, float* out,
                     int64_t rows, PoolShape shape, Ring ring, const ParallelFor& parallel) {
  return variants().max_pool_chords(x, y, places, gradient, out, rows, shape, ring, parallel);
}

void supervoxels(const uint8_t* frames, Shape shape, const SlicSettings& settings, int64_t min_size, int32_t* connected,
                 float* centres, const ParallelFor& parallel) {
  const int64_t voxels = shape.voxels();
  // Kept from call to call, for fresh pages cost more than what is done on them; large ones are given back.
  thread_local Buffer<float> lab_buffer;
  thread_local Buffer<int32_t> labels_buffer;
  float* lab = lab_buffer.room_for(3 * voxels);
  int32_t* labels = labels_buffer.room_for(voxels);
  std::vector<ColourSums> totals(settings.clusters());
  rgb_to_lab(frames, {1, 3}, lab, voxels, parallel);
  slic(lab, shape, settings, labels, centres, totals.data(), parallel);
  connect_segments(labels, lab, shape, min_size, totals.data(), settings.clusters(), connected, parallel);
  if (voxels > kKeptVoxels) {
    lab_buffer.release();
    labels_buffer.release();
  }
}

}  // namespace videxplain
