// What torch calls: arguments checked, outputs made, kernels run on each clip of the batch.
//
// The schemas stand in videxplain/ops/_library.py. LibTorch's stable ABI only, so that one binary serves torch 2.10 and
// later.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "kernels.h"
#ifdef VIDEXPLAIN_CUDA
#include "cuda/launch.h"
#endif

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using videxplain::Shape;

// Python checks arguments too, with messages that tell what it found. These checks are for whoever calls the operations
// themselves: nothing that passes them makes a kernel read or write outside its arrays, or run without end.
void require(bool holds, const char* what) { STD_TORCH_CHECK(holds, what); }

constexpr int64_t kMostVoxels = std::numeric_limits<int32_t>::max();  // they are numbered by 32-bit integers
constexpr int64_t kMostIterations = 10000;                            // some clips go round in circles
constexpr int64_t kAlwaysSegments = int64_t{1} << 20;                 // more than these need as many voxels

const videxplain::ParallelFor kParallel = [](int64_t count, int64_t grain,
                                             const std::function<void(int64_t, int64_t)>& body) {
  torch::stable::parallel_for(0, count, grain, body);
};

// Torch's own contiguous and new_empty are looked up by name at each call, which takes longer than what they do.
Tensor as_contiguous(const Tensor& tensor) {
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}

std::optional<Tensor> as_contiguous(const std::optional<Tensor>& tensor) {
  return tensor ? std::optional<Tensor>(as_contiguous(*tensor)) : std::nullopt;
}

// Where `like` is; float32 or int32.
Tensor empty_on(const Tensor& like, const std::vector<int64_t>& sizes, ScalarType type) {
  std::vector<int64_t> strides(sizes.size(), 1);
  for (size_t i = sizes.size() - 1; i > 0; --i) strides[i - 1] = strides[i] * std::max<int64_t>(sizes[i], 1);
  int32_t device = 0;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device));
  AtenTensorHandle handle = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(
      aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.data(), strides.data(),
                               type == ScalarType::Float ? aoti_torch_dtype_float32() : aoti_torch_dtype_int32(),
                               device, like.get_device_index(), &handle));
  return Tensor(handle);
}

// The three axes from `axis` on, none empty, so few voxels that they can be numbered.
Shape volume(const Tensor& tensor, int64_t axis) {
  const Shape shape{tensor.size(axis), tensor.size(axis + 1), tensor.size(axis + 2)};
  require(shape.frames > 0 && shape.height > 0 && shape.width > 0, "no axis but the first may be empty");
  require(shape.frames <= kMostVoxels && shape.height <= kMostVoxels / shape.frames &&
              shape.width <= kMostVoxels / (shape.frames * shape.height),
          "clips must have less than 2^31 voxels");
  return shape;
}

bool finite(const Tensor& tensor) {
  const float* values = static_cast<const float*>(tensor.data_ptr());
  return std::all_of(values, values + tensor.numel(), [](float value) { return std::isfinite(value); });
}

// Runs body(b) for each clip of a batch: clips side by side where there are several, else the work within the clip.
void each_clip(int64_t batch, const std::function<void(int64_t, const videxplain::ParallelFor&)>& body) {
  if (batch == 1) return body(0, kParallel);
  const videxplain::ParallelFor inline_ = [](int64_t count, int64_t, const auto& piece) {
    if (count > 0) piece(0, count);
  };
  torch::stable::parallel_for(0, batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) body(b, inline_);
  });
}

