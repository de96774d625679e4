// scikit-image's connectivity: components found breadth first, in its order, which decides where large ones are cut
// off and which neighbour a small one joins.
#include <algorithm>
#include <limits>
#include <vector>

#include "../kernels.h"

namespace videxplain {
namespace {

constexpr int64_t kKeptVoxels = 1 << 20;

// A component from its first voxel on, which has its number already; returns its size.
int64_t flood(const int64_t (&steps)[6], int32_t unvisited, int32_t number, int64_t max_size, int32_t** queue,
              int32_t& adjacent) {
  int64_t size = 1;
  int32_t last = 0;
  for (int64_t visited = 0; visited < size && size < max_size; ++visited) {
    int32_t* const voxel = queue[visited];
    for (int i = 0; i < 6; ++i) {  // without branches, which nobody could predict
      int32_t* const neighbour = voxel + steps[i];
      const int32_t state = *neighbour;
      const bool joins = (state == unvisited) & (size < max_size), other = (state >= 0) & (state != number);
      *neighbour = joins ? number : state;
      queue[size] = neighbour;
      size += joins;
      last = other ? state : last;
    }
  }
  adjacent = last;
  return size;
}

}  // namespace

void connect_exact(const int32_t* labels, Shape shape, int64_t min_size, int64_t max_size, int32_t* connected) {
  // A margin around the volume saves asking for its ends. A voxel's state is ~label until it has its number.
  const int64_t row = shape.width + 2, frame = row * (shape.height + 2);
  const int64_t steps[6] = {1, -1, row, -row, frame, -frame};
  thread_local std::vector<int32_t> states;  // kept from call to call unless it is large
  states.assign(frame * (shape.frames + 2), std::numeric_limits<int32_t>::min());
  const auto each_row = [&](const auto& visit) {
    for (int64_t t = 0; t < shape.frames; ++t)
      for (int64_t y = 0; y < shape.height; ++y)
        visit(states.data() + (t + 1) * frame + (y + 1) * row + 1, (t * shape.height + y) * shape.width);
  };
  each_row([&](int32_t* own, int64_t first) {
    for (int64_t x = 0; x < shape.width; ++x) own[x] = ~labels[first + x];
  });
  std::vector<int32_t*> queue(std::max<int64_t>(1, std::min(max_size, shape.voxels())) + 1);
  int32_t number = 0;
  each_row([&](int32_t* own, int64_t) {
    for (int64_t x = 0; x < shape.width; ++x) {
      if (own[x] >= 0) continue;
      const int32_t unvisited = own[x];
      own[x] = number;
      queue[0] = own + x;
      int32_t adjacent;
      const int64_t size = flood(steps, unvisited, number, max_size, queue.data(), adjacent);
      if (size >= min_size)
        ++number;
      else
        for (int64_t i = 0; i < size; ++i) *queue[i] = adjacent;
    }
  });
  each_row([&](const int32_t* own, int64_t first) { std::copy(own, own + shape.width, connected + first); });
  if (shape.voxels() > kKeptVoxels) std::vector<int32_t>().swap(states);
}

}  // namespace videxplain
