// One pass over the voxels: blend the map's rows, multiply, add up by label. The map is never brought to full size.
// Compiled once for each instruction set.
#include <algorithm>
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

// What a row's voxels score: |up * sum |dense||, or with their signs.
struct VoxelScores {
  const float* dense;          // the row's first channel
  int64_t channels, step;      // a channel's distance from the next
  const float *upper, *lower;  // the map's rows around this one, as wide as the clip; null without a map
  float of_upper, of_lower;
  bool keep_sign;

  // Of kLanes voxels, or of one.
  template <typename Values, typename Load, typename Magnitude>
  Values at(int64_t x, const Load& load, const Magnitude& magnitude) const {
    const auto channel = [&](int64_t c) {
      const Values values = load(dense + c * step + x);
      return keep_sign ? values : magnitude(values);
    };
    Values sum = Values{} + 1;
    if (channels == 3)
      sum = channel(0) + channel(1) + channel(2);
    else if (channels > 0) {
      sum = channel(0);
      for (int64_t c = 1; c < channels; ++c) sum += channel(c);
    }
    if (upper == nullptr) return sum;  // a sum of absolute values is one already
    sum *= load(upper + x) * of_upper + load(lower + x) * of_lower;
    return keep_sign ? sum : magnitude(sum);
  }
  void prefetch(int64_t x) const {
    for (int64_t c = 0; c < channels; ++c) __builtin_prefetch(dense + c * step + x);
  }
  Floats lanes(int64_t x) const {
    return at<Floats>(x, [](const float* from) { return load(from); }, [](Floats values) { return absolute(values); });
  }
  float one(int64_t x) const {
    return at<float>(x, [](const float* from) { return *from; }, [](float value) { return std::fabs(value); });
  }
};

constexpr int kCopies = 4;        // of each accumulator, so that runs that end together need not wait for each other
constexpr int64_t kAhead = 512;   // voxels; what is asked for earlier than the processor would by itself
constexpr int64_t kRunRows = 32;  // most voxels that are added up in single precision

// Scores by label. A label mostly goes on from row to row, so that each column adds up its own voxels for as long as
// it does, many columns at a time, and a label's accumulator is touched once a run.
template <bool kMaximum>
class Accumulators {
 public:
  Accumulators(int64_t segments, int64_t width)
      : segments_(segments),
        values_(segments * kCopies, kNothing),
        runs_(width, kNothing),
        ended_(width + kLanes),
        labels_(width + kLanes) {}

  // A row; `before` are the labels of the one before it.
  void add(const int32_t* labels, const int32_t* before, const VoxelScores scores) {
    float *const runs = runs_.data(), *ended = ended_.data();  // in registers, whatever is written to
    int32_t* of_ended = labels_.data();
    const int64_t width = runs_.size();
    int64_t x = 0;
    for (; x + kLanes <= width; x += kLanes) {
      scores.prefetch(x + kAhead);
      __builtin_prefetch(labels + x + kAhead);
      const Ints now = load(labels + x), last = load(before + x);
      const uint32_t ends = different(now, last);
      Floats run = load(runs + x);
      const int more = pack(run, last, ends, ended, of_ended);
      ended += more, of_ended += more;
      run = now == last ? run : all(kNothing);
      const Floats own = scores.lanes(x);
      store(runs + x, kMaximum ? (own > run ? own : run) : run + own);
    }
    for (; x < width; ++x) {
      if (labels[x] != before[x]) {
        *ended++ = runs[x], *of_ended++ = before[x];
        runs[x] = kNothing;
      }
      runs[x] = static_cast<float>(joined(runs[x], scores.one(x)));
    }
    take(labels_.data(), ended_.data(), ended - ended_.data());
  }

  // After the last row, or between two; `labels` are the last row's.
  void end_runs(const int32_t* labels) {
    take(labels, runs_.data(), runs_.size());
    std::fill(runs_.begin(), runs_.end(), kNothing);
  }

  void merge(const Accumulators& other) {
    for (size_t i = 0; i < values_.size(); ++i) values_[i] = joined(values_[i], other.values_[i]);
    good_ = good_ && other.good_;
  }

  double result(int64_t k) const {
    const double* own = &values_[k * kCopies];
    return joined(joined(own[0], own[1]), joined(own[2], own[3]));
  }

  // Whether every label met was one of 0..segments-1.
  bool good() const { return good_; }

 private:
  static constexpr float kNothing = kMaximum ? -std::numeric_limits<float>::infinity() : 0.0f;

