// SLIC over tiles, whose voxels share a list of candidates. Compiled once for each instruction set.
#include <algorithm>
#include <limits>
#include <mutex>
#include <vector>

#include "variants.h"
#include "vectors.h"

namespace videxplain::VX_ISA {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// A tile's voxels share a list of candidates; a group of its rows is kept in registers while the list is walked.
constexpr int kRows = kLanes == 16 ? 4 : kLanes == 8 ? 2 : 1;
constexpr int kVectors = kLanes >= 8 ? 1 : 2;
constexpr int kTileT = 4, kTileY = 8, kTileX = kLanes * kVectors;

struct Sums {
  int64_t l, a, b, t, y, x, count;
  void add(const Sums& other) {
    l += other.l, a += other.a, b += other.b;
    t += other.t, y += other.y, x += other.x, count += other.count;
  }
  void subtract(const Sums& other) {
    l -= other.l, a -= other.a, b -= other.b;
    t -= other.t, y -= other.y, x -= other.x, count -= other.count;
  }
};

struct Window {
  int64_t low[3], high[3];  // t, y, x
  bool meets(int axis, int64_t begin, int64_t end) const { return low[axis] < end && high[axis] > begin; }
};

// A centre as a band of tiles sees it, the tiles that lie side by side: what it adds to the cost in every row, and its
// colour times -2.
struct Near {
  float row[kTileT][kTileY];
  float l, a, b;
  int32_t id;
};

// The same with what it adds along x in one tile.
struct Candidate {
  const Near* near;
  const float* across;
};

// Weighted squared distances of every centre to every place along one axis; infinite outside its window.
class AxisDistances {
 public:
  AxisDistances(int axis, int64_t size, int64_t clusters, int tile)
      : axis_(axis), size_(size), padded_((size + tile - 1) / tile * tile), values_(padded_ * clusters, kInfinity) {}

  void update(const float* centres, const std::vector<Window>& windows, float weight) {
    for (size_t k = 0; k < windows.size(); ++k) {
      float* own = values_.data() + k * padded_;
      const float centre = centres[6 * k + 3 + axis_];
      const int64_t low = windows[k].low[axis_], high = windows[k].high[axis_];
      std::fill(own, own + size_, kInfinity);
      for (int64_t i = low; i < high; ++i) {
        const float d = static_cast<float>(i) - centre;
        own[i] = (d * d) * weight;
      }
    }
  }

  const float* of(int64_t k, int64_t from) const { return values_.data() + k * padded_ + from; }

