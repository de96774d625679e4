// SLIC with scikit-image's labels, voxel for voxel, compiled once for each instruction set.
//
// What counts are its float64 distances, to the last bit: ties are common, and the lowest id wins them. They are only
// computed where they decide: float32 finds the nearest and the second nearest centre, and where these lie further
// apart than float32 can err, the nearest is known. The first round, which is full of ties, is done in float64.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "variants.h"
#include "vectors.h"

namespace videxplain::VX_ISA {
namespace {

constexpr int64_t kKeptVoxels = 1 << 20;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kRows = kLanes == 16 ? 4 : kLanes == 8 ? 2 : 1;
constexpr int kTileT = 4, kMostTileY = 16, kTileX = kLanes;

// Tiles of few frames are higher.
int tile_height(Shape shape) { return shape.frames > 2 ? 8 : kMostTileY; }

constexpr int kHalf = kLanes / 2;
typedef double Doubles __attribute__((vector_size(4 * VX_LANES)));
typedef int64_t Longs __attribute__((vector_size(4 * VX_LANES)));

inline Doubles load_doubles(const double* from) {
  Doubles values;
  std::memcpy(&values, from, sizeof values);
  return values;
}

// In float32 the margin covers every rounding, so each machine may do as it likes.
inline Floats multiply_add(Floats a, Floats b, Floats c) {
#if defined(__AVX2__)
  return fused(a, b, c);
#else
  return a * b + c;
#endif
}

inline Floats lesser(Floats a, Floats b) {
#if defined(__AVX512F__)
  return _mm512_maskz_min_ps(0xffff, a, b);
#elif defined(__AVX2__)
  return _mm256_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}

struct Centre {
  double place[3], colour[3];  // t, y, x; L, a, b
  bool alive;
};

// Squared distances, by the spacing, of every centre to the places of its window along one axis; infinite in the rest
// of the tiles that the window meets.
class AxisDistances {
 public:
  AxisDistances(int axis, Shape shape, const ExactSettings& settings, int tile)
      : axis_(axis), tile_(tile), reach_(settings.reach[axis]), spacing_(settings.spacing[axis]) {
    const int64_t sizes[3] = {shape.frames, shape.height, shape.width};
    size_ = sizes[axis];
    const double most = std::min(2 * reach_ + 2, static_cast<double>(size_)) + 2 * tile;
    stride_ = static_cast<int64_t>(most) / tile * tile;
    low_.resize(settings.clusters), high_.resize(settings.clusters);
    squares_.resize(stride_ * settings.clusters), weighted_.resize(stride_ * settings.clusters);
  }

  // Returns the largest finite value.
  double update(const std::vector<Centre>& centres, double weight) {
    double largest = 0;
    for (size_t k = 0; k < centres.size(); ++k) {
      low_[k] = high_[k] = 0;
      if (!centres[k].alive) continue;
      const double centre = centres[k].place[axis_];
      low_[k] = index_within(centre - reach_, size_);
      high_[k] = index_within(centre + reach_ + 1, size_);
      double* own = squares_.data() + k * stride_;
      float* as_float = weighted_.data() + k * stride_;
      std::fill(own, own + stride_, kInfinity);
      std::fill(as_float, as_float + stride_, std::numeric_limits<float>::infinity());
      const int64_t first = low_[k] / tile_ * tile_;
      for (int64_t i = low_[k]; i < high_[k]; ++i) {
        const double d = spacing_ * (centre - static_cast<double>(i));
        own[i - first] = d * d;
        as_float[i - first] = static_cast<float>(weight * (d * d));
        largest = std::max(largest, d * d);
      }
    }
    return largest;
  }

  bool meets(int64_t k, int64_t begin) const { return low_[k] < begin + tile_ && high_[k] > begin; }
  // from the beginning of a tile that the window meets
  const double* squares(int64_t k, int64_t begin) const { return squares_.data() + offset(k, begin); }
  const float* weighted(int64_t k, int64_t begin) const { return weighted_.data() + offset(k, begin); }

 private:
  int64_t offset(int64_t k, int64_t begin) const { return k * stride_ + begin - low_[k] / tile_ * tile_; }

  int axis_, tile_;
  double reach_, spacing_;
  int64_t size_, stride_;
  std::vector<int64_t> low_, high_;
  std::vector<double> squares_;
  std::vector<float> weighted_;
};

// A centre as a band of tiles that lie side by side sees it. In float32 the squared distance less the voxel's own
// |x|^2 is row + across + x . (-2 c), colours counted from the middle of the clip's.
struct Near {
  float row[kTileT][kMostTileY], colour[3];
  int32_t id;
  const double *t, *y, *exact_colour;
};

struct Candidate {
  const Near* near;
  const float* across;
  const double* squares;
};

struct Clip {
  const double* lab;
  Shape shape;
  double weight, middle[3], half_range[3];
  const float* colours;  // (3, T, H, W), from the middle

