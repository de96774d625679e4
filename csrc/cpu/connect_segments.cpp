// Connected components by runs of equal labels along x, then rounds of merging on the graph of components.
#include <cmath>
#include <limits>
#include <vector>

#include "../kernels.h"

namespace videxplain {
namespace {

struct Run {
  int64_t end;  // in x, one past the last
  int32_t label;
};

// Disjoint sets whose representative is the lowest member, so that the order of joining cannot matter.
class Sets {
 public:
  explicit Sets(size_t count) : parent_(count) {
    for (size_t i = 0; i < count; ++i) parent_[i] = static_cast<int32_t>(i);
  }
  int32_t root(int32_t node) {
    while (parent_[node] != node) node = parent_[node] = parent_[parent_[node]];
    return node;
  }
  void join(int32_t a, int32_t b) {
    a = root(a), b = root(b);
    if (a < b) parent_[b] = a;
    if (b < a) parent_[a] = b;
  }

 private:
  std::vector<int32_t> parent_;
};

struct Component : ColourSums {
  Component() : ColourSums{0, {0, 0, 0}} {}
  void add(const ColourSums& other) {
    size += other.size;
    for (int c = 0; c < 3; ++c) colour[c] += other.colour[c];
  }
  double mean(int c) const {
    return static_cast<double>(colour[c]) / (static_cast<double>(size) * double{kColourUnit});
  }
};

class Runs {
 public:
  Runs(const int32_t* labels, Shape shape) : shape_(shape) {
    first_.reserve(shape.frames * shape.height + 1);
    runs_.reserve(shape.voxels() / 8 + 16);
    for (int64_t row = 0; row < shape.frames * shape.height; ++row) {
      first_.push_back(runs_.size());
      const int32_t* own = labels + row * shape.width;
      for (int64_t x = 0; x < shape.width; ++x) {
        if (x == 0 || own[x] != own[x - 1]) runs_.push_back({0, own[x]});
        runs_.back().end = x + 1;
      }
    }
    first_.push_back(runs_.size());
  }

  size_t count() const { return runs_.size(); }

  // Calls with every pair of runs that share a face across rows or frames.
  template <typename Visit>
  void touching(const Visit& visit) const {
    for (int64_t t = 0; t < shape_.frames; ++t) {
      for (int64_t y = 0; y < shape_.height; ++y) {
        const int64_t row = t * shape_.height + y;
        if (y > 0) overlaps(row - 1, row, visit);
        if (t > 0) overlaps(row - shape_.height, row, visit);
      }
    }
  }

  // Calls with every run, its row and its extent.
  template <typename Visit>
  void each(const Visit& visit) const {
    for (int64_t row = 0; row < shape_.frames * shape_.height; ++row) {
      int64_t begin = 0;
      for (size_t run = first_[row]; run < first_[row + 1]; begin = runs_[run].end, ++run)
        visit(static_cast<int32_t>(run), row * shape_.width + begin, row * shape_.width + runs_[run].end,
              run > first_[row]);
    }
  }

  int32_t label(int32_t run) const { return runs_[run].label; }

 private:
  template <typename Visit>
  void overlaps(int64_t above, int64_t below, const Visit& visit) const {
    size_t a = first_[above], b = first_[below];
    const size_t a_end = first_[above + 1], b_end = first_[below + 1];
    while (a < a_end && b < b_end) {
      visit(static_cast<int32_t>(a), static_cast<int32_t>(b));
      const int64_t a_last = runs_[a].end, b_last = runs_[b].end;
      if (a_last <= b_last) ++a;
      if (b_last <= a_last) ++b;
    }
  }

