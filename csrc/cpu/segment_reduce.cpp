// One pass over the voxels: blend the map's rows, multiply, add up by label. The map is never brought to full size.
// Compiled once for each instruction set.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "variants.h"
#include "vectors.h"

namespace videxplain::VX_ISA {

namespace {

// Where each of `large` places lies among `small` samples, half-pixel centres (torch's align_corners=False).
struct Upsampling {
  // Places that lie between the same two samples.
  struct Stretch {
    int64_t begin, end, low, high;
  };
  std::vector<Stretch> stretches;
  std::vector<float> of_low, of_high;  // the samples' weights

  Upsampling(int64_t small, int64_t large) : of_low(large), of_high(large) {
    for (int64_t i = 0; i < large; ++i) {
      const double ratio = static_cast<double>(small) / static_cast<double>(large);
      const double place = std::max((static_cast<double>(i) + 0.5) * ratio - 0.5, 0.0);
      const int64_t low = std::min(static_cast<int64_t>(place), small - 1);
      of_high[i] = low < small - 1 ? static_cast<float>(place - static_cast<double>(low)) : 0.0f;
      of_low[i] = 1 - of_high[i];
      if (stretches.empty() || stretches.back().low != low)
        stretches.push_back({i, i, low, std::min(low + 1, small - 1)});
      stretches.back().end = i + 1;
    }
  }

  // The sample below a place, and the one above.
  std::vector<Stretch> of_places() const {
    std::vector<Stretch> found;
    for (const Stretch& s : stretches) found.insert(found.end(), s.end - s.begin, s);
    return found;
  }

  void row(const float* samples, float* up) const {
    for (const Stretch& s : stretches) {
      const float low = samples[s.low], high = samples[s.high];
      for (int64_t i = s.begin; i < s.end; ++i) up[i] = low * of_low[i] + high * of_high[i];
    }
  }
};

// The scores of a row's voxels: |up * sum |dense||, or with their signs.
void voxel_scores(const float* dense, int64_t channels, int64_t step, const float* up, bool keep_sign, int64_t width,
                  float* values) {
  std::fill(values, values + width, channels == 0 ? 1.0f : 0.0f);
  for (int64_t c = 0; c < channels; ++c) {
    const float* own = dense + c * step;
    if (keep_sign)
      for (int64_t x = 0; x < width; ++x) values[x] += own[x];
    else
      for (int64_t x = 0; x < width; ++x) values[x] += std::fabs(own[x]);
  }
  if (up == nullptr) return;  // a sum of absolute values is one already
  if (keep_sign)
    for (int64_t x = 0; x < width; ++x) values[x] *= up[x];
  else
    for (int64_t x = 0; x < width; ++x) values[x] = std::fabs(values[x] * up[x]);
}

constexpr int kCopies = 4;  // of each accumulator, so that neighbouring voxels need not wait for each other

struct Accumulators {
  std::vector<double> values;   // (segments, kCopies)
  std::vector<int32_t> counts;  // the same, where they matter

  Accumulators(int64_t segments, Reduction reduction)
      : values(segments * kCopies, reduction == Reduction::kMax ? -std::numeric_limits<double>::infinity() : 0.0),
        counts(reduction == Reduction::kSum ? 0 : segments * kCopies) {}

  template <bool kMaximum, bool kCounted>
  void add(const int32_t* labels, const float* scores, int64_t width) {
    const auto add_one = [&](int64_t x, int64_t copy) {
      const int64_t slot = int64_t{labels[x]} * kCopies + copy;
      const double score = scores[x];
      values[slot] = kMaximum ? std::max(values[slot], score) : values[slot] + score;
      if (kCounted) ++counts[slot];
    };
    int64_t x = 0;
    for (; x + kCopies <= width; x += kCopies)
      for (int64_t copy = 0; copy < kCopies; ++copy) add_one(x + copy, copy);
    for (int64_t copy = 0; x < width; ++x, ++copy) add_one(x, copy);
  }