Tensor rgb_to_lab(const Tensor& rgb_in) {
  require(rgb_in.dim() == 5 && rgb_in.size(1) == 3, "rgb must be (B, 3, T, H, W)");
  const bool bytes = rgb_in.scalar_type() == ScalarType::Byte;
  require(bytes || rgb_in.scalar_type() == ScalarType::Float, "rgb must be uint8 or float32");
  const Shape shape = volume(rgb_in, 2);
  const Tensor rgb = as_contiguous(rgb_in);
  Tensor lab = empty_on(rgb, {rgb.size(0), 3, shape.frames, shape.height, shape.width}, ScalarType::Float);
  const int64_t voxels = shape.voxels();
  float* out = static_cast<float*>(lab.data_ptr());
  each_clip(rgb.size(0), [&](int64_t b, const videxplain::ParallelFor& parallel) {
    float* own = out + 3 * voxels * b;
    const videxplain::Layout planes{voxels, 1};
    if (bytes)
      videxplain::rgb_to_lab(static_cast<const uint8_t*>(rgb.data_ptr()) + 3 * voxels * b, planes, own, voxels,
                             parallel);
    else
      videxplain::rgb_to_lab(static_cast<const float*>(rgb.data_ptr()) + 3 * voxels * b, planes, own, voxels, parallel);
  });
  return lab;
}

videxplain::SlicSettings slic_settings(Shape shape, const std::vector<int64_t>& grid, const std::vector<double>& weight,
                                       const std::vector<double>& reach, int64_t iterations, bool warm) {
  require(grid.size() == 3 && weight.size() == 3 && reach.size() == 3, "grid, weight and reach must have 3 values");
  const int64_t size[3] = {shape.frames, shape.height, shape.width};
  videxplain::SlicSettings settings{};
  for (int i = 0; i < 3; ++i) {
    require(grid[i] >= 1 && grid[i] <= size[i], "grid must lie between 1 and the size of its axis");
    settings.grid[i] = grid[i];
    settings.weight[i] = static_cast<float>(weight[i]);
    settings.reach[i] = static_cast<float>(reach[i]);
    require(settings.weight[i] >= 0 && std::isfinite(settings.weight[i]) && settings.reach[i] >= 0 &&
                std::isfinite(settings.reach[i]),
            "weight and reach must be finite and not negative");
  }
  require(iterations >= 1 && iterations <= kMostIterations, "iterations must lie between 1 and 10,000");
  settings.iterations = iterations;
  settings.warm = warm;
  return settings;
}

// Room for the centres, which hold those given.
Tensor start_centres(const Tensor& like, int64_t batch, int64_t clusters, const std::optional<Tensor>& given) {
  Tensor centres = empty_on(like, {batch, clusters, 6}, ScalarType::Float);
  if (given) {
    require(given->dim() == 3 && given->size(0) == batch && given->size(1) == clusters && given->size(2) == 6 &&
                given->scalar_type() == ScalarType::Float,
            "centres must be float32 (B, K, 6)");
    torch::stable::copy_(centres, *given);
    // on a GPU this would wait for it; there Python has looked, and no value does harm
    require(centres.is_cuda() || finite(centres), "centres must be finite");
  }
  return centres;
}

std::tuple<Tensor, Tensor> slic(const Tensor& lab_in, const std::vector<int64_t>& grid,
                                const std::vector<double>& weight, const std::vector<double>& reach, int64_t iterations,
                                const std::optional<Tensor>& centres_in) {
  require(lab_in.dim() == 5 && lab_in.size(1) == 3 && lab_in.scalar_type() == ScalarType::Float,
          "lab must be float32 (B, 3, T, H, W)");
  const Shape shape = volume(lab_in, 2);
  const auto settings = slic_settings(shape, grid, weight, reach, iterations, centres_in.has_value());
  const Tensor lab = as_contiguous(lab_in);
  const int64_t batch = lab.size(0), clusters = settings.clusters();
  Tensor labels = empty_on(lab, {batch, shape.frames, shape.height, shape.width}, ScalarType::Int);
  Tensor centres = start_centres(lab, batch, clusters, centres_in);
  const float* in = static_cast<const float*>(lab.data_ptr());
  each_clip(batch, [&](int64_t b, const videxplain::ParallelFor& parallel) {
    videxplain::kernels().slic(in + 3 * shape.voxels() * b, shape, settings,
                               static_cast<int32_t*>(labels.data_ptr()) + shape.voxels() * b,
                               static_cast<float*>(centres.data_ptr()) + 6 * clusters * b, nullptr, parallel);
  });
  return {labels, centres};
}