  Clip(const double* values, Shape size, double spatial, float* memory, const ParallelFor& parallel)
      : lab(values), shape(size), weight(spatial), colours(memory) {
    const int64_t voxels = shape.voxels();
    for (int c = 0; c < 3; ++c) {
      const double* own = lab + c * voxels;
      Doubles lows = own[0] - Doubles{}, highs = lows;
      int64_t i = 0;
      for (; i + kHalf <= voxels; i += kHalf) {
        const Doubles here = load_doubles(own + i);
        lows = here < lows ? here : lows;
        highs = here > highs ? here : highs;
      }
      double low = own[0], high = own[0];
      for (; i < voxels; ++i) low = std::min(low, own[i]), high = std::max(high, own[i]);
      for (int lane = 0; lane < kHalf; ++lane) low = std::min(low, lows[lane]), high = std::max(high, highs[lane]);
      middle[c] = 0.5 * (low + high);
      // no less than what float64 itself rounds off
      half_range[c] = 0.5 * (high - low) + 1e-6 * std::max(std::fabs(low), std::fabs(high));
    }
    parallel(3 * voxels, 1 << 17, [&](int64_t begin, int64_t end) {
      for (int c = 0; c < 3; ++c) {
        const int64_t to = std::min(end, (c + 1) * voxels);
        for (int64_t i = std::max(begin, c * voxels); i < to; ++i) memory[i] = static_cast<float>(lab[i] - middle[c]);
      }
    });
  }

