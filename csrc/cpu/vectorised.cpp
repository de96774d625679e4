// The inner loops, compiled once for each instruction set.
#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <vector>

#include "variants.h"
#include "vectors.h"

namespace videxplain::VX_ISA {

namespace {

// CIELAB

inline Floats curve(Floats value) {
  const Floats cut = all(0.008856f);
  const Floats x = value > cut ? value : cut;
  Ints bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits = bits / 3 + 709921077;
  Floats y;
  std::memcpy(&y, &bits, sizeof y);
  for (int step = 0; step < 2; ++step) {
    const Floats cube = y * y * y;
    y = y * ((cube + (x + x)) / ((cube + cube) + x));
  }
  return value > cut ? y : 7.787f * value + static_cast<float>(16.0 / 116.0);
}

// Linear sRGB to XYZ over the D65 white point, each entry divided in double and rounded once.
constexpr float kXyz[3][3] = {
    {float(0.412453 / 0.95047), float(0.357580 / 0.95047), float(0.180423 / 0.95047)},
    {0.212671f, 0.715160f, 0.072169f},
    {float(0.019334 / 1.08883), float(0.119193 / 1.08883), float(0.950227 / 1.08883)},
};

inline void lab_of_vector(Floats r, Floats g, Floats b, Floats out[3]) {
  Floats f[3];
  for (int i = 0; i < 3; ++i) f[i] = curve((kXyz[i][0] * r + kXyz[i][1] * g) + kXyz[i][2] * b);
  out[0] = 116.0f * f[1] - 16.0f;
  out[1] = 500.0f * (f[0] - f[1]);
  out[2] = 200.0f * (f[1] - f[2]);
}

}  // namespace

void lab_of_linear(const float* const linear[3], float* const lab[3], int64_t count) {
  Floats out[3];
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    lab_of_vector(load(linear[0] + i), load(linear[1] + i), load(linear[2] + i), out);
    for (int c = 0; c < 3; ++c) store(lab[c] + i, out[c]);
  }
  if (i == count) return;
  float rest[3][kLanes] = {};
  for (int c = 0; c < 3; ++c) std::copy(linear[c] + i, linear[c] + count, rest[c]);
  lab_of_vector(load(rest[0]), load(rest[1]), load(rest[2]), out);
  for (int c = 0; c < 3; ++c) {
    store(rest[c], out[c]);
    std::copy(rest[c], rest[c] + (count - i), lab[c] + i);
  }
}

// SLIC

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kTileT = 4, kTileY = 8, kTileX = 16;
constexpr int kVectors = kTileX / kLanes;

struct Sums {
  int64_t l, a, b, t, y, x, count;
  void add(const Sums& other) {
    l += other.l, a += other.a, b += other.b;
    t += other.t, y += other.y, x += other.x, count += other.count;
  }
};

struct Window {
  int64_t low[3], high[3];  // t, y, x
  bool meets(int axis, int64_t begin, int64_t end) const { return low[axis] < end && high[axis] > begin; }
};

// A centre as a tile sees it; what lies outside its window is infinitely far away.
struct Candidate {
  float across[kTileX], row[kTileY], frame[kTileT];
  float l, a, b;
  int32_t id;
};

struct Clip {
  const float* lab;
  Shape shape;
  int64_t voxels;

  // multiplying by a power of two is exact, so only this rounds: halves to even
  int64_t fixed(int channel, int64_t voxel) const {
    return std::lrint(static_cast<double>(lab[channel * voxels + voxel]) * kColourUnit);
  }
  void account(Sums& sums, int64_t sign, int64_t voxel, int64_t t, int64_t y, int64_t x) const {
    sums.l += sign * fixed(0, voxel), sums.a += sign * fixed(1, voxel), sums.b += sign * fixed(2, voxel);
    sums.t += sign * t, sums.y += sign * y, sums.x += sign * x, sums.count += sign;
  }
};