std::tuple<Tensor, Tensor> supervoxels(const Tensor& frames_in, const std::vector<int64_t>& grid,
                                       const std::vector<double>& weight, const std::vector<double>& reach,
                                       int64_t iterations, int64_t min_size, const std::optional<Tensor>& centres_in) {
  require(frames_in.dim() == 5 && frames_in.size(4) == 3 && frames_in.scalar_type() == ScalarType::Byte,
          "frames must be uint8 (B, T, H, W, 3)");
  const Shape shape = volume(frames_in, 1);
  const auto settings = slic_settings(shape, grid, weight, reach, iterations, centres_in.has_value());
  const Tensor frames = as_contiguous(frames_in);
  const int64_t batch = frames.size(0), clusters = settings.clusters();
  Tensor labels = empty_on(frames, {batch, shape.frames, shape.height, shape.width}, ScalarType::Int);
  Tensor centres = start_centres(frames, batch, clusters, centres_in);
  each_clip(batch, [&](int64_t b, const videxplain::ParallelFor& parallel) {
    const int64_t first = shape.voxels() * b;
    videxplain::supervoxels(static_cast<const uint8_t*>(frames.data_ptr()) + 3 * first, shape, settings, min_size,
                            static_cast<int32_t*>(labels.data_ptr()) + first,
                            static_cast<float*>(centres.data_ptr()) + 6 * clusters * b, parallel);
  });
  return {labels, centres};
}

void check_colours(const Tensor& lab, const Tensor& labels, Shape shape) {
  require(lab.dim() == 5 && lab.size(0) == labels.size(0) && lab.size(1) == 3 && lab.size(2) == shape.frames &&
              lab.size(3) == shape.height && lab.size(4) == shape.width && lab.scalar_type() == ScalarType::Float &&
              lab.is_cuda() == labels.is_cuda() && lab.get_device_index() == labels.get_device_index(),
          "lab must be float32 (B, 3, T, H, W) of the labels' size, on their device");
}

Tensor connect_segments(const Tensor& labels_in, const Tensor& lab_in, int64_t min_size) {
  require(labels_in.dim() == 4 && labels_in.scalar_type() == ScalarType::Int, "labels must be int32 (B, T, H, W)");
  const Shape shape = volume(labels_in, 1);
  check_colours(lab_in, labels_in, shape);
  const Tensor labels = as_contiguous(labels_in), lab = as_contiguous(lab_in);
  Tensor connected = empty_on(labels, {labels.size(0), shape.frames, shape.height, shape.width}, ScalarType::Int);
  each_clip(labels.size(0), [&](int64_t b, const videxplain::ParallelFor& parallel) {
    const int64_t first = shape.voxels() * b;
    videxplain::connect_segments(static_cast<const int32_t*>(labels.data_ptr()) + first,
                                 static_cast<const float*>(lab.data_ptr()) + 3 * first, shape, min_size, nullptr, 0,
                                 static_cast<int32_t*>(connected.data_ptr()) + first, parallel);
  });
  return connected;
}

