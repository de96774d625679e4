#include "segment_reduce.cuh"

namespace videxplain::cuda {

int64_t reduce_workspace(int64_t batch, Shape shape, const ReduceSettings& settings) {
  static_assert(sizeof(Sample) == 8);
  return batch * (1 + 2 * settings.num_segments) + shape.frames + shape.height + shape.width;
}

void segment_reduce(const int32_t* labels, const float* dense, const float* cam, int64_t batch, Shape shape,
                    const ReduceSettings& settings, int64_t* workspace, float* scores, int32_t device) {
  if (batch == 0 || settings.num_segments == 0) return;
  const OnDevice guard(device);
  const cudaStream_t stream = current_stream(device);
  const int64_t slots = batch * settings.num_segments;
  Reduce r{};
  r.labels = labels, r.dense = dense, r.cam = cam, r.scores = scores;
  r.frames = shape.frames, r.height = shape.height, r.width = shape.width, r.channels = settings.channels;
  r.cam_frames = settings.cam.frames, r.cam_height = settings.cam.height, r.cam_width = settings.cam.width;
  r.num_segments = settings.num_segments;
  r.reduction = static_cast<int>(settings.reduction), r.keep_sign = settings.keep_sign;
  r.by_fours = shape.voxels() % 4 == 0 && aligned(labels, 16) && aligned(dense, 16);
  r.largest = reinterpret_cast<unsigned long long*>(workspace);
  r.values = r.largest + batch, r.counts = r.values + slots;
  r.samples = reinterpret_cast<Sample*>(r.counts + slots);

  const int64_t places = shape.frames + shape.height + shape.width;
  const unsigned clips = static_cast<unsigned>(batch);
  const dim3 over_fours(blocks_for(shape.voxels(), int64_t{kThreads} * 4), clips);
  const dim3 over_more(blocks_for(shape.voxels(), int64_t{kThreads} * 4 * kFours), clips);
  const dim3 over_segments(blocks_for(settings.num_segments, kThreads), clips);
  if (shape.voxels() > 0) {
    if (cam != nullptr) VX_LAUNCH(find_samples, blocks_for(places, kThreads), kThreads, stream, r);
    if (settings.reduction != Reduction::kMax) VX_LAUNCH(find_largest, over_more, kThreads, stream, r);
    const auto kernel = settings.reduction == Reduction::kMax ? accumulate<true> : accumulate<false>;
    VX_LAUNCH(kernel, over_fours, kThreads, stream, r);
  }
  VX_LAUNCH(finish, over_segments, kThreads, stream, r);
  check(cudaGetLastError(), "segment_reduce");
}

}  // namespace videxplain::cuda