 private:
  int axis_;
  int64_t size_, padded_;
  std::vector<float> values_;
};

struct Clip {
  const float* lab;
  Shape shape;
  int64_t voxels;
};

inline Ints fixed_points(Floats values) {
  const Floats above = values > -kColourLimit ? values : all(-kColourLimit);
  const Floats limited = above < kColourLimit ? above : all(kColourLimit);
  return __builtin_convertvector(limited * kColourUnit, Ints);  // cut off
}

// Colours and labels of a group of rows, one register a vector.
struct Group {
  Floats l[kRows][kVectors], a[kRows][kVectors], b[kRows][kVectors];
  Ints labels[kRows][kVectors];
};

// The candidates of least cost; voxels that nobody reaches keep the labels they have.
inline void find_nearest(Group& group, const std::vector<Candidate>& candidates, int t, int y) {
  Floats best[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) best[r][v] = all(kInfinity);
  for (const Candidate& candidate : candidates) {
    const Near& near = *candidate.near;
    const Ints id = in_register(near.id - Ints{});
    for (int v = 0; v < kVectors; ++v) {
      const Floats across = load(candidate.across + v * kLanes);
      for (int r = 0; r < kRows; ++r) {
        Floats cost = fused(all(near.b), group.b[r][v], near.row[t][y + r] + across);
        cost = fused(all(near.a), group.a[r][v], cost);
        cost = fused(all(near.l), group.l[r][v], cost);
        const auto less = cost < best[r][v];
        best[r][v] = less ? cost : best[r][v];
        group.labels[r][v] = less ? id : group.labels[r][v];
      }
    }
  }
}

// A row of `width` values from memory, and zeros past its end.
template <typename Vector, typename Value>
inline void load_row(const Value* from, int64_t width, Vector (&row)[kVectors]) {
  if (width == kTileX) {
    std::memcpy(row, from, sizeof row);
    return;
  }
  for (int v = 0; v < kVectors; ++v) {
    const int64_t lanes = std::min<int64_t>(width - v * kLanes, kLanes);
    row[v] = lanes > 0 ? load(from + v * kLanes, static_cast<int>(lanes)) : Vector{};
  }
}

// Writes the labels found for a row of a tile, accounts for the voxels that changed theirs, and returns how many did.
int64_t update_row(const Clip& clip, const Ints (&found)[kVectors], int64_t t, int64_t y, int64_t x, int64_t width,
                   int32_t* labels, Sums* changes) {
  const int64_t first = (t * clip.shape.height + y) * clip.shape.width + x;
  Ints before[kVectors];
  load_row(labels + first, width, before);
  uint32_t changed = 0;
  for (int v = 0; v < kVectors; ++v) changed |= different(before[v], found[v]) << (v * kLanes);
  changed &= (uint64_t{1} << width) - 1;
  if (changed == 0) return 0;
  int32_t from[kTileX], to[kTileX], colour[3][kTileX];
  std::memcpy(from, before, sizeof from);
  std::memcpy(to, found, sizeof to);
  std::copy(to, to + width, labels + first);
  for (int c = 0; c < 3; ++c) {
    Floats values[kVectors];
    load_row(clip.lab + c * clip.voxels + first, width, values);
    for (int v = 0; v < kVectors; ++v) store(colour[c] + v * kLanes, fixed_points(values[v]));
  }
  const int64_t moved = __builtin_popcount(changed);
  while (changed != 0) {  // voxels that move together are accounted for together
    const int begin = __builtin_ctz(changed);
    int end = begin;
    Sums run{};
    for (; (changed >> end & 1) && from[end] == from[begin] && to[end] == to[begin]; ++end) {
      run.l += colour[0][end], run.a += colour[1][end], run.b += colour[2][end];
      run.x += x + end;
      changed ^= uint32_t{1} << end;
    }
    run.count = end - begin;
    run.t = t * run.count, run.y = y * run.count;
    changes[from[begin]].subtract(run);
    changes[to[begin]].add(run);
  }
  return moved;
}

// One tile; returns how many voxels changed their label.
int64_t assign_tile(const Clip& clip, const std::vector<Candidate>& candidates, const int64_t start[3], int32_t* labels,
                    Sums* changes) {
  const int64_t width = std::min<int64_t>(kTileX, clip.shape.width - start[2]);
  const int64_t t_end = std::min(start[0] + kTileT, clip.shape.frames);
  const int64_t y_end = std::min(start[1] + kTileY, clip.shape.height);
  // From a row to the end of the next tile's, or of the next band's first. These are asked for now, since rows lie too
  // far apart for the processor to foresee them, and into the second-level cache, since rows of different frames often
  // compete for the same few places of the first.
  int64_t ahead = 0;
  if (start[2] + kTileX < clip.shape.width)
    ahead = std::min<int64_t>(2 * kTileX, clip.shape.width - start[2]) - 1;
  else if (start[1] + 2 * kTileY <= clip.shape.height)
    ahead = kTileY * clip.shape.width - start[2] + std::min<int64_t>(kTileX, clip.shape.width) - 1;
  int64_t moved = 0;
  for (int64_t t = start[0]; t < t_end; ++t) {
    for (int64_t y = start[1]; y < y_end; y += kRows) {
      const int64_t first = (t * clip.shape.height + y) * clip.shape.width + start[2];
      const int64_t rows = std::min<int64_t>(kRows, y_end - y);
      Group group;
      for (int64_t r = 0; r < kRows; ++r) {
        const int64_t row = first + std::min(r, rows - 1) * clip.shape.width;  // past the end the last row again
        load_row(clip.lab + row, width, group.l[r]);
        load_row(clip.lab + clip.voxels + row, width, group.a[r]);
        load_row(clip.lab + 2 * clip.voxels + row, width, group.b[r]);
        load_row(labels + row, width, group.labels[r]);
        for (int c = 0; c < 3; ++c) __builtin_prefetch(clip.lab + c * clip.voxels + row + ahead, 0, 2);
        __builtin_prefetch(labels + row + ahead, 0, 2);
        for (int v = 0; v < kVectors; ++v) group.l[r][v] -= kMiddle;
      }
      find_nearest(group, candidates, static_cast<int>(t - start[0]), static_cast<int>(y - start[1]));
      for (int64_t r = 0; r < rows; ++r)
        moved += update_row(clip, group.labels[r], t, y + r, start[2], width, labels, changes);
    }
  }
  return moved;
}

void find_windows(const float* centres, const SlicSettings& settings, Shape shape, std::vector<Window>& windows) {
  const int64_t size[3] = {shape.frames, shape.height, shape.width};
  for (size_t k = 0; k < windows.size(); ++k) {
    for (int axis = 0; axis < 3; ++axis) {
      const float centre = centres[6 * k + 3 + axis];
      windows[k].low[axis] = index_within(centre - settings.reach[axis], size[axis]);
      windows[k].high[axis] = index_within(centre + settings.reach[axis] + 1.0f, size[axis]);
    }
  }
}

void update_centres(const std::vector<Sums>& sums, float* centres) {
  for (size_t k = 0; k < sums.size(); ++k) {
    const Sums& s = sums[k];
    if (s.count == 0) continue;
    const double count = static_cast<double>(s.count), colours = count * double{kColourUnit};
    float* c = centres + 6 * k;
    c[0] = static_cast<float>(s.l / colours), c[1] = static_cast<float>(s.a / colours);
    c[2] = static_cast<float>(s.b / colours), c[3] = static_cast<float>(s.t / count);
    c[4] = static_cast<float>(s.y / count), c[5] = static_cast<float>(s.x / count);
  }
}

// Labels by the cells of the grid, and their sums.
void start_from_cells(const Clip& clip, const SlicSettings& settings, int32_t* labels, std::vector<Sums>& sums,
                      const ParallelFor& parallel) {
  const Shape shape = clip.shape;
  std::mutex merging;
  parallel(shape.frames, 4, [&](int64_t begin, int64_t end) {
    std::vector<Sums> own(sums.size());
    std::vector<int32_t> colours(3 * shape.width);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t cell_t = t * settings.grid[0] / shape.frames;
      for (int64_t y = 0; y < shape.height; ++y) {
        const int64_t row = (cell_t * settings.grid[1] + y * settings.grid[1] / shape.height) * settings.grid[2];
        const int64_t first = (t * shape.height + y) * shape.width;
        for (int c = 0; c < 3; ++c)
          for (int64_t x = 0; x < shape.width; ++x)
            colours[c * shape.width + x] = fixed_point(clip.lab[c * clip.voxels + first + x]);
        for (int64_t cell = 0; cell < settings.grid[2]; ++cell) {
          // the x with x * grid / width == cell
          const int64_t from = (cell * shape.width + settings.grid[2] - 1) / settings.grid[2];
          const int64_t to = ((cell + 1) * shape.width + settings.grid[2] - 1) / settings.grid[2];
          std::fill(labels + first + from, labels + first + to, static_cast<int32_t>(row + cell));
          const int64_t count = to - from;
          Sums run{0, 0, 0, t * count, y * count, (from + to - 1) * count / 2, count};
          for (int64_t x = from; x < to; ++x) {
            run.l += colours[x], run.a += colours[shape.width + x];
            run.b += colours[2 * shape.width + x];
          }
          own[row + cell].add(run);
        }
      }
    }
    const std::lock_guard<std::mutex> lock(merging);
    for (size_t k = 0; k < sums.size(); ++k) sums[k].add(own[k]);
  });
}

}  // namespace