Tensor slic_exact(const Tensor& lab_in, const Tensor& seeds_in, double weight, const std::vector<double>& spacing,
                  const std::vector<double>& reach, int64_t iterations) {
  require(lab_in.dim() == 5 && lab_in.size(1) == 3 && lab_in.scalar_type() == ScalarType::Double,
          "lab must be float64 (B, 3, T, H, W)");
  require(seeds_in.dim() == 2 && seeds_in.size(1) == 3 && seeds_in.scalar_type() == ScalarType::Double,
          "seeds must be float64 (K, 3)");
  const Shape shape = volume(lab_in, 2);
  require(seeds_in.size(0) > 0 && seeds_in.size(0) <= std::max(kAlwaysSegments, shape.voxels()),
          "there must be a seed, and at most as many as voxels, or 2^20");
  require(spacing.size() == 3 && reach.size() == 3, "spacing and reach must have 3 values");
  require(weight >= 0 && std::isfinite(weight), "weight must be finite and not negative");
  require(iterations >= 1 && iterations <= kMostIterations, "iterations must lie between 1 and 10,000");
  const Tensor lab = as_contiguous(lab_in), seeds = as_contiguous(seeds_in);
  const double* places = static_cast<const double*>(seeds.data_ptr());
  require(std::all_of(places, places + seeds.numel(), [](double place) { return std::isfinite(place); }),
          "seeds must be finite");
  videxplain::ExactSettings settings{seeds.size(0), weight, {}, {}, iterations};
  for (int i = 0; i < 3; ++i) {
    require(spacing[i] > 0 && reach[i] > 0 && std::isfinite(spacing[i]) && std::isfinite(reach[i]),
            "spacing and reach must be finite and positive");
    settings.spacing[i] = spacing[i], settings.reach[i] = reach[i];
  }
  Tensor labels = empty_on(lab, {lab.size(0), shape.frames, shape.height, shape.width}, ScalarType::Int);
  each_clip(lab.size(0), [&](int64_t b, const videxplain::ParallelFor& parallel) {
    videxplain::kernels().slic_exact(static_cast<const double*>(lab.data_ptr()) + 3 * shape.voxels() * b, shape, places,
                                     settings, static_cast<int32_t*>(labels.data_ptr()) + shape.voxels() * b, parallel);
  });
  return labels;
}

Tensor connect_exact(const Tensor& labels_in, int64_t min_size, int64_t max_size) {
  require(labels_in.dim() == 4 && labels_in.scalar_type() == ScalarType::Int, "labels must be int32 (B, T, H, W)");
  const Shape shape = volume(labels_in, 1);
  const Tensor labels = as_contiguous(labels_in);
  require(min_size <= max_size, "max_size must not be below min_size");
  const int32_t* ids = static_cast<const int32_t*>(labels.data_ptr());
  bool valid = true;
  for (int64_t i = 0, count = labels.size(0) * shape.voxels(); i < count; ++i)
    valid &= ids[i] >= 0 && ids[i] < std::numeric_limits<int32_t>::max();
  require(valid, "labels must lie in 0..2^31-2");
  Tensor connected = empty_on(labels, {labels.size(0), shape.frames, shape.height, shape.width}, ScalarType::Int);
  each_clip(labels.size(0), [&](int64_t b, const videxplain::ParallelFor&) {
    videxplain::connect_exact(ids + shape.voxels() * b, shape, min_size, max_size,
                              static_cast<int32_t*>(connected.data_ptr()) + shape.voxels() * b);
  });
  return connected;
}

// Checked here completely: the Python face looks for what is wrong only after this has thrown.
videxplain::ReduceSettings reduce_settings(const Tensor& labels, const std::optional<Tensor>& dense,
                                           const std::optional<Tensor>& cam, int64_t num_segments, int64_t reduction,
                                           bool keep_sign) {
  require(labels.dim() == 4 && labels.scalar_type() == ScalarType::Int, "labels must be int32 (B, T, H, W)");
  const Shape shape = volume(labels, 1);
  const int64_t batch = labels.size(0);
  require(num_segments > 0 && num_segments <= std::max(kAlwaysSegments, shape.voxels()),
          "num_segments must be positive, and at most as many as voxels, or 2^20");
  require(reduction >= 0 && reduction <= 2, "reduction must be 0, 1 or 2");
  const auto beside_labels = [&](const Tensor& maps) {
    return maps.is_cuda() == labels.is_cuda() && maps.get_device_index() == labels.get_device_index() &&
           maps.scalar_type() == ScalarType::Float && maps.size(0) == batch;
  };
  videxplain::ReduceSettings settings{
      0, {1, 1, 1}, num_segments, static_cast<videxplain::Reduction>(reduction), keep_sign};
  if (dense) {
    require(dense->dim() == 5 && beside_labels(*dense) && dense->size(1) > 0 && dense->size(2) == shape.frames &&
                dense->size(3) == shape.height && dense->size(4) == shape.width,
            "dense must be float32 (B, C, T, H, W) of the labels' size, on their device");
    settings.channels = dense->size(1);
  }
  if (cam) {
    require(cam->dim() == 4 && beside_labels(*cam),
            "cam must be float32 (B, t, h, w), not empty, on the labels' device");
    settings.cam = volume(*cam, 1);
    require(settings.cam.height <= kMostVoxels / shape.width, "cam must not be so much larger than the labels");
  }
  return settings;
}