  static double joined(double a, double b) { return kMaximum ? std::max(a, b) : a + b; }

  void take(const int32_t* labels, const float* runs, int64_t count) {
    double* const values = values_.data();
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t label = labels[i];  // negative ones are large
      if (label >= segments_) {
        good_ = false;
        return;
      }
      double& own = values[label * kCopies + i % kCopies];
      own = joined(own, runs[i]);
    }
  }

  int64_t segments_;
  bool good_ = true;
  std::vector<double> values_;   // (segments, kCopies)
  std::vector<float> runs_;      // of each column
  std::vector<float> ended_;     // runs that end with the row before
  std::vector<int32_t> labels_;  // theirs
};

// The map at one moment, its rows brought to the clip's width: once a frame instead of once a row.
void widen(const float* below, const float* above, float of_below, float of_above, Shape small, const Upsampling& in_x,
           float* wide) {
  std::vector<float> row(small.width);
  const int64_t width = in_x.of_low.size();
  for (int64_t y = 0; y < small.height; ++y) {
    for (int64_t i = 0; i < small.width; ++i)
      row[i] = below[y * small.width + i] * of_below + above[y * small.width + i] * of_above;
    in_x.row(row.data(), wide + y * width);
  }
}

template <bool kMaximum>
bool reduce(const int32_t* labels, const float* dense, const float* cam, Shape shape, const ReduceSettings& settings,
            double* found, const ParallelFor& parallel) {
  const int64_t voxels = shape.voxels(), channels = dense == nullptr ? 0 : settings.channels;
  const Shape small = cam == nullptr ? Shape{1, 1, 1} : settings.cam;
  const Upsampling in_t(small.frames, shape.frames), in_y(small.height, shape.height), in_x(small.width, shape.width);
  const auto near_t = in_t.of_places(), near_y = in_y.of_places();
  // Each frame has accumulators of its own, merged in order: the sum does not depend on who did what.
  std::vector<Accumulators<kMaximum>> frames(shape.frames, {settings.num_segments, shape.width});
  parallel(shape.frames, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> wide(small.height * shape.width);
    for (int64_t t = begin; t < end; ++t) {
      if (cam != nullptr)
        widen(cam + near_t[t].low * small.height * small.width, cam + near_t[t].high * small.height * small.width,
              in_t.of_low[t], in_t.of_high[t], small, in_x, wide.data());
      Accumulators<kMaximum>& own = frames[t];
      const int32_t* before = labels + t * shape.height * shape.width;
      for (int64_t y = 0; y < shape.height; ++y) {
        const int64_t first = (t * shape.height + y) * shape.width;
        VoxelScores scores{dense + first, channels, voxels, nullptr, nullptr, 0, 0, settings.keep_sign};
        if (cam != nullptr) {
          scores.upper = wide.data() + near_y[y].low * shape.width, scores.of_upper = in_y.of_low[y];
          scores.lower = wide.data() + near_y[y].high * shape.width, scores.of_lower = in_y.of_high[y];
        }
        if (y > 0 && y % kRunRows == 0) own.end_runs(before);
        own.add(labels + first, before, scores);
        before = labels + first;
      }
      own.end_runs(before);
    }
  });
  for (int64_t t = 1; t < shape.frames; ++t) frames[0].merge(frames[t]);
  for (int64_t k = 0; k < settings.num_segments; ++k) found[k] = frames[0].result(k);
  return frames[0].good();
}

}  // namespace

bool segment_reduce(const int32_t* labels, const float* dense, const float* cam, Shape shape,
                    const ReduceSettings& settings, float* scores, const ParallelFor& parallel) {
  std::vector<double> found(settings.num_segments);
  const auto run = settings.reduction == Reduction::kMax ? &reduce<true> : &reduce<false>;
  if (!run(labels, dense, cam, shape, settings, found.data(), parallel)) return false;
  if (settings.reduction != Reduction::kSum) {
    std::vector<int64_t> counts(settings.num_segments);
    for (int64_t i = 0; i < shape.voxels(); ++i) ++counts[labels[i]];
    for (int64_t k = 0; k < settings.num_segments; ++k) {
      if (counts[k] == 0)
        found[k] = 0;
      else if (settings.reduction == Reduction::kMean)
        found[k] /= static_cast<double>(counts[k]);
    }
  }
  std::copy(found.begin(), found.end(), scores);
  return true;
}

}  // namespace videxplain::VX_ISA