void place(const float* centre, const SlicSettings& settings, const Window& window, int32_t id, const int64_t start[3],
           Candidate& candidate) {
  const auto fill = [&](int axis, int size, float* out) {
    for (int i = 0; i < size; ++i) {
      const int64_t at = start[axis] + i;
      const float d = static_cast<float>(at) - centre[3 + axis];
      const bool inside = at >= window.low[axis] && at < window.high[axis];
      out[i] = inside ? (d * d) * settings.weight[axis] : kInfinity;
    }
  };
  fill(0, kTileT, candidate.frame);
  fill(1, kTileY, candidate.row);
  fill(2, kTileX, candidate.across);
  candidate.l = centre[0], candidate.a = centre[1], candidate.b = centre[2];
  candidate.id = id;
}

// The nearest candidates of one row of a tile: labels out, which hold the old ones for voxels that nobody reaches.
inline void nearest_in_row(const Floats (&l)[kVectors], const Floats (&a)[kVectors], const Floats (&b)[kVectors],
                           const std::vector<Candidate>& candidates, int t, int y, Ints (&labels)[kVectors]) {
  Floats best[kVectors];
  for (int v = 0; v < kVectors; ++v) best[v] = all(kInfinity);
  for (const Candidate& c : candidates) {
    const float row = c.frame[t] + c.row[y];
    if (row == kInfinity) continue;
    for (int v = 0; v < kVectors; ++v) {
      const Floats dl = l[v] - c.l, da = a[v] - c.a, db = b[v] - c.b;
      const Floats space = row + load(c.across + v * kLanes);
      const Floats distance = ((dl * dl + da * da) + db * db) + space;
      const Ints closer = distance < best[v];
      best[v] = closer ? distance : best[v];
      labels[v] = closer ? c.id - Ints{} : labels[v];
    }
  }
}

// One tile; returns how many voxels changed their label.
int64_t assign_tile(const Clip& clip, const std::vector<Candidate>& candidates, const int64_t start[3], int32_t* labels,
                    Sums* changes) {
  const int64_t width = std::min<int64_t>(kTileX, clip.shape.width - start[2]);
  int64_t moved = 0;
  for (int64_t t = start[0]; t < std::min(start[0] + kTileT, clip.shape.frames); ++t) {
    for (int64_t y = start[1]; y < std::min(start[1] + kTileY, clip.shape.height); ++y) {
      const int64_t first = (t * clip.shape.height + y) * clip.shape.width + start[2];
      float colours[3][kTileX];
      int32_t found[kTileX];
      const float* channel[3];
      const int32_t* before = labels + first;
      for (int c = 0; c < 3; ++c) channel[c] = clip.lab + c * clip.voxels + first;
      if (width < kTileX) {
        for (int c = 0; c < 3; ++c) {
          std::fill(std::copy(channel[c], channel[c] + width, colours[c]), colours[c] + kTileX, 0.0f);
          channel[c] = colours[c];
        }
        std::fill(std::copy(before, before + width, found), found + kTileX, 0);
        before = found;
      }
      Floats l[kVectors], a[kVectors], b[kVectors];
      Ints now[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        l[v] = load(channel[0] + v * kLanes), a[v] = load(channel[1] + v * kLanes);
        b[v] = load(channel[2] + v * kLanes);
        std::memcpy(&now[v], before + v * kLanes, sizeof now[v]);
      }
      nearest_in_row(l, a, b, candidates, static_cast<int>(t - start[0]), static_cast<int>(y - start[1]), now);
      for (int v = 0; v < kVectors; ++v) store(found + v * kLanes, now[v]);
      for (int64_t i = 0; i < width; ++i) {
        const int64_t voxel = first + i;
        if (found[i] == labels[voxel]) continue;
        clip.account(changes[labels[voxel]], -1, voxel, t, y, start[2] + i);
        clip.account(changes[found[i]], 1, voxel, t, y, start[2] + i);
        labels[voxel] = found[i];
        ++moved;
      }
    }
  }
  return moved;
}

