// One pass over the voxels: blend the map's rows, multiply, add up by label. The map is never brought to full size.
// Compiled once for each instruction set.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
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

constexpr int kRows = 2;          // that are gone through together: runs stay in registers meanwhile
constexpr int kCopies = 4;        // of each accumulator, so that runs that end together need not wait for each other
constexpr int64_t kAhead = 1024;  // voxels; what is asked for earlier than the processor would by itself
constexpr int64_t kRunRows = 32;  // most voxels that are added up in single precision

// Rows one below the other, and what their voxels score: |up * sum |dense||, or with their signs.
struct Rows {
  int64_t width;
  const int32_t *labels, *before;  // the first row's, and those of the row before it
  const float* dense;              // the first row's first channel
  int64_t channels, step;          // a channel's distance from the next
  int32_t kept;                    // bits of a value: all, or all but the sign
  struct {
    const float *upper, *lower;  // the map's rows around this one, as wide as the clip
    float of_upper, of_lower;
  } map[kRows];

  // Into the second-level cache: the first has too few requests under way to wait for memory.
  void prefetch(int row, int64_t x) const {
    const int64_t ahead = row * width + x + kAhead;
    __builtin_prefetch(labels + ahead, 0, 2);
    for (int64_t c = 0; c < channels; ++c) __builtin_prefetch(dense + c * step + ahead, 0, 2);
  }
  template <typename Load>
  Floats scores(int row, int64_t x, const Load& load) const {
    const auto channel = [&](int64_t c) { return magnitude(load(dense + c * step + row * width + x)); };
    Floats sum = all(1);
    if (channels == 3)
      sum = channel(0) + channel(1) + channel(2);
    else if (channels > 0) {
      sum = channel(0);
      for (int64_t c = 1; c < channels; ++c) sum += channel(c);
    }
    const auto& [upper, lower, of_upper, of_lower] = map[row];
    return magnitude(sum * (load(upper + x) * of_upper + load(lower + x) * of_lower));
  }
  Floats magnitude(Floats values) const { return reinterpret_cast<Floats>(reinterpret_cast<Ints>(values) & kept); }
};

// Scores by label. A label mostly goes on from row to row, so that each column adds up its own voxels for as long as
// it does, many columns at a time, and a label's accumulator is touched once a run.
template <bool kMaximum>
class Accumulators {
 public:
  Accumulators(int64_t segments, int64_t width)
      : segments_(segments),
        values_(segments * kCopies, kNothing),
        runs_(width + kLanes, kNothing),
        ended_(kRows * width + kLanes),
        labels_(kRows * width + kLanes) {}

  // So many of the rows.
  template <int kCount>
  void add(const Rows rows) {  // a copy stays in registers, whatever is written to
    float* ended = ended_.data();
    int32_t* of_ended = labels_.data();
    int64_t x = 0;
    for (; x + kLanes <= rows.width; x += kLanes)
      add_columns<kCount>(rows, x, [](const auto* from) { return load(from); }, ended, of_ended);
    const int left = static_cast<int>(rows.width - x);
    if (left > 0) add_columns<kCount>(rows, x, [left](const auto* from) { return load(from, left); }, ended, of_ended);
    take(labels_.data(), ended_.data(), ended - ended_.data());
  }

