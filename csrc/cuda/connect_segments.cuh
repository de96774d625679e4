// Kernels of connect_segments. A component is known by the number of its first voxel, its root, and disjoint sets
// always join towards the lower root: so no order of joining can matter, and to compare roots is to compare which
// begins first.
//
// In a round of merging all small components choose the neighbour nearest in mean colour, the smallest distance first,
// then among equals the lowest root, and are joined; each small component that is left has at least doubled.
#pragma once

#include "runtime.cuh"

namespace videxplain::cuda {

constexpr int kRun = 4;            // voxels that one thread walks along
constexpr int kScanned = 1 << 12;  // voxels whose roots one block counts

struct Connect {
  const int32_t* labels;
  const float* lab;
  int64_t frames, height, width, min_size, chunks;
  int32_t* connected;
  // of each voxel: the parent in its set; of each root: voxels, sums of colours, the choice, and in the end the number
  int32_t *parent, *size, *chosen;
  unsigned long long *colour, *distance;
  int32_t* before;     // of each clip and chunk of voxels: how many roots come before it
  int32_t* unsettled;  // of each clip and round: whether a small component has a neighbour
  int64_t rounds;

  __device__ int64_t voxels() const { return frames * height * width; }
  __device__ bool settled(int64_t clip, int64_t round) const { return unsettled[clip * rounds + round] == 0; }
};

// One clip's part of the arrays.
struct Volume {
  __device__ Volume(const Connect& c, int64_t clip)
      : labels(c.labels + clip * c.voxels()),
        parent(c.parent + clip * c.voxels()),
        size(c.size + clip * c.voxels()),
        chosen(c.chosen + clip * c.voxels()),
        colour(c.colour + 3 * clip * c.voxels()),
        distance(c.distance + clip * c.voxels()) {}

  // Others may be joining meanwhile: what is read is a root or has been one.
  __device__ int32_t root(int32_t node) const {
    for (int32_t up = __ldcg(parent + node); up != node; up = __ldcg(parent + node)) node = up;
    return node;
  }

  __device__ void join(int32_t a, int32_t b) const {
    for (;;) {
      a = root(a), b = root(b);
      if (a == b) return;
      if (a > b) {
        const int32_t lower = b;
        b = a, a = lower;
      }
      // b was a root when it was read; if it has got another parent since, that one is joined too
      const int32_t seen = atomicMin(parent + b, a);
      if (seen == b) return;
      b = seen;
    }
  }

  __device__ double mean(int32_t component, int channel) const {
    const auto sum = static_cast<long long>(colour[int64_t{3} * component + channel]);
    return static_cast<double>(sum) / (static_cast<double>(size[component]) * kColourUnit);
  }

  // Bits of the squared distance of two mean colours, which are ordered as it is.
  __device__ unsigned long long apart(int32_t own, int32_t other) const {
    const double d_l = mean(other, 0) - mean(own, 0), d_a = mean(other, 1) - mean(own, 1);
    const double d_b = mean(other, 2) - mean(own, 2);
    return static_cast<unsigned long long>(__double_as_longlong((d_l * d_l + d_a * d_a) + d_b * d_b));
  }

