// Kernels of SLIC. A block assigns the voxels of one tile: its threads collect, in ascending order, the centres whose
// windows meet the tile, lay out in shared memory what each adds along t, y and x, and then every thread goes through
// them for its column of voxels. Sums are integers, changed for those voxels only that took another label.
#pragma once

#include "runtime.cuh"

namespace videxplain::cuda {

constexpr int kTileT = 4, kTileY = 8, kTileX = 16;
constexpr int kTileThreads = kTileY * kTileX;  // a thread has one voxel of each frame of the tile
constexpr int kCellStretch = 4;                // voxels that one thread walks along at the start
constexpr int kSums = 7;                       // L, a, b, t, y, x, count

struct Slic {
  const float* lab;
  int64_t frames, height, width, clusters;
  int64_t grid[3];
  float weight[3], reach[3];
  int32_t* labels;
  float* centres;
  unsigned long long* sums;  // of each clip and cluster
  int32_t* moved;            // of each clip and round: whether any voxel took another label
  int64_t rounds;

  __device__ int64_t voxels() const { return frames * height * width; }
  // Nothing moved in the round before: the clip is done.
  __device__ bool over(int64_t clip, int64_t round) const { return round > 0 && moved[clip * rounds + round - 1] == 0; }
};

// What a centre adds to the cost along t, along y (with the square of its colour) and along x in a tile, infinity
// outside its window; and its colour times -2.
struct alignas(16) Candidate {
  float frame[kTileT], row[kTileY], across[kTileX];
  float l, a, b;
  float id;  // an integer's bits
};
static_assert(sizeof(Candidate) == 32 * sizeof(float), "a warp fills one, a lane each number");

struct Tile {
  Candidate candidates[kTileThreads];
  int32_t near[kTileThreads];
  int32_t counts[kTileThreads / 32];
};

// Adds to a cluster's sums.
struct AddTo {
  unsigned long long* sums;
  __device__ void operator()(int32_t label, const unsigned long long (&values)[kSums]) const {
#pragma unroll
    for (int i = 0; i < kSums; ++i)
      if (values[i] != 0) atomicAdd(sums + label * int64_t{kSums} + i, values[i]);
  }
};
using Gathered = Runs<kSums, false, AddTo>;

// A voxel's share of the sums, or what takes it away again.
struct Share {
  unsigned long long values[kSums];
  __device__ Share(bool leaves, float l, float a, float b, int64_t t, int64_t y, int64_t x) {
    const long long all[kSums] = {fixed_point(l), fixed_point(a), fixed_point(b), t, y, x, 1};
#pragma unroll
    for (int i = 0; i < kSums; ++i) values[i] = static_cast<unsigned long long>(leaves ? -all[i] : all[i]);
  }
};

// Labels by the cells of the grid, and their sums.
__global__ void start_from_cells(Slic s) {
  const int64_t clip = blockIdx.y, voxels = s.voxels();
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kCellStretch;
  const float* lab = s.lab + 3 * clip * voxels;
  const AddTo add_to{s.sums + clip * s.clusters * kSums};
  Gathered gathered(add_to);
  for (int64_t voxel = first; voxel < first + kCellStretch && voxel < voxels; ++voxel) {
    const int64_t x = voxel % s.width, y = voxel / s.width % s.height, t = voxel / s.width / s.height;
    const int64_t cell = (t * s.grid[0] / s.frames * s.grid[1] + y * s.grid[1] / s.height) * s.grid[2];
    const int32_t label = static_cast<int32_t>(cell + x * s.grid[2] / s.width);
    s.labels[clip * voxels + voxel] = label;
    gathered.add(label, Share(false, lab[voxel], lab[voxels + voxel], lab[2 * voxels + voxel], t, y, x).values);
  }
  gathered.finish();
}

// Means of the sums; a cluster without voxels keeps its centre, a clip where nothing moved all of them.
__global__ void update_centres(Slic s, int64_t round) {
  const int64_t clip = blockIdx.y, k = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (k >= s.clusters || s.over(clip, round)) return;
  const unsigned long long* sums = s.sums + (clip * s.clusters + k) * kSums;
  if (sums[6] == 0) return;
  const double count = static_cast<double>(sums[6]), colours = count * kColourUnit;
  float* centre = s.centres + (clip * s.clusters + k) * 6;
#pragma unroll
  for (int i = 0; i < 6; ++i)
    centre[i] = static_cast<float>(static_cast<double>(static_cast<long long>(sums[i])) / (i < 3 ? colours : count));
}

// The window of a centre along an axis.
struct Window {
  int64_t low, high;
  __device__ Window(float centre, float reach, int64_t size)
      : low(within(centre - reach, size)), high(within(centre + reach + 1.0f, size)) {}
  // as index_within
  __device__ static int64_t within(float place, int64_t size) {
    if (!(place > 0)) return 0;
    return place < static_cast<float>(size) ? static_cast<int64_t>(place) : size;
  }
  __device__ bool meets(int64_t begin, int64_t end) const { return low < end && high > begin; }
};

__device__ inline float square(const float* centre) {
  const float l = centre[0] - kMiddle;
  return (l * l + centre[1] * centre[1]) + centre[2] * centre[2];
}

// What a centre's place adds to the cost of the place `at` along an axis.
__device__ inline float along(float centre, float reach, float weight, int64_t size, int64_t at) {
  const Window window(centre, reach, size);
  const float d = static_cast<float>(at) - centre;
  return at >= window.low && at < window.high ? (d * d) * weight : __int_as_float(0x7f800000);
}

__global__ void assign(Slic s, int64_t round) {
  VX_SHARED(Tile, tile);
  const int64_t clip = blockIdx.y;
  if (s.over(clip, round)) return;
  const int64_t voxels = s.voxels(), frame = s.height * s.width;
  const int64_t tiles_x = (s.width + kTileX - 1) / kTileX, tiles_y = (s.height + kTileY - 1) / kTileY;
  const int64_t t0 = blockIdx.x / tiles_x / tiles_y * kTileT, y0 = blockIdx.x / tiles_x % tiles_y * kTileY;
  const int64_t x0 = blockIdx.x % tiles_x * kTileX;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int64_t y = y0 + thread / kTileX, x = x0 + thread % kTileX;
  const bool inside = y < s.height && x < s.width;
  const int64_t first = t0 * frame + y * s.width + x;
  const float *lab = s.lab + 3 * clip * voxels, *centres = s.centres + clip * s.clusters * 6;
  int32_t* labels = s.labels + clip * voxels;

  float l[kTileT] = {}, a[kTileT] = {}, b[kTileT] = {}, best[kTileT];
  int32_t before[kTileT] = {}, now[kTileT];
#pragma unroll
  for (int i = 0; i < kTileT; ++i) {
    if (inside && t0 + i < s.frames) {
      const int64_t voxel = first + i * frame;
      l[i] = lab[voxel], a[i] = lab[voxels + voxel], b[i] = lab[2 * voxels + voxel];
      before[i] = labels[voxel];
    }
    now[i] = before[i];
    best[i] = __int_as_float(0x7f800000);
  }

  for (int64_t base = 0; base < s.clusters; base += kTileThreads) {
    const int64_t k = base + thread;
    bool meets = false;
    if (k < s.clusters) {
      const float* place = centres + 6 * k + 3;
      meets = Window(place[0], s.reach[0], s.frames).meets(t0, t0 + kTileT) &&
              Window(place[1], s.reach[1], s.height).meets(y0, y0 + kTileY) &&
              Window(place[2], s.reach[2], s.width).meets(x0, x0 + kTileX);
    }
    const unsigned votes = __ballot_sync(0xffffffffu, meets);
    if (lane == 0) tile.counts[warp] = __popc(votes);
    __syncthreads();  // counts
    int before_me = __popc(votes & ((1u << lane) - 1)), count = 0;
#pragma unroll
    for (int other = 0; other < kTileThreads / 32; ++other) {
      if (other < warp) before_me += tile.counts[other];
      count += tile.counts[other];
    }
    if (meets) tile.near[before_me] = static_cast<int32_t>(k);
    __syncthreads();  // near
    for (int c = warp; c < count; c += kTileThreads / 32) {
      const int32_t id = tile.near[c];
      const float* centre = centres + int64_t{6} * id;
      float value;
      if (lane < kTileT)
        value = along(centre[3], s.reach[0], s.weight[0], s.frames, t0 + lane);
      else if (lane < kTileT + kTileY)
        value = along(centre[4], s.reach[1], s.weight[1], s.height, y0 + lane - kTileT) + square(centre);
      else if (lane < kTileT + kTileY + kTileX)
        value = along(centre[5], s.reach[2], s.weight[2], s.width, x0 + lane - kTileT - kTileY);
      else
        value = lane == 31 ? __int_as_float(id) : -2 * (lane == 28 ? centre[0] - kMiddle : centre[lane - 28]);
      reinterpret_cast<float*>(&tile.candidates[c])[lane] = value;
    }
    __syncthreads();  // candidates; the next chunk's two barriers come before these are written again
    for (int c = 0; c < count; ++c) {
      const Candidate& candidate = tile.candidates[c];
      const float row = candidate.row[thread / kTileX], across = candidate.across[thread % kTileX];
#pragma unroll
      for (int i = 0; i < kTileT; ++i) {
        float cost = __fmaf_rn(candidate.b, b[i], (candidate.frame[i] + row) + across);
        cost = __fmaf_rn(candidate.a, a[i], cost);
        cost = __fmaf_rn(candidate.l, l[i] - kMiddle, cost);
        if (cost < best[i]) best[i] = cost, now[i] = __float_as_int(candidate.id);
      }
    }
  }

  const AddTo add_to{s.sums + clip * s.clusters * kSums};
  bool moved = false;
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    Gathered gathered(add_to);
#pragma unroll
    for (int i = 0; i < kTileT; ++i) {
      if (now[i] == before[i]) continue;
      moved = true;
      gathered.add(side == 0 ? before[i] : now[i], Share(side == 0, l[i], a[i], b[i], t0 + i, y, x).values);
      if (side == 1) labels[first + i * frame] = now[i];
    }
    gathered.finish();
  }
  if (__any_sync(0xffffffffu, moved) && lane == 0) atomicMax(s.moved + clip * s.rounds + round, 1);
}

}  // namespace videxplain::cuda
