// One pass over the voxels: blend the map's rows, multiply, add up by label. The map is never brought to full size.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "dispatch.h"

namespace videxplain {
namespace {

// Where each of `large` places lies among `small` samples, half-pixel centres (torch's align_corners=False).
struct Upsampling {
  std::vector<int64_t> low, high;
  std::vector<float> weight;

  Upsampling(int64_t small, int64_t large) : low(large), high(large), weight(large) {
    for (int64_t i = 0; i < large; ++i) {
      const double ratio = static_cast<double>(small) / static_cast<double>(large);
      const double place = std::max((static_cast<double>(i) + 0.5) * ratio - 0.5, 0.0);
      low[i] = std::min(static_cast<int64_t>(place), small - 1);
      high[i] = std::min(low[i] + 1, small - 1);
      weight[i] = low[i] < small - 1 ? static_cast<float>(place - static_cast<double>(low[i])) : 0.0f;
    }
  }
};

constexpr int kCopies = 4;  // of each accumulator, so that neighbouring voxels need not wait for each other

class Accumulators {
 public:
  Accumulators(int64_t segments, bool maximum)
      : segments_(segments), maximum_(maximum), count_(segments), values_(segments * kCopies, start()) {}

  void add_row(const int32_t* labels, const float* values, int64_t width) {
    int64_t x = 0;
    while (x < width) {
      const int32_t label = labels[x];
      int64_t end = x + 1;
      while (end < width && labels[end] == label) ++end;
      count_[label] += end - x;
      double* own = values_.data() + label * kCopies;
      for (; x < end; ++x) {
        double& slot = own[x % kCopies];
        slot = maximum_ ? std::max(slot, static_cast<double>(values[x])) : slot + values[x];
      }
    }
  }

  void merge(const Accumulators& other) {
    for (size_t i = 0; i < values_.size(); ++i)
      values_[i] = maximum_ ? std::max(values_[i], other.values_[i]) : values_[i] + other.values_[i];
    for (int64_t k = 0; k < segments_; ++k) count_[k] += other.count_[k];
  }

  float result(int64_t k, Reduction reduction) const {
    if (count_[k] == 0) return 0.0f;
    const double* own = values_.data() + k * kCopies;
    if (reduction == Reduction::kMax) return static_cast<float>(*std::max_element(own, own + kCopies));
    const double sum = (own[0] + own[1]) + (own[2] + own[3]);
    return static_cast<float>(reduction == Reduction::kMean ? sum / static_cast<double>(count_[k]) : sum);
  }

 private:
  double start() const { return maximum_ ? -std::numeric_limits<double>::infinity() : 0.0; }

  int64_t segments_;
  bool maximum_;
  std::vector<int64_t> count_;
  std::vector<double> values_;
};

}  // namespace

void segment_reduce(const int32_t* labels, const float* dense, const float* cam, Shape shape,
                    const ReduceSettings& settings, float* scores, const ParallelFor& parallel) {
  const int64_t voxels = shape.voxels(), channels = dense == nullptr ? 0 : settings.channels;
  const Shape small = cam == nullptr ? Shape{1, 1, 1} : settings.cam;
  const Upsampling in_t(small.frames, shape.frames), in_y(small.height, shape.height), in_x(small.width, shape.width);
  const bool maximum = settings.reduction == Reduction::kMax;

  // Each frame has accumulators of its own, merged in order: the sum does not depend on who did what.
  std::vector<Accumulators> frames(shape.frames, Accumulators(settings.num_segments, maximum));
  parallel(shape.frames, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> row(small.width), up(shape.width), values(shape.width);
    std::vector<const float*> channel(channels);
    for (int64_t t = begin; t < end; ++t) {
      const float* near = cam + in_t.low[t] * small.height * small.width;
      const float* far = cam + in_t.high[t] * small.height * small.width;
      for (int64_t y = 0; y < shape.height; ++y) {
        const int64_t first = (t * shape.height + y) * shape.width;
        if (cam != nullptr) {
          const float wt = in_t.weight[t], wy = in_y.weight[y];
          const int64_t above = in_y.low[y] * small.width, below = in_y.high[y] * small.width;
          for (int64_t i = 0; i < small.width; ++i) {
            const float upper = near[above + i] * (1 - wt) + far[above + i] * wt;
            const float lower = near[below + i] * (1 - wt) + far[below + i] * wt;
            row[i] = upper * (1 - wy) + lower * wy;
          }
          for (int64_t x = 0; x < shape.width; ++x)
            up[x] = row[in_x.low[x]] * (1 - in_x.weight[x]) + row[in_x.high[x]] * in_x.weight[x];
        }
        for (int64_t c = 0; c < channels; ++c) channel[c] = dense + c * voxels + first;
        variants().voxel_row(channel.data(), channels, cam == nullptr ? nullptr : up.data(), settings.keep_sign,
                             shape.width, values.data());
        frames[t].add_row(labels + first, values.data(), shape.width);
      }
    }
  });
  for (int64_t t = 1; t < shape.frames; ++t) frames[0].merge(frames[t]);
  for (int64_t k = 0; k < settings.num_segments; ++k) scores[k] = frames[0].result(k, settings.reduction);
}

}  // namespace videxplain
