// Serves requests from standard input by running the CUDA launchers under the emulation; tests/ops/emulated.py asks.
//
// A request: how many numbers, the numbers (the operation, the order of threads, the shift of arrays in bytes, then its
// own), how many arrays, and each array's bytes and content. An answer: each array's bytes and content.
#include <iostream>
#include <string>

#include "../../csrc/cuda/launch.h"

videxplain::cuda::StreamOfTorch videxplain::cuda::stream_of_torch() {
  return [](int32_t, void** stream) {
    *stream = nullptr;
    return int32_t{0};
  };
}

namespace {

using videxplain::Shape;
namespace cuda = videxplain::cuda;

// Memory of exactly one array, so that AddressSanitizer sees its ends; shifted where an odd start is wanted.
class Array {
 public:
  Array(size_t bytes, size_t shift) : bytes_(bytes), shift_(shift), memory_(std::malloc(bytes + shift)) {
    std::memset(memory_, 0xA5, bytes + shift);
  }
  Array(Array&& other) : bytes_(other.bytes_), shift_(other.shift_), memory_(other.memory_) { other.memory_ = nullptr; }
  ~Array() { std::free(memory_); }
  template <typename Value>
  Value* as() const {
    return bytes_ == 0 ? nullptr : reinterpret_cast<Value*>(static_cast<char*>(memory_) + shift_);
  }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_, shift_;
  void* memory_;
};

void read(void* to, size_t bytes) {
  if (!std::cin.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes))) std::exit(0);
}

int64_t read_number() {
  int64_t value;
  read(&value, sizeof value);
  return value;
}

void answer(const Array& array) {
  const int64_t bytes = static_cast<int64_t>(array.bytes());
  std::cout.write(reinterpret_cast<const char*>(&bytes), sizeof bytes);
  std::cout.write(array.as<char>(), bytes);
}

Array zeros(int64_t words) {
  Array array(static_cast<size_t>(words) * 8, 0);
  std::memset(array.as<char>(), 0, array.bytes());
  return array;
}

struct Request {
  std::vector<int64_t> numbers;
  std::vector<Array> arrays;
  size_t shift;

  Shape shape(int at) const { return {numbers[at], numbers[at + 1], numbers[at + 2]}; }
};

void rgb_to_lab(const Request& request) {
  const auto& n = request.numbers;  // bytes or not, B, voxels
  const Array workspace = zeros(cuda::lab_workspace());
  Array lab(static_cast<size_t>(3 * n[4] * n[5]) * 4, request.shift);
  cuda::rgb_to_lab(request.arrays[0].as<char>(), n[3] != 0, lab.as<float>(), n[4], n[5], workspace.as<int64_t>(), 0);
  answer(lab);
}

void slic(const Request& request) {
  const auto& n = request.numbers;  // B, T, H, W, grid, iterations, warm
  const Shape shape = request.shape(4);
  videxplain::SlicSettings settings{};
  for (int i = 0; i < 3; ++i) {
    settings.grid[i] = n[7 + i];
    settings.weight[i] = request.arrays[1].as<float>()[i];
    settings.reach[i] = request.arrays[2].as<float>()[i];
  }
  settings.iterations = n[10], settings.warm = n[11] != 0;
  const Array workspace = zeros(cuda::slic_workspace(n[3], settings));
  Array labels(static_cast<size_t>(n[3] * shape.voxels()) * 4, request.shift);
  const Array& centres = request.arrays[3];
  cuda::slic(request.arrays[0].as<float>(), n[3], shape, settings, labels.as<int32_t>(), centres.as<float>(),
             workspace.as<int64_t>(), 0);
  answer(labels);
  answer(centres);
}

void connect_segments(const Request& request) {
  const auto& n = request.numbers;  // B, T, H, W, min_size
  const Array workspace = zeros(cuda::connect_workspace(n[3], request.shape(4)));
  Array connected(static_cast<size_t>(n[3] * request.shape(4).voxels()) * 4, request.shift);
  cuda::connect_segments(request.arrays[0].as<int32_t>(), request.arrays[1].as<float>(), n[3], request.shape(4), n[7],
                         connected.as<int32_t>(), workspace.as<int64_t>(), 0);
  answer(connected);
}

void segment_reduce(const Request& request) {
  const auto& n = request.numbers;
  const videxplain::ReduceSettings settings{n[7], request.shape(8), n[11], static_cast<videxplain::Reduction>(n[12]),
                                            n[13] != 0};
  const Array workspace = zeros(cuda::reduce_workspace(n[3], request.shape(4), settings));
  Array scores(static_cast<size_t>(n[3] * n[11]) * 4, request.shift);
  cuda::segment_reduce(request.arrays[0].as<int32_t>(), request.arrays[1].as<float>(), request.arrays[2].as<float>(),
                       n[3], request.shape(4), settings, workspace.as<int64_t>(), scores.as<float>(), 0);
  answer(scores);
}

}  // namespace

int main() {
  for (;;) {
    Request request;
    request.numbers.resize(static_cast<size_t>(read_number()));
    for (int64_t& number : request.numbers) number = read_number();
    request.shift = static_cast<size_t>(request.numbers[2]);
    for (int64_t left = read_number(); left > 0; --left) {
      request.arrays.emplace_back(static_cast<size_t>(read_number()), request.shift);
      read(request.arrays.back().as<char>(), request.arrays.back().bytes());
    }
    emulation::order_seed = static_cast<unsigned>(request.numbers[1]);
    switch (request.numbers[0]) {
      case 0:
        rgb_to_lab(request);
        break;
      case 1:
        slic(request);
        break;
      case 2:
        connect_segments(request);
        break;
      case 3:
        segment_reduce(request);
        break;
      default:
        emulation::fail("an unknown operation");
    }
    std::cout.flush();
  }
}
