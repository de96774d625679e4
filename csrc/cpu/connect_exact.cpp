// scikit-image's connectivity: components found breadth first, in its order, which decides where large ones are cut
// off and which neighbour a small one joins.
#include <algorithm>
#include <limits>
#include <vector>

#include "../kernels.h"

namespace videxplain {

void connect_exact(const int32_t* labels, Shape shape, int64_t min_size, int64_t max_size, int32_t* connected) {
  // A margin around the volume saves asking for its ends. A voxel's state is ~label until it has its number.
  const int64_t row = shape.width + 2, frame = row * (shape.height + 2);
  const int64_t steps[6] = {1, -1, row, -row, frame, -frame};
  std::vector<int32_t> states(frame * (shape.frames + 2), std::numeric_limits<int32_t>::min());
  const auto each_row = [&](const auto& visit) {
    for (int64_t t = 0; t < shape.frames; ++t)
      for (int64_t y = 0; y < shape.height; ++y)
        visit(states.data() + (t + 1) * frame + (y + 1) * row + 1, (t * shape.height + y) * shape.width);
  };
  each_row([&](int32_t* own, int64_t first) {
    for (int64_t x = 0; x < shape.width; ++x) own[x] = ~labels[first + x];
  });
  std::vector<int32_t*> queue;
  int32_t number = 0;
  each_row([&](int32_t* own, int64_t) {
    for (int64_t x = 0; x < shape.width; ++x) {
      if (own[x] >= 0) continue;
      const int32_t unvisited = own[x];
      int32_t adjacent = 0;
      int64_t size = 1;
      own[x] = number;
      queue.assign(1, own + x);
      for (int64_t visited = 0; visited < size && size < max_size; ++visited) {
        for (const int64_t step : steps) {
          int32_t* neighbour = queue[visited] + step;
          const int32_t state = *neighbour;
          if (state == unvisited) {
            *neighbour = number;
            queue.push_back(neighbour);
            if (++size >= max_size) break;
          } else if (state >= 0 && state != number) {
            adjacent = state;
          }
        }
      }
      if (size >= min_size)
        ++number;
      else
        for (int32_t* voxel : queue) *voxel = adjacent;
    }
  });
  each_row([&](const int32_t* own, int64_t first) { std::copy(own, own + shape.width, connected + first); });
}

}  // namespace videxplain
