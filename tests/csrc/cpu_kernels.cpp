// The CPU kernels without torch, for sanitizers: random volumes, arrays of exactly their size, one thread and three.
// The argument is the number of volumes. Ends with 1 where the threads' number changes a result.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../../csrc/kernels.h"

using namespace videxplain;

namespace {

const ParallelFor kAlone = [](int64_t count, int64_t, const auto& body) {
  if (count > 0) body(0, count);
};
const ParallelFor kThree = [](int64_t count, int64_t, const auto& body) {
  std::vector<std::thread> threads;
  for (int64_t i = 0; i < 3; ++i) {
    const int64_t begin = count * i / 3, end = count * (i + 1) / 3;
    if (begin < end) threads.emplace_back([=, &body] { body(begin, end); });
  }
  for (std::thread& thread : threads) thread.join();
};

struct Results {
  std::vector<float> lab, centres, scores, clamped, pooled;
  std::vector<int32_t> labels, connected, whole, exact;
  bool operator==(const Results& o) const {
    return lab == o.lab && centres == o.centres && scores == o.scores && labels == o.labels &&
           connected == o.connected && whole == o.whole && exact == o.exact && clamped == o.clamped &&
           pooled == o.pooled;
  }
};

void chords(std::mt19937& random, Results& r, const ParallelFor& parallel) {
  const auto up_to = [&](int64_t most) { return 1 + static_cast<int64_t>(random() % most); };
  const Ring ring{up_to(4), up_to(3)};
  const PoolShape shape{up_to(300), up_to(60), up_to(40)};
  const int64_t rows = ring.size * ring.step * up_to(3);
  const int64_t large = rows * shape.inputs * shape.channels, small = rows * shape.outputs * shape.channels;
  const auto filled = [&](int64_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>(random() % 15) - 7;
    return values;
  };
  const std::vector<float> x = filled(large), gradient = filled(large), y = filled(small), arriving = filled(small);
  std::vector<int64_t> places(small);
  for (int64_t& place : places) place = up_to(shape.inputs) - 1;
  const float high = random() % 2 ? 3.0f : std::numeric_limits<float>::infinity();
  r.clamped.resize(large), r.pooled.resize(large);
  kernels().clamp_chords(x.data(), gradient.data(), r.clamped.data(), rows, shape.inputs * shape.channels, ring, 0,
                         high, parallel);
  kernels().max_pool_chords(x.data(), y.data(), places.data(), arriving.data(), r.pooled.data(), rows, shape, ring,
                            parallel);
  // maxima that are none may change where nothing else does
  for (float& value : r.pooled) value = std::isfinite(value) ? value : 0;
}

Results run(unsigned seed, const ParallelFor& parallel) {
  std::mt19937 random(seed);
  const auto up_to = [&](int64_t most) { return 1 + static_cast<int64_t>(random() % most); };
  const Shape shape{up_to(6), up_to(20), up_to(40)};
  const int64_t voxels = shape.voxels(), sizes[3] = {shape.frames, shape.height, shape.width};
  std::vector<uint8_t> frames(3 * voxels);
  const unsigned levels = 1 + random() % 255;
  for (uint8_t& value : frames) value = static_cast<uint8_t>(random() % levels);
  SlicSettings settings{};
  for (int i = 0; i < 3; ++i) {
    settings.grid[i] = up_to(std::min<int64_t>(sizes[i], 6));
    settings.weight[i] = static_cast<float>(random() % 100) / 50;
    settings.reach[i] = 2 * static_cast<float>(sizes[i]) / static_cast<float>(settings.grid[i]);
  }
  settings.iterations = up_to(5);
  const int64_t clusters = settings.clusters(), min_size = static_cast<int64_t>(random() % 60);
  Results r;
  r.lab.resize(3 * voxels), r.centres.resize(6 * clusters), r.scores.resize(clusters);
  r.labels.resize(voxels), r.connected.resize(voxels), r.whole.resize(voxels);
  rgb_to_lab(frames.data(), Layout{1, 3}, r.lab.data(), voxels, parallel);
  kernels().slic(r.lab.data(), shape, settings, r.labels.data(), r.centres.data(), nullptr, parallel);
  connect_segments(r.labels.data(), r.lab.data(), shape, min_size, nullptr, 0, r.connected.data(), parallel);
  supervoxels(frames.data(), shape, settings, min_size, r.whole.data(), r.centres.data(), parallel);
  const ReduceSettings reduction{
      3, {up_to(4), up_to(9), up_to(9)}, clusters, static_cast<Reduction>(random() % 3), random() % 2 == 0};
  std::vector<float> cam(reduction.cam.voxels());
  for (float& value : cam) value = static_cast<float>(random() % 100) - 50;
  kernels().segment_reduce(r.labels.data(), r.lab.data(), cam.data(), shape, reduction, r.scores.data(), parallel);
  std::vector<double> lab(3 * voxels), seeds(3 * clusters);
  for (double& value : lab) value = static_cast<double>(random() % levels) / 16;
  ExactSettings exact{clusters, 0.1, {1, 0.7, 1.3}, {}, settings.iterations};
  for (int i = 0; i < 3; ++i) {
    exact.reach[i] = 2 * static_cast<double>(up_to(sizes[i]));
    for (int64_t k = 0; k < clusters; ++k) seeds[3 * k + i] = static_cast<double>(up_to(sizes[i]) - 1);
  }
  r.exact.resize(voxels);
  kernels().slic_exact(lab.data(), shape, seeds.data(), exact, r.exact.data(), parallel);
  connect_exact(r.exact.data(), shape, min_size, 4 * min_size, r.exact.data());
  chords(random, r, parallel);
  if (r.whole != r.connected) std::puts("supervoxels differ from the operations in turn"), std::exit(1);
  return r;
}

}  // namespace

int main(int, char** arguments) {
  std::printf("%s\n", kernels().instruction_set);
  const unsigned volumes = std::stoul(arguments[1]);
  for (unsigned seed = 0; seed < volumes; ++seed)
    if (!(run(seed, kAlone) == run(seed, kThree))) return std::printf("threads matter: seed %u\n", seed), 1;
}