const float* clip_of(const std::optional<Tensor>& tensor, int64_t b, int64_t values) {
  return tensor ? static_cast<const float*>(tensor->data_ptr()) + values * b : nullptr;
}

Tensor segment_reduce(const Tensor& labels_in, const std::optional<Tensor>& dense_in,
                      const std::optional<Tensor>& cam_in, int64_t num_segments, int64_t reduction, bool keep_sign) {
  const auto settings = reduce_settings(labels_in, dense_in, cam_in, num_segments, reduction, keep_sign);
  const Tensor labels = as_contiguous(labels_in);
  const auto dense = as_contiguous(dense_in), cam = as_contiguous(cam_in);
  const Shape shape = volume(labels, 1);
  const int64_t batch = labels.size(0), voxels = shape.voxels();
  const int32_t* ids = static_cast<const int32_t*>(labels.data_ptr());
  std::atomic<bool> good{true};
  Tensor scores = empty_on(labels, {batch, num_segments}, ScalarType::Float);
  each_clip(batch, [&](int64_t b, const videxplain::ParallelFor& parallel) {
    const float *maps = clip_of(dense, b, settings.channels * voxels), *coarse = clip_of(cam, b, settings.cam.voxels());
    float* own = static_cast<float*>(scores.data_ptr()) + num_segments * b;
    if (!videxplain::kernels().segment_reduce(ids + voxels * b, maps, coarse, shape, settings, own, parallel))
      good = false;
  });
  require(good, "labels must lie in 0..num_segments-1");
  return scores;
}

// Tensors come as they lie in memory, (rows, places, channels); `out` is filled.
void check_chords(const Tensor& x, const Tensor& like, int64_t ring, int64_t step) {
  require(x.dim() == 3 && like.dim() == 3 && x.is_contiguous() && like.is_contiguous() &&
              x.scalar_type() == ScalarType::Float && like.scalar_type() == ScalarType::Float,
          "tensors must be contiguous float32 (rows, places, channels)");
  const int64_t rows = x.size(0);  // compared piece by piece, for the product may be too large
  require(rows == like.size(0) && ring >= 1 && step >= 1 &&
              (rows == 0 || (ring <= rows && step <= rows / ring && rows % (ring * step) == 0)),
          "rows must be whole rings of clips");
}

void clamp_chords(const Tensor& x, const Tensor& gradient, const Tensor& out, int64_t ring, int64_t step, double low,
                  double high) {
  check_chords(x, gradient, ring, step);
  check_chords(x, out, ring, step);
  require(x.numel() == gradient.numel() && x.numel() == out.numel(), "tensors must be of one size");
  require(!std::isnan(low) && !std::isnan(high), "low and high must be numbers");
  if (x.numel() == 0) return;
  videxplain::kernels().clamp_chords(static_cast<const float*>(x.data_ptr()),
                                     static_cast<const float*>(gradient.data_ptr()),
                                     static_cast<float*>(out.data_ptr()), x.size(0), x.numel() / x.size(0),
                                     {ring, step}, static_cast<float>(low), static_cast<float>(high), kParallel);
}