  void merge(const Accumulators& other, bool maximum) {
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = maximum ? std::max(values[i], other.values[i]) : values[i] + other.values[i];
    for (size_t i = 0; i < counts.size(); ++i) counts[i] += other.counts[i];
  }

  float result(int64_t k, Reduction reduction) const {
    const double* own = values.data() + k * kCopies;
    const double sum = (own[0] + own[1]) + (own[2] + own[3]);
    if (reduction == Reduction::kSum) return static_cast<float>(sum);
    int64_t count = 0;
    for (int copy = 0; copy < kCopies; ++copy) count += counts[k * kCopies + copy];
    if (count == 0) return 0.0f;
    if (reduction == Reduction::kMax) return static_cast<float>(*std::max_element(own, own + kCopies));
    return static_cast<float>(sum / static_cast<double>(count));
  }
};

bool all_below(const int32_t* labels, int64_t count, int64_t limit) {
  uint32_t largest = 0;  // negative ones are large
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, static_cast<uint32_t>(labels[i]));
  return largest < limit;
}

}  // namespace

bool segment_reduce(const int32_t* labels, const float* dense, const float* cam, Shape shape,
                    const ReduceSettings& settings, float* scores, const ParallelFor& parallel) {
  const int64_t voxels = shape.voxels(), channels = dense == nullptr ? 0 : settings.channels;
  const Shape small = cam == nullptr ? Shape{1, 1, 1} : settings.cam;
  const Upsampling in_t(small.frames, shape.frames), in_y(small.height, shape.height), in_x(small.width, shape.width);
  const auto near_t = in_t.of_places(), near_y = in_y.of_places();
  const auto add = settings.reduction == Reduction::kSum    ? &Accumulators::add<false, false>
                   : settings.reduction == Reduction::kMean ? &Accumulators::add<false, true>
                                                            : &Accumulators::add<true, true>;
  // Each frame has accumulators of its own, merged in order: the sum does not depend on who did what.
  std::vector<Accumulators> frames(shape.frames, Accumulators(settings.num_segments, settings.reduction));
  std::atomic<bool> good{true};
  parallel(shape.frames, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> row(small.width), up(shape.width), values(shape.width);
    for (int64_t t = begin; t < end; ++t) {
      if (!all_below(labels + t * shape.height * shape.width, shape.height * shape.width, settings.num_segments)) {
        good = false;
        continue;
      }
      const float* below = cam + near_t[t].low * small.height * small.width;
      const float* above = cam + near_t[t].high * small.height * small.width;
      const float of_below = in_t.of_low[t], of_above = in_t.of_high[t];
      for (int64_t y = 0; y < shape.height; ++y) {
        const int64_t first = (t * shape.height + y) * shape.width;
        if (cam != nullptr) {
          const int64_t low = near_y[y].low * small.width, high = near_y[y].high * small.width;
          for (int64_t i = 0; i < small.width; ++i) {
            const float upper = below[low + i] * of_below + above[low + i] * of_above;
            const float lower = below[high + i] * of_below + above[high + i] * of_above;
            row[i] = upper * in_y.of_low[y] + lower * in_y.of_high[y];
          }
          in_x.row(row.data(), up.data());
        }
        voxel_scores(dense + first, channels, voxels, cam == nullptr ? nullptr : up.data(), settings.keep_sign,
                     shape.width, values.data());
        (frames[t].*add)(labels + first, values.data(), shape.width);
      }
    }
  });
  if (!good) return false;
  for (int64_t t = 1; t < shape.frames; ++t) frames[0].merge(frames[t], settings.reduction == Reduction::kMax);
  for (int64_t k = 0; k < settings.num_segments; ++k) scores[k] = frames[0].result(k, settings.reduction);
  return true;
}

}  // namespace videxplain::VX_ISA