  Shape shape_;
  std::vector<Run> runs_;
  std::vector<size_t> first_;  // of each row's runs
};

// The members' sets, numbered from 0 in the order of their lowest members.
std::vector<int32_t> numbered(Sets& sets, size_t count, int32_t& total) {
  std::vector<int32_t> number(count);
  total = 0;
  for (size_t i = 0; i < count; ++i) {
    const int32_t root = sets.root(static_cast<int32_t>(i));
    number[i] = root == static_cast<int32_t>(i) ? total++ : number[root];
  }
  return number;
}

struct Choice {
  double distance = std::numeric_limits<double>::infinity();
  int32_t neighbour = std::numeric_limits<int32_t>::max();
};

void offer(const std::vector<Component>& components, int32_t component, int32_t other, Choice& choice) {
  double d[3];
  for (int c = 0; c < 3; ++c) d[c] = components[other].mean(c) - components[component].mean(c);
  const double distance = (d[0] * d[0] + d[1] * d[1]) + d[2] * d[2];
  if (distance < choice.distance || (distance == choice.distance && other < choice.neighbour))
    choice = {distance, other};
}

}  // namespace

void connect_segments(const int32_t* labels, const float* lab, Shape shape, int64_t min_size, const ColourSums* totals,
                      int64_t num_labels, int32_t* connected) {
  const Runs runs(labels, shape);
  const int64_t voxels = shape.voxels();
  Sets run_sets(runs.count());
  runs.touching([&](int32_t a, int32_t b) {
    if (runs.label(a) == runs.label(b)) run_sets.join(a, b);
  });
  int32_t count = 0;
  std::vector<int32_t> component = numbered(run_sets, runs.count(), count);  // of each run

  std::vector<Component> components(count);
  runs.each([&](int32_t run, int64_t begin, int64_t end, bool) { components[component[run]].size += end - begin; });
  bool any_small = false;
  for (const Component& c : components) any_small |= c.size < min_size;
  if (any_small && count > 1) {
    // Where each label's sums are known, its largest component has what the others leave of them.
    std::vector<int32_t> label_of(count), largest(totals == nullptr ? 0 : num_labels, -1);
    if (totals != nullptr) {
      runs.each([&](int32_t run, int64_t, int64_t, bool) { label_of[component[run]] = runs.label(run); });
      for (int32_t i = 0; i < count; ++i) {
        int32_t& best = largest[label_of[i]];
        if (best < 0 || components[i].size > components[best].size) best = i;
      }
    }
    const auto derived = [&](int32_t i) { return totals != nullptr && largest[label_of[i]] == i; };
    runs.each([&](int32_t run, int64_t begin, int64_t end, bool) {
      if (derived(component[run])) return;
      for (int c = 0; c < 3; ++c) {
        int64_t sum = 0;
        for (int64_t i = begin; i < end; ++i) sum += fixed_point(lab[c * voxels + i]);
        components[component[run]].colour[c] += sum;
      }
    });
    if (totals != nullptr) {
      for (int32_t i = 0; i < count; ++i)
        if (derived(i))
          for (int c = 0; c < 3; ++c) components[i].colour[c] += totals[label_of[i]].colour[c];
      for (int32_t i = 0; i < count; ++i)
        if (!derived(i))
          for (int c = 0; c < 3; ++c) components[largest[label_of[i]]].colour[c] -= components[i].colour[c];
    }
    // faces between components of which one is small; merging makes none that is not among them
    std::vector<std::pair<int32_t, int32_t>> faces;
    const auto face = [&](int32_t a, int32_t b) {
      if (a != b && (components[a].size < min_size || components[b].size < min_size)) faces.emplace_back(a, b);
    };
    runs.touching([&](int32_t a, int32_t b) { face(component[a], component[b]); });
    runs.each([&](int32_t run, int64_t, int64_t, bool follows) {
      if (follows) face(component[run - 1], component[run]);
    });

    std::vector<int32_t> merged(count);  // where each first component is now
    for (int32_t i = 0; i < count; ++i) merged[i] = i;
    while (any_small && components.size() > 1) {
      std::vector<Choice> choices(components.size());
      for (const auto& [first, second] : faces) {
        const int32_t a = merged[first], b = merged[second];
        if (a == b) continue;
        if (components[a].size < min_size) offer(components, a, b, choices[a]);
        if (components[b].size < min_size) offer(components, b, a, choices[b]);
      }
      Sets sets(components.size());
      for (size_t i = 0; i < components.size(); ++i)
        if (components[i].size < min_size) sets.join(static_cast<int32_t>(i), choices[i].neighbour);
      int32_t left = 0;
      const std::vector<int32_t> number = numbered(sets, components.size(), left);
      std::vector<Component> joined(left);
      for (size_t i = 0; i < components.size(); ++i) joined[number[i]].add(components[i]);
      components = std::move(joined);
      for (int32_t& i : merged) i = number[i];
      any_small = false;
      for (const Component& c : components) any_small |= c.size < min_size;
    }
    for (int32_t& i : component) i = merged[i];
  }
  runs.each([&](int32_t run, int64_t begin, int64_t end, bool) {
    for (int64_t i = begin; i < end; ++i) connected[i] = component[run];
  });
}

}  // namespace videxplain