void max_pool_chords(const Tensor& x, const Tensor& y, const Tensor& places, const Tensor& gradient, const Tensor& out,
                     int64_t ring, int64_t step) {
  check_chords(x, out, ring, step);
  check_chords(y, gradient, ring, step);
  require(x.numel() == out.numel() && y.numel() == gradient.numel() && y.numel() == places.numel() &&
              x.size(0) == y.size(0) && x.size(2) == y.size(2) && x.size(1) > 0,
          "tensors must be of matching sizes");
  require(places.is_contiguous() && places.scalar_type() == ScalarType::Long, "places must be contiguous int64");
  if (x.numel() == 0) return;
  const int64_t* at = static_cast<const int64_t*>(places.data_ptr());
  const bool good = videxplain::kernels().max_pool_chords(
      static_cast<const float*>(x.data_ptr()), static_cast<const float*>(y.data_ptr()), at,
      static_cast<const float*>(gradient.data_ptr()), static_cast<float*>(out.data_ptr()), x.size(0),
      {x.size(1), y.size(1), x.size(2)}, {ring, step}, kParallel);
  require(good, "places must lie among the inputs");
}

#ifdef VIDEXPLAIN_CUDA
constexpr int64_t kLargestBatch = 65535;  // a grid's second dimension

Tensor zeros(const Tensor& like, int64_t words) { return torch::stable::new_zeros(like, {words}, ScalarType::Long); }

Tensor rgb_to_lab_cuda(const Tensor& rgb_in) {
  require(rgb_in.dim() == 5 && rgb_in.size(1) == 3, "rgb must be (B, 3, T, H, W)");
  const bool bytes = rgb_in.scalar_type() == ScalarType::Byte;
  require(bytes || rgb_in.scalar_type() == ScalarType::Float, "rgb must be uint8 or float32");
  require(rgb_in.size(0) <= kLargestBatch, "rgb must be of at most 65,535 clips");
  const Shape shape = volume(rgb_in, 2);
  const Tensor rgb = as_contiguous(rgb_in);
  Tensor lab = empty_on(rgb, {rgb.size(0), 3, shape.frames, shape.height, shape.width}, ScalarType::Float);
  Tensor workspace = zeros(rgb, videxplain::cuda::lab_workspace());
  videxplain::cuda::rgb_to_lab(rgb.data_ptr(), bytes, static_cast<float*>(lab.data_ptr()), rgb.size(0), shape.voxels(),
                               static_cast<int64_t*>(workspace.data_ptr()), rgb.get_device_index());
  return lab;
}

std::tuple<Tensor, Tensor> slic_cuda(const Tensor& lab_in, const std::vector<int64_t>& grid,
                                     const std::vector<double>& weight, const std::vector<double>& reach,
                                     int64_t iterations, const std::optional<Tensor>& centres_in) {
  require(lab_in.dim() == 5 && lab_in.size(1) == 3 && lab_in.scalar_type() == ScalarType::Float,
          "lab must be float32 (B, 3, T, H, W)");
  require(lab_in.size(0) <= kLargestBatch && lab_in.is_cuda(), "lab must be of at most 65,535 clips, on a GPU");
  const Shape shape = volume(lab_in, 2);
  const auto settings = slic_settings(shape, grid, weight, reach, iterations, centres_in.has_value());
  const Tensor lab = as_contiguous(lab_in);
  const int64_t batch = lab.size(0);
  Tensor labels = empty_on(lab, {batch, shape.frames, shape.height, shape.width}, ScalarType::Int);
  Tensor centres = start_centres(lab, batch, settings.clusters(), centres_in);
  Tensor workspace = zeros(lab, videxplain::cuda::slic_workspace(batch, settings));
  videxplain::cuda::slic(static_cast<const float*>(lab.data_ptr()), batch, shape, settings,
                         static_cast<int32_t*>(labels.data_ptr()), static_cast<float*>(centres.data_ptr()),
                         static_cast<int64_t*>(workspace.data_ptr()), lab.get_device_index());
  return {labels, centres};
}