  // Twice what the float32 distance of a voxel and a centre, both colours within the clip's range, can be off by.
  float margin(double largest_spatial) const {
    double square = 0;
    for (const double r : half_range) square += r * r;
    const float margin = static_cast<float>(0x1p-20 * (largest_spatial + 3 * square));
    return std::max(margin, std::numeric_limits<float>::min());  // below it roundings are no longer relative
  }
};

// scikit-image's choice for a row of a tile, in its order of operations; voxels that nobody reaches keep their labels.
template <bool kFirst>
void find_exactly(const Clip& clip, const std::vector<Candidate>& candidates, int64_t first, int64_t width, int t,
                  int y, int32_t* labels) {
  double colours[3][kTileX] = {};
  for (int c = 0; c < 3; ++c) {
    const double* own = clip.lab + c * clip.shape.voxels() + first;
    std::copy(own, own + width, colours[c]);
  }
  Doubles x[3][2], best[2], colour[2];
  Longs found[2];
  for (int v = 0; v < 2; ++v) {
    for (int c = 0; c < 3; ++c) x[c][v] = load_doubles(colours[c] + v * kHalf);
    colour[v] = (x[0][v] * x[0][v] + x[1][v] * x[1][v]) + x[2][v] * x[2][v];
    best[v] = kInfinity - Doubles{};
    for (int i = 0; i < kHalf; ++i) found[v][i] = v * kHalf + i < width ? labels[v * kHalf + i] : 0;
  }
  for (const Candidate& candidate : candidates) {
    const Near& near = *candidate.near;
    const double row = near.t[t] + near.y[y];
    for (int v = 0; v < 2; ++v) {
      if (!kFirst) {  // centres begin without colour
        const Doubles dl = x[0][v] - near.exact_colour[0], da = x[1][v] - near.exact_colour[1],
                      db = x[2][v] - near.exact_colour[2];
        colour[v] = (dl * dl + da * da) + db * db;
      }
      const Doubles distance = (row + load_doubles(candidate.squares + v * kHalf)) * clip.weight + colour[v];
      const auto closer = distance < best[v];
      best[v] = closer ? distance : best[v];
      found[v] = closer ? near.id - Longs{} : found[v];
    }
  }
  for (int64_t i = 0; i < width; ++i) labels[i] = static_cast<int32_t>(found[i / kHalf][i % kHalf]);
}

struct Group {
  Floats colour[3][kRows];
  Ints labels[kRows], doubtful[kRows];
};

inline void find_nearest(Group& group, const std::vector<Candidate>& candidates, int t, int y, float margin) {
  Floats best[kRows], second[kRows];
  for (int r = 0; r < kRows; ++r) best[r] = second[r] = all(std::numeric_limits<float>::infinity());
  for (const Candidate& candidate : candidates) {
    const Near& near = *candidate.near;
    const Floats across = load(candidate.across);
    for (int r = 0; r < kRows; ++r) {
      Floats cost = multiply_add(all(near.colour[0]), group.colour[0][r], near.row[t][y + r] + across);
      cost = multiply_add(all(near.colour[1]), group.colour[1][r], cost);
      cost = multiply_add(all(near.colour[2]), group.colour[2][r], cost);
      const auto less = cost < best[r];
      second[r] = lesser(less ? best[r] : cost, second[r]);
      best[r] = less ? cost : best[r];
      group.labels[r] = less ? near.id - Ints{} : group.labels[r];
    }
  }
  // not known either where nobody comes or a number overflowed
  for (int r = 0; r < kRows; ++r) group.doubtful[r] = ~(second[r] > best[r] + margin);
}

template <typename Vector, typename Value>
inline Vector load_row(const Value* from, int64_t width) {
  Vector row{};
  if (width == kTileX)
    std::memcpy(&row, from, sizeof row);
  else
    std::memcpy(&row, from, width * sizeof *from);
  return row;
}

// One tile; returns whether any voxel changed its label.
template <bool kFirst>
bool assign_tile(const Clip& clip, const std::vector<Candidate>& candidates, const int64_t start[3], float margin,
                 int32_t* labels) {
  const int64_t voxels = clip.shape.voxels(), width = std::min<int64_t>(kTileX, clip.shape.width - start[2]);
  const int64_t t_end = std::min(start[0] + kTileT, clip.shape.frames);
  const int64_t y_end = std::min(start[1] + tile_height(clip.shape), clip.shape.height);
  const uint32_t inside = static_cast<uint32_t>((uint64_t{1} << width) - 1);
  bool moved = false;
  for (int64_t t = start[0]; t < t_end; ++t) {
    const int own_t = static_cast<int>(t - start[0]);
    for (int64_t y = start[1]; y < y_end; y += kRows) {
      const int own_y = static_cast<int>(y - start[1]);
      const int64_t first = (t * clip.shape.height + y) * clip.shape.width + start[2];
      const int64_t rows = std::min<int64_t>(kRows, y_end - y);
      Group group;
      if (!kFirst) {
        for (int64_t r = 0; r < kRows; ++r) {
          const int64_t row = first + std::min(r, rows - 1) * clip.shape.width;  // past the end the last row again
          for (int c = 0; c < 3; ++c) group.colour[c][r] = load_row<Floats>(clip.colours + c * voxels + row, width);
          group.labels[r] = load_row<Ints>(labels + row, width);
        }
        find_nearest(group, candidates, own_t, own_y, margin);
      }
      for (int r = 0; r < rows; ++r) {
        const int64_t row = first + r * clip.shape.width;
        const Ints before = load_row<Ints>(labels + row, width);
        Ints after = group.labels[r];
        if (kFirst || (different(group.doubtful[r], Ints{}) & inside)) {
          int32_t found[kTileX];
          store(found, before);
          find_exactly<kFirst>(clip, candidates, row, width, own_t, own_y + r, found);
          std::memcpy(&after, found, sizeof after);
        }
        if ((different(before, after) & inside) == 0) continue;
        if (width == kTileX)
          store(labels + row, after);
        else
          std::memcpy(labels + row, &after, width * sizeof *labels);
        moved = true;
      }
    }
  }
  return moved;
}

// Colours are summed in raster order, for their rounding is part of the result; places are whole numbers.
void update_centres(const Clip& clip, const int32_t* labels, std::vector<Centre>& centres) {
  struct Sums {
    double colour[3];
    int64_t t, y, x, count;
  };
  std::vector<Sums> sums(centres.size());
  const Shape shape = clip.shape;
  const int64_t voxels = shape.voxels();
  for (int64_t row = 0; row < shape.frames * shape.height; ++row) {
    const int32_t* ids = labels + row * shape.width;
    const double *l = clip.lab + row * shape.width, *a = l + voxels, *b = a + voxels;
    for (int64_t x = 0; x < shape.width;) {
      const int64_t begin = x;
      const int32_t label = ids[x];
      Sums& own = sums[label];
      double sum_l = own.colour[0], sum_a = own.colour[1], sum_b = own.colour[2];
      do sum_l += l[x], sum_a += a[x], sum_b += b[x];
      while (++x < shape.width && ids[x] == label);
      own.colour[0] = sum_l, own.colour[1] = sum_a, own.colour[2] = sum_b;
      const int64_t count = x - begin;
      own.t += row / shape.height * count, own.y += row % shape.height * count;
      own.x += (begin + x - 1) * count / 2, own.count += count;
    }
  }
  for (size_t k = 0; k < sums.size(); ++k) {
    const Sums& own = sums[k];
    Centre& centre = centres[k];
    centre.alive = own.count > 0;
    const double count = static_cast<double>(own.count);
    const int64_t place[3] = {own.t, own.y, own.x};
    for (int i = 0; i < 3 && centre.alive; ++i) {
      centre.place[i] = static_cast<double>(place[i]) / count;
      centre.colour[i] = own.colour[i] / count;
    }
  }
}

class Rounds {
 public:
  Rounds(const Clip& clip, const double* seeds, const ExactSettings& settings)
      : clip_(clip),
        settings_(settings),
        centres_(settings.clusters),
        in_t_(0, clip.shape, settings, kTileT),
        in_y_(1, clip.shape, settings, tile_height(clip.shape)),
        in_x_(2, clip.shape, settings, kTileX) {
    for (size_t k = 0; k < centres_.size(); ++k)
      centres_[k] = {{seeds[3 * k], seeds[3 * k + 1], seeds[3 * k + 2]}, {0, 0, 0}, true};
  }

