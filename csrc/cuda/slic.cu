#include "slic.cuh"

namespace videxplain::cuda {

int64_t slic_workspace(int64_t batch, const SlicSettings& settings) {
  return batch * (kSums * settings.clusters() + (settings.iterations + 1) / 2);
}

void slic(const float* lab, int64_t batch, Shape shape, const SlicSettings& settings, int32_t* labels, float* centres,
          int64_t* workspace, int32_t device) {
  if (batch == 0) return;
  const OnDevice guard(device);
  const cudaStream_t stream = current_stream(device);
  Slic s{};
  s.lab = lab, s.labels = labels, s.centres = centres;
  s.frames = shape.frames, s.height = shape.height, s.width = shape.width, s.clusters = settings.clusters();
  for (int i = 0; i < 3; ++i)
    s.grid[i] = settings.grid[i], s.weight[i] = settings.weight[i], s.reach[i] = settings.reach[i];
  s.sums = reinterpret_cast<unsigned long long*>(workspace);
  s.moved = reinterpret_cast<int32_t*>(s.sums + batch * s.clusters * kSums);

  const unsigned clips = static_cast<unsigned>(batch);
  const dim3 over_voxels(blocks_for(shape.voxels(), int64_t{kThreads} * kCellStretch), clips);
  const dim3 over_clusters(blocks_for(s.clusters, kThreads), clips);
  const int64_t tiles =
      int64_t{blocks_for(shape.frames, kTileT)} * blocks_for(shape.height, kTileY) * blocks_for(shape.width, kTileX);
  const dim3 over_tiles(static_cast<unsigned>(tiles), clips);
  VX_LAUNCH(start_from_cells, over_voxels, kThreads, stream, s);
  s.rounds = settings.iterations;
  if (!settings.warm) {
    --s.rounds;
    VX_LAUNCH(update_centres, over_clusters, kThreads, stream, s, int64_t{0});
  }
  for (int64_t round = 0; round < s.rounds; ++round) {
    VX_LAUNCH(assign, over_tiles, kTileThreads, stream, s, round);
    VX_LAUNCH(update_centres, over_clusters, kThreads, stream, s, round + 1);
  }
  check(cudaGetLastError(), "slic");
}

}  // namespace videxplain::cuda