  // After the last row, or between two; `labels` are the last row's.
  void end_runs(const int32_t* labels, int64_t width) {
    take(labels, runs_.data(), width);
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

  // kLanes columns, those that `load` loads; runs that end go to `ended` and `of_ended`, side by side.
  template <int kCount, typename Load>
  void add_columns(const Rows& rows, int64_t x, const Load& load, float*& ended, int32_t*& of_ended) {
    Floats run = VX_ISA::load(&runs_[x]);
    Ints last = load(rows.before + x);
#pragma GCC unroll 2
    for (int row = 0; row < kCount; ++row) {
      rows.prefetch(row, x);
      const Ints now = load(rows.labels + row * rows.width + x);
      const int more = pack(run, last, different(now, last), ended, of_ended);
      ended += more, of_ended += more;
      run = now == last ? run : all(kNothing);
      const Floats own = rows.scores(row, x, load);
      run = kMaximum ? (own > run ? own : run) : run + own;
      last = now;
    }
    store(&runs_[x], run);
  }

  void take(const int32_t* labels, const float* runs, int64_t count) {
    int64_t i = 0;
    for (; i + kCopies <= count; i += kCopies)
      if (!take_few(labels + i, runs + i, kCopies)) return;
    take_few(labels + i, runs + i, static_cast<int>(count - i));
  }

  // At most kCopies; false where a label is none of ours.
  bool take_few(const int32_t* labels, const float* runs, int count) {
    uint32_t largest = 0;
    for (int i = 0; i < count; ++i) largest = std::max<uint32_t>(largest, labels[i]);  // negative ones are large
    if (largest >= segments_) return good_ = false;
    for (int i = 0; i < count; ++i) {
      double& own = values_[labels[i] * kCopies + i];
      own = joined(own, runs[i]);
    }
    return true;
  }

  int64_t segments_;
  bool good_ = true;
  std::vector<double> values_;   // (segments, kCopies)
  std::vector<float> runs_;      // of each column
  std::vector<float> ended_;     // runs that ended with one of the rows
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

// How many pieces of consecutive rows have accumulators of their own. It depends on the clip alone, and so do the sums.
int64_t pieces_of(Shape shape, int64_t segments) {
  const int64_t least = std::max<int64_t>(1 << 16, kCopies * segments);  // voxels, for an accumulator costs some too
  return std::clamp<int64_t>((shape.voxels() + least - 1) / least, 1, 64);
}

template <bool kMaximum>
bool reduce(const int32_t* labels, const float* dense, const float* cam, Shape shape, const ReduceSettings& settings,
            double* found, const ParallelFor& parallel) {
  const int64_t height = shape.height, width = shape.width, rows = shape.frames * height;
  const float one = 1;  // stands for a map that is not given
  const float* const map = cam == nullptr ? &one : cam;
  const Shape small = cam == nullptr ? Shape{1, 1, 1} : settings.cam;
  const Upsampling in_t(small.frames, shape.frames), in_y(small.height, height), in_x(small.width, width);
  const auto near_t = in_t.of_places(), near_y = in_y.of_places();
  const int64_t pieces = pieces_of(shape, settings.num_segments);
  std::vector<std::optional<Accumulators<kMaximum>>> sums(pieces);
  parallel(pieces, 1, [&](int64_t first, int64_t last) {
    std::vector<float> wide(small.height * width);
    for (int64_t piece = first; piece < last; ++piece) {
      Accumulators<kMaximum>& own = sums[piece].emplace(settings.num_segments, width);
      const int64_t begin = rows * piece / pieces, end = rows * (piece + 1) / pieces;
      int64_t added = 0;
      for (int64_t i = begin, count; i < end; i += count) {
        const int64_t t = i / height, y = i % height;
        count = std::min(end - i, height - y) < kRows ? 1 : kRows;
        if (y == 0 || i == begin)
          widen(map + near_t[t].low * small.height * small.width, map + near_t[t].high * small.height * small.width,
                in_t.of_low[t], in_t.of_high[t], small, in_x, wide.data());
        const int32_t* const ids = labels + i * width;
        Rows few{width,
                 ids,
                 i == begin ? ids : ids - width,
                 nullptr,
                 0,
                 shape.voxels(),
                 settings.keep_sign ? -1 : 0x7fffffff,
                 {}};
        if (dense != nullptr) few.dense = dense + i * width, few.channels = settings.channels;
        for (int64_t row = 0; row < count; ++row)
          few.map[row] = {wide.data() + near_y[y + row].low * width, wide.data() + near_y[y + row].high * width,
                          in_y.of_low[y + row], in_y.of_high[y + row]};
        if (added + count > kRunRows) own.end_runs(few.before, width), added = 0;
        count == kRows ? own.template add<kRows>(few) : own.template add<1>(few);
        added += count;
      }
      if (begin < end) own.end_runs(labels + (end - 1) * width, width);
    }
  });
  for (int64_t piece = 1; piece < pieces; ++piece) sums[0]->merge(*sums[piece]);
  for (int64_t k = 0; k < settings.num_segments; ++k) found[k] = sums[0]->result(k);
  return sums[0]->good();
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