void find_windows(const float* centres, const SlicSettings& settings, Shape shape, std::vector<Window>& windows) {
  const int64_t size[3] = {shape.frames, shape.height, shape.width};
  for (size_t k = 0; k < windows.size(); ++k) {
    for (int axis = 0; axis < 3; ++axis) {
      const float centre = centres[6 * k + 3 + axis];
      windows[k].low[axis] = static_cast<int64_t>(std::max(centre - settings.reach[axis], 0.0f));
      windows[k].high[axis] =
          static_cast<int64_t>(std::min(centre + settings.reach[axis] + 1.0f, static_cast<float>(size[axis])));
    }
  }
}

void update_centres(const std::vector<Sums>& sums, float* centres) {
  for (size_t k = 0; k < sums.size(); ++k) {
    const Sums& s = sums[k];
    if (s.count == 0) continue;
    const double count = static_cast<double>(s.count), colours = count * kColourUnit;
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
    for (int64_t t = begin; t < end; ++t) {
      const int64_t cell_t = t * settings.grid[0] / shape.frames;
      for (int64_t y = 0; y < shape.height; ++y) {
        const int64_t row = (cell_t * settings.grid[1] + y * settings.grid[1] / shape.height) * settings.grid[2];
        const int64_t first = (t * shape.height + y) * shape.width;
        for (int64_t cell = 0; cell < settings.grid[2]; ++cell) {
          // the x with x * grid / width == cell
          const int64_t from = (cell * shape.width + settings.grid[2] - 1) / settings.grid[2];
          const int64_t to = ((cell + 1) * shape.width + settings.grid[2] - 1) / settings.grid[2];
          Sums run{};
          for (int64_t x = from; x < to; ++x) {
            labels[first + x] = static_cast<int32_t>(row + cell);
            run.l += clip.fixed(0, first + x), run.a += clip.fixed(1, first + x), run.b += clip.fixed(2, first + x);
            run.x += x;
          }
          run.count = to - from, run.t = t * run.count, run.y = y * run.count;
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
          const ParallelFor& parallel) {
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
  const int64_t bands_t = (shape.frames + kTileT - 1) / kTileT, bands_y = (shape.height + kTileY - 1) / kTileY;
  for (; iterations > 0; --iterations) {
    find_windows(centres, settings, shape, windows);
    int64_t moved = 0;
    std::mutex merging;
    parallel(bands_t * bands_y, 4, [&](int64_t begin, int64_t end) {
      std::vector<Sums> changes(clusters);
      std::vector<int32_t> near;
      std::vector<Candidate> candidates;
      int64_t own = 0;
      for (int64_t band = begin; band < end; ++band) {
        int64_t start[3] = {band / bands_y * kTileT, band % bands_y * kTileY, 0};
        near.clear();
        for (int64_t k = 0; k < clusters; ++k)
          if (windows[k].meets(0, start[0], start[0] + kTileT) && windows[k].meets(1, start[1], start[1] + kTileY))
            near.push_back(static_cast<int32_t>(k));
        for (; start[2] < shape.width; start[2] += kTileX) {
          candidates.clear();
          for (const int32_t k : near) {
            if (!windows[k].meets(2, start[2], start[2] + kTileX)) continue;
            candidates.emplace_back();
            place(centres + 6 * k, settings, windows[k], k, start, candidates.back());
          }
          own += assign_tile(clip, candidates, start, labels, changes.data());
        }
      }
      const std::lock_guard<std::mutex> lock(merging);
      moved += own;
      for (int64_t k = 0; k < clusters; ++k) sums[k].add(changes[k]);
    });
    if (moved == 0) break;
    update_centres(sums, centres);
  }
}

// Reduction

void voxel_row(const float* const* dense, int64_t channels, const float* up, bool keep_sign, int64_t count,
               float* values) {
  for (int64_t i = 0; i < count; ++i) {
    float value = 1.0f;
    if (channels > 0) {
      value = 0.0f;
      for (int64_t c = 0; c < channels; ++c) value += keep_sign ? dense[c][i] : std::fabs(dense[c][i]);
    }
    if (up != nullptr) value *= up[i];
    values[i] = keep_sign ? value : std::fabs(value);
  }
}

}  // namespace videxplain::VX_ISA