void slic(const float* lab, Shape shape, const SlicSettings& settings, int32_t* labels, float* centres,
          ColourSums* totals, const ParallelFor& parallel) {
  const Clip clip{lab, shape, shape.voxels()};
  const int64_t clusters = settings.clusters();
  std::vector<Sums> sums(clusters);
  std::vector<Window> windows(clusters);
  start_from_cells(clip, settings, labels, sums, parallel);
  int64_t iterations = settings.iterations;
  if (!settings.warm) {
    std::fill(centres, centres + 6 * clusters, 0.0f);
    update_centres(sums, centres);
    --iterations;
  }
  AxisDistances in_t(0, shape.frames, clusters, kTileT), in_y(1, shape.height, clusters, kTileY);
  AxisDistances in_x(2, shape.width, clusters, kTileX);
  const int64_t bands_t = (shape.frames + kTileT - 1) / kTileT, bands_y = (shape.height + kTileY - 1) / kTileY;
  for (; iterations > 0; --iterations) {
    find_windows(centres, settings, shape, windows);
    in_t.update(centres, windows, settings.weight[0]);
    in_y.update(centres, windows, settings.weight[1]);
    in_x.update(centres, windows, settings.weight[2]);
    int64_t moved = 0;
    std::mutex merging;
    parallel(bands_t * bands_y, 4, [&](int64_t begin, int64_t end) {
      std::vector<Sums> changes(clusters);
      std::vector<Near> near;
      near.reserve(clusters);  // candidates point into it
      std::vector<std::vector<Candidate>> tiles((shape.width + kTileX - 1) / kTileX);
      int64_t own = 0;
      for (int64_t band = begin; band < end; ++band) {
        int64_t start[3] = {band / bands_y * kTileT, band % bands_y * kTileY, 0};
        near.clear();
        for (int64_t k = 0; k < clusters; ++k) {
          if (!windows[k].meets(0, start[0], start[0] + kTileT) || !windows[k].meets(1, start[1], start[1] + kTileY))
            continue;
          Near& c = near.emplace_back();
          const float* centre = centres + 6 * k;
          const float l = centre[0] - kMiddle, a = centre[1], b = centre[2];
          const float square = (l * l + a * a) + b * b;
          const float *frame = in_t.of(k, start[0]), *row = in_y.of(k, start[1]);
          for (int64_t t = 0; t < std::min<int64_t>(kTileT, shape.frames - start[0]); ++t)
            for (int y = 0; y < kTileY; ++y) c.row[t][y] = frame[t] + (row[y] + square);
          c.l = -2 * l, c.a = -2 * a, c.b = -2 * b;
          c.id = static_cast<int32_t>(k);
          for (int64_t tile = windows[k].low[2] / kTileX; tile * kTileX < windows[k].high[2]; ++tile)
            tiles[tile].push_back({&c, in_x.of(k, tile * kTileX)});
        }
        for (std::vector<Candidate>& candidates : tiles) {
          own += assign_tile(clip, candidates, start, labels, changes.data());
          candidates.clear();
          start[2] += kTileX;
        }
      }
      const std::lock_guard<std::mutex> lock(merging);
      moved += own;
      for (int64_t k = 0; k < clusters; ++k) sums[k].add(changes[k]);
    });
    if (moved == 0) break;
    update_centres(sums, centres);
  }
  if (totals == nullptr) return;
  for (int64_t k = 0; k < clusters; ++k) totals[k] = {sums[k].count, {sums[k].l, sums[k].a, sums[k].b}};
}

}  // namespace videxplain::VX_ISA
