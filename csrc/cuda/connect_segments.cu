#include <algorithm>

#include "connect_segments.cuh"

namespace videxplain::cuda {
namespace {

// As many as it can take until a component that doubles in each has min_size voxels, or all.
int64_t rounds_for(int64_t voxels, int64_t min_size) {
  int64_t rounds = 0;
  while (int64_t{1} << rounds < std::min(voxels, min_size)) ++rounds;
  return rounds;
}

}  // namespace

int64_t connect_workspace(int64_t batch, Shape shape) {
  const int64_t voxels = batch * shape.voxels(), chunks = batch * blocks_for(shape.voxels(), kScanned);
  return 4 * voxels + (3 * voxels + 1) / 2 + (chunks + 1) / 2 + batch * 16;
}

void connect_segments(const int32_t* labels, const float* lab, int64_t batch, Shape shape, int64_t min_size,
                      int32_t* connected, int64_t* workspace, int32_t device) {
  const int64_t voxels = shape.voxels();
  if (batch == 0 || voxels == 0) return;
  const OnDevice guard(device);
  const cudaStream_t stream = current_stream(device);
  Connect c{};
  c.labels = labels, c.lab = lab, c.connected = connected, c.min_size = min_size;
  c.frames = shape.frames, c.height = shape.height, c.width = shape.width;
  c.chunks = blocks_for(voxels, kScanned);
  c.rounds = rounds_for(voxels, min_size);  // at most 31
  c.colour = reinterpret_cast<unsigned long long*>(workspace);
  c.distance = c.colour + 3 * batch * voxels;
  c.unsettled = reinterpret_cast<int32_t*>(c.distance + batch * voxels);
  c.before = c.unsettled + 32 * batch;
  c.size = c.before + batch * c.chunks;
  c.parent = c.size + batch * voxels;
  c.chosen = c.parent + batch * voxels;

  const unsigned clips = static_cast<unsigned>(batch);
  const dim3 over_voxels(blocks_for(voxels, kThreads), clips);
  const dim3 over_runs(blocks_for(voxels, int64_t{kThreads} * kRun), clips);
  const dim3 over_chunks(static_cast<unsigned>(c.chunks), clips);
  VX_LAUNCH(join_runs, over_voxels, kThreads, stream, c);
  VX_LAUNCH(join_neighbours, over_voxels, kThreads, stream, c);
  VX_LAUNCH(flatten, over_voxels, kThreads, stream, c);
  if (c.rounds > 0) VX_LAUNCH(measure, over_runs, kThreads, stream, c);
  for (int64_t round = 0; round < c.rounds; ++round) {
    VX_LAUNCH(find_distances, over_voxels, kThreads, stream, c, round);
    VX_LAUNCH(choose, over_voxels, kThreads, stream, c, round);
    VX_LAUNCH(join_chosen, over_voxels, kThreads, stream, c, round);
    VX_LAUNCH(gather, over_voxels, kThreads, stream, c, round);
  }
  VX_LAUNCH(count_roots, over_chunks, kThreads, stream, c);
  VX_LAUNCH(scan_chunks, clips, kThreads, stream, c);
  VX_LAUNCH(number_roots, over_chunks, kThreads, stream, c);
  VX_LAUNCH(write_numbers, over_voxels, kThreads, stream, c);
  check(cudaGetLastError(), "connect_segments");
}

}  // namespace videxplain::cuda