Tensor connect_segments_cuda(const Tensor& labels_in, const Tensor& lab_in, int64_t min_size) {
  require(labels_in.dim() == 4 && labels_in.scalar_type() == ScalarType::Int, "labels must be int32 (B, T, H, W)");
  const Shape shape = volume(labels_in, 1);
  const int64_t batch = labels_in.size(0);
  require(batch <= kLargestBatch, "labels must be of at most 65,535 clips");
  check_colours(lab_in, labels_in, shape);
  const Tensor labels = as_contiguous(labels_in), lab = as_contiguous(lab_in);
  Tensor connected = empty_on(labels, {labels.size(0), shape.frames, shape.height, shape.width}, ScalarType::Int);
  Tensor workspace = zeros(labels, videxplain::cuda::connect_workspace(batch, shape));
  videxplain::cuda::connect_segments(static_cast<const int32_t*>(labels.data_ptr()),
                                     static_cast<const float*>(lab.data_ptr()), batch, shape, min_size,
                                     static_cast<int32_t*>(connected.data_ptr()),
                                     static_cast<int64_t*>(workspace.data_ptr()), labels.get_device_index());
  return connected;
}

Tensor segment_reduce_cuda(const Tensor& labels_in, const std::optional<Tensor>& dense_in,
                           const std::optional<Tensor>& cam_in, int64_t num_segments, int64_t reduction,
                           bool keep_sign) {
  const auto settings = reduce_settings(labels_in, dense_in, cam_in, num_segments, reduction, keep_sign);
  const Tensor labels = as_contiguous(labels_in);
  const auto dense = as_contiguous(dense_in), cam = as_contiguous(cam_in);
  const Shape shape = volume(labels, 1);
  const int64_t batch = labels.size(0);
  Tensor scores = empty_on(labels, {batch, num_segments}, ScalarType::Float);
  require(batch <= kLargestBatch, "labels must be of at most 65,535 clips");
  Tensor workspace = zeros(labels, videxplain::cuda::reduce_workspace(batch, shape, settings));
  videxplain::cuda::segment_reduce(
      static_cast<const int32_t*>(labels.data_ptr()), clip_of(dense, 0, 0), clip_of(cam, 0, 0), batch, shape, settings,
      static_cast<int64_t*>(workspace.data_ptr()), static_cast<float*>(scores.data_ptr()), labels.get_device_index());
  return scores;
}
#endif

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(videxplain, CPU, m) {
  m.impl("rgb_to_lab", TORCH_BOX(&rgb_to_lab));
  m.impl("slic", TORCH_BOX(&slic));
  m.impl("supervoxels", TORCH_BOX(&supervoxels));
  m.impl("connect_segments", TORCH_BOX(&connect_segments));
  m.impl("slic_exact", TORCH_BOX(&slic_exact));
  m.impl("connect_exact", TORCH_BOX(&connect_exact));
  m.impl("segment_reduce", TORCH_BOX(&segment_reduce));
  m.impl("clamp_chords", TORCH_BOX(&clamp_chords));
  m.impl("max_pool_chords", TORCH_BOX(&max_pool_chords));
}

#ifdef VIDEXPLAIN_CUDA
STABLE_TORCH_LIBRARY_IMPL(videxplain, CUDA, m) {
  m.impl("rgb_to_lab", TORCH_BOX(&rgb_to_lab_cuda));
  m.impl("slic", TORCH_BOX(&slic_cuda));
  m.impl("connect_segments", TORCH_BOX(&connect_segments_cuda));
  m.impl("segment_reduce", TORCH_BOX(&segment_reduce_cuda));
}
#endif

// What `videxplain info` tells of the library.
extern "C" const char* videxplain_instruction_set() { return videxplain::kernels().instruction_set; }
extern "C" const char* videxplain_cuda_architectures() {
#ifdef VIDEXPLAIN_CUDA
  return VIDEXPLAIN_CUDA;
#else
  return "";
#endif
}
// Whether CUDA kernels would be sent to torch's own stream.
extern "C" bool videxplain_follows_streams() {
#ifdef VIDEXPLAIN_CUDA
  return videxplain::cuda::stream_of_torch() != nullptr;
#else
  return false;
#endif
}