  const int32_t* labels;
  int32_t *parent, *size, *chosen;
  unsigned long long *colour, *distance;
};

__device__ inline int64_t own_voxel() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

// Joins voxels with the first of their run of equal labels, as far as a warp sees it.
__global__ void join_runs(Connect c) {
  const Volume v(c, blockIdx.y);
  const int64_t voxel = own_voxel();
  const int lane = static_cast<int>(threadIdx.x % 32);
  const bool inside = voxel < c.voxels();
  const bool begins = !inside || voxel % c.width == 0 || v.labels[voxel] != v.labels[voxel - 1];
  const unsigned starts = __ballot_sync(0xffffffffu, begins || lane == 0) & (0xffffffffu >> (31 - lane));
  if (!inside) return;
  v.parent[voxel] = static_cast<int32_t>(voxel) - (lane - (31 - __clz(static_cast<int>(starts))));
  v.distance[voxel] = ~0ull;
  v.chosen[voxel] = 0x7fffffff;
}

// Joins runs with those that they touch: across the edges of warps, rows and frames.
__global__ void join_neighbours(Connect c) {
  const Volume v(c, blockIdx.y);
  const int64_t voxel = own_voxel();
  if (voxel >= c.voxels()) return;
  const int64_t x = voxel % c.width, y = voxel / c.width % c.height, t = voxel / c.width / c.height;
  const int32_t label = v.labels[voxel];
  const bool follows = x > 0 && v.labels[voxel - 1] == label;
  if (follows && threadIdx.x % 32 == 0) v.join(static_cast<int32_t>(voxel - 1), static_cast<int32_t>(voxel));
  const auto across = [&](bool there, int64_t step) {
    if (!there || v.labels[voxel - step] != label) return;
    // the voxel to the left has done it for both runs
    if (follows && v.labels[voxel - step - 1] == label) return;
    v.join(static_cast<int32_t>(voxel - step), static_cast<int32_t>(voxel));
  };
  across(y > 0, c.width);
  across(t > 0, c.width * c.height);
}

__global__ void flatten(Connect c) {
  const Volume v(c, blockIdx.y);
  const int64_t voxel = own_voxel();
  if (voxel < c.voxels()) __stcg(v.parent + voxel, v.root(static_cast<int32_t>(voxel)));
}

// Sizes and sums of colours of the components.
__global__ void measure(Connect c) {
  const int64_t clip = blockIdx.y, voxels = c.voxels(), first = own_voxel() * kRun;
  const Volume v(c, clip);
  const float* lab = c.lab + 3 * clip * voxels;
  const auto flush = [&](int32_t component, const unsigned long long (&sums)[4]) {
    atomicAdd(v.size + component, static_cast<int32_t>(sums[3]));
#pragma unroll
    for (int i = 0; i < 3; ++i) atomicAdd(v.colour + int64_t{3} * component + i, sums[i]);
  };
  Runs<4, false, decltype(flush)> runs(flush);
  for (int64_t voxel = first; voxel < first + kRun && voxel < voxels; ++voxel) {
    const auto colour = [&](int i) {
      return static_cast<unsigned long long>(static_cast<long long>(fixed_point(lab[i * voxels + voxel])));
    };
    runs.add(v.parent[voxel], {colour(0), colour(1), colour(2), 1});
  }
  runs.finish();
}

// Calls with each component and a neighbour of it, as this thread's voxel and the one before it along an axis show.
template <typename Visit>
__device__ inline void faces(const Connect& c, const Volume& v, const Visit& visit) {
  const int64_t voxel = own_voxel();
  if (voxel >= c.voxels()) return;
  const int64_t x = voxel % c.width, y = voxel / c.width % c.height, t = voxel / c.width / c.height;
  const int32_t own = v.parent[voxel];
  const auto face = [&](bool there, int64_t step) {
    const int32_t other = there ? v.parent[voxel - step] : own;
    if (other == own) return;
    if (v.size[own] < c.min_size) visit(own, other);
    if (v.size[other] < c.min_size) visit(other, own);
  };
  face(x > 0, 1);
  face(y > 0, c.width);
  face(t > 0, c.width * c.height);
}

__global__ void find_distances(Connect c, int64_t round) {
  const int64_t clip = blockIdx.y;
  if (round > 0 && c.settled(clip, round - 1)) return;
  const Volume v(c, clip);
  bool any = false;
  faces(c, v, [&](int32_t own, int32_t other) {
    atomicMin(v.distance + own, v.apart(own, other));
    any = true;
  });
  if (__any_sync(0xffffffffu, any) && threadIdx.x % 32 == 0) atomicMax(c.unsettled + clip * c.rounds + round, 1);
}

__global__ void choose(Connect c, int64_t round) {
  const int64_t clip = blockIdx.y;
  if (c.settled(clip, round)) return;
  const Volume v(c, clip);
  faces(c, v, [&](int32_t own, int32_t other) {
    if (v.apart(own, other) == v.distance[own]) atomicMin(v.chosen + own, other);
  });
}

__global__ void join_chosen(Connect c, int64_t round) {
  const int64_t clip = blockIdx.y, voxel = own_voxel();
  if (c.settled(clip, round) || voxel >= c.voxels()) return;
  const Volume v(c, clip);
  const int32_t chosen = v.chosen[voxel];
  if (chosen == 0x7fffffff) return;
  v.join(static_cast<int32_t>(voxel), chosen);
  v.chosen[voxel] = 0x7fffffff;
  v.distance[voxel] = ~0ull;
}

// Every voxel under its new root; what a component that is no longer one has gathered goes there too.
__global__ void gather(Connect c, int64_t round) {
  const int64_t clip = blockIdx.y, voxel = own_voxel();
  if (c.settled(clip, round) || voxel >= c.voxels()) return;
  const Volume v(c, clip);
  const int32_t root = v.root(static_cast<int32_t>(voxel));
  __stcg(v.parent + voxel, root);
  if (root == voxel || v.size[voxel] == 0) return;
  atomicAdd(v.size + root, v.size[voxel]);
  v.size[voxel] = 0;
#pragma unroll
  for (int i = 0; i < 3; ++i) atomicAdd(v.colour + int64_t{3} * root + i, v.colour[3 * voxel + i]);
}

// The sum of a value over the threads of the block that come before this one, and over all of them.
struct Before {
  int32_t mine, all;
};
struct WarpSums {
  int32_t of[kThreads / 32];
};
__device__ inline Before sum_before(WarpSums& sums, int32_t value) {
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  int32_t up_to_me = value;
  for (int apart = 1; apart < 32; apart *= 2) {
    const int32_t lower = __shfl_sync(0xffffffffu, up_to_me, lane >= apart ? lane - apart : lane);
    if (lane >= apart) up_to_me += lower;
  }
  if (lane == 31) sums.of[warp] = up_to_me;
  __syncthreads();  // the warps' sums
  Before found{up_to_me - value, 0};
  for (int other = 0; other < kThreads / 32; ++other) {
    if (other < warp) found.mine += sums.of[other];
    found.all += sums.of[other];
  }
  __syncthreads();  // all have read, so that they can be written again
  return found;
}

// Roots of each chunk of voxels.
__global__ void count_roots(Connect c) {
  const int64_t clip = blockIdx.y, first = static_cast<int64_t>(blockIdx.x) * kScanned;
  const Volume v(c, clip);
  VX_SHARED(WarpSums, sums);
  int32_t count = 0;
  for (int64_t voxel = first + threadIdx.x; voxel < first + kScanned && voxel < c.voxels(); voxel += kThreads)
    count += v.parent[voxel] == voxel;
  const int32_t all = sum_before(sums, count).all;
  if (threadIdx.x == 0) c.before[clip * c.chunks + blockIdx.x] = all;
}

// From the roots of each chunk to the roots before it; one block for a clip.
__global__ void scan_chunks(Connect c) {
  int32_t* chunks = c.before + static_cast<int64_t>(blockIdx.x) * c.chunks;
  VX_SHARED(WarpSums, sums);
  int32_t total = 0;
  for (int64_t base = 0; base < c.chunks; base += kThreads) {
    const int64_t chunk = base + threadIdx.x;
    const Before found = sum_before(sums, chunk < c.chunks ? chunks[chunk] : 0);
    if (chunk < c.chunks) chunks[chunk] = total + found.mine;
    total += found.all;
  }
}

// The number of each root, in raster order.
__global__ void number_roots(Connect c) {
  const int64_t clip = blockIdx.y, first = static_cast<int64_t>(blockIdx.x) * kScanned;
  const Volume v(c, clip);
  VX_SHARED(WarpSums, sums);
  int32_t total = c.before[clip * c.chunks + blockIdx.x];
  for (int64_t base = first; base < first + kScanned && base < c.voxels(); base += kThreads) {
    const int64_t voxel = base + threadIdx.x;
    const bool is_root = voxel < c.voxels() && v.parent[voxel] == voxel;
    const Before found = sum_before(sums, is_root);
    if (is_root) v.chosen[voxel] = total + found.mine;
    total += found.all;
  }
}

__global__ void write_numbers(Connect c) {
  const int64_t clip = blockIdx.y, voxel = own_voxel();
  const Volume v(c, clip);
  if (voxel < c.voxels()) c.connected[clip * c.voxels() + voxel] = v.chosen[v.parent[voxel]];
}

}  // namespace videxplain::cuda