  // One round; returns whether any voxel changed its label.
  template <bool kFirst>
  bool assign(int32_t* labels, const ParallelFor& parallel) {
    const double weight = settings_.weight;
    const double largest =
        weight * (in_t_.update(centres_, weight) + in_y_.update(centres_, weight) + in_x_.update(centres_, weight));
    const float margin = clip_.margin(largest);
    const Shape shape = clip_.shape;
    const int64_t tile_y = tile_height(shape), bands_t = (shape.frames + kTileT - 1) / kTileT;
    const int64_t bands_y = (shape.height + tile_y - 1) / tile_y;
    std::atomic<bool> moved{false};
    parallel(bands_t * bands_y, 4, [&](int64_t begin, int64_t end) {
      std::vector<Near> near;
      std::vector<Candidate> candidates;
      bool own = false;
      for (int64_t band = begin; band < end; ++band) {
        int64_t start[3] = {band / bands_y * kTileT, band % bands_y * tile_y, 0};
        find_near(start, near);
        for (; start[2] < shape.width; start[2] += kTileX) {
          candidates.clear();
          for (const Near& n : near)
            if (in_x_.meets(n.id, start[2]))
              candidates.push_back({&n, in_x_.weighted(n.id, start[2]), in_x_.squares(n.id, start[2])});
          own |= assign_tile<kFirst>(clip_, candidates, start, margin, labels);
        }
      }
      if (own) moved = true;
    });
    return moved;
  }

  void update(const int32_t* labels) { update_centres(clip_, labels, centres_); }

 private:
  // The centres whose windows meet a band, in ascending order.
  void find_near(const int64_t start[3], std::vector<Near>& near) const {
    near.clear();
    const int frames = static_cast<int>(std::min<int64_t>(kTileT, clip_.shape.frames));
    const int height = tile_height(clip_.shape);
    for (size_t k = 0; k < centres_.size(); ++k) {
      if (!in_t_.meets(k, start[0]) || !in_y_.meets(k, start[1])) continue;
      Near& n = near.emplace_back();
      n.id = static_cast<int32_t>(k);
      n.t = in_t_.squares(k, start[0]), n.y = in_y_.squares(k, start[1]);
      n.exact_colour = centres_[k].colour;
      double square = 0;
      for (int c = 0; c < 3; ++c) {
        const double own = centres_[k].colour[c] - clip_.middle[c];
        square += own * own;
        n.colour[c] = static_cast<float>(-2 * own);
      }
      for (int t = 0; t < frames; ++t)
        for (int y = 0; y < height; ++y)
          n.row[t][y] = static_cast<float>(settings_.weight * (n.t[t] + n.y[y]) + square);
    }
  }

  const Clip& clip_;
  const ExactSettings& settings_;
  std::vector<Centre> centres_;
  AxisDistances in_t_, in_y_, in_x_;
};

}  // namespace

void slic_exact(const double* lab, Shape shape, const double* seeds, const ExactSettings& settings, int32_t* labels,
                const ParallelFor& parallel) {
  thread_local std::vector<float> kept;  // fresh pages cost more than what is done on them; large ones are given back
  kept.resize(3 * shape.voxels());
  const Clip clip(lab, shape, settings.weight, kept.data(), parallel);
  Rounds rounds(clip, seeds, settings);
  std::fill(labels, labels + shape.voxels(), 0);
  for (int64_t round = 0; round < settings.iterations; ++round) {
    // scikit-image goes on; but with the same labels the means are the same, and so is everything after
    if (round == 0)
      rounds.assign<true>(labels, parallel);
    else if (!rounds.assign<false>(labels, parallel))
      break;
    rounds.update(labels);
  }
  if (shape.voxels() > kKeptVoxels) std::vector<float>().swap(kept);
}

}  // namespace videxplain::VX_ISA
