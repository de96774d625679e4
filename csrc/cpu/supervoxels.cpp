// Frames to connected labels: colours, SLIC and connectivity in turn.
#include <new>
#include <vector>

#include "../kernels.h"

namespace videxplain {
namespace {

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
  kernels().slic(lab, shape, settings, labels, centres, totals.data(), parallel);
  connect_segments(labels, lab, shape, min_size, totals.data(), settings.clusters(), connected, parallel);
  if (voxels > kKeptVoxels) {
    lab_buffer.release();
    labels_buffer.release();
  }
}

}  // namespace videxplain
