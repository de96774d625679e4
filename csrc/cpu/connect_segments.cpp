// Connected components by runs of equal labels along x, then rounds of merging on the graph of components.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>
#include <vector>

#include "../kernels.h"

namespace videxplain {
namespace {

constexpr int64_t kRowGrain = 128;  // rows worth a thread

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
  // The members' sets, numbered from 0 in the order of their lowest members.
  std::vector<int32_t> numbered(int32_t& total) const {
    std::vector<int32_t> number(parent_.size());
    total = 0;
    for (size_t i = 0; i < parent_.size(); ++i)
      number[i] = parent_[i] == static_cast<int32_t>(i) ? total++ : number[parent_[i]];  // parents come first
    return number;
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
};

struct Face {
  int32_t a, b;
};

class Runs {
 public:
  Runs(const int32_t* labels, Shape shape, const ParallelFor& parallel)
      : rows_(shape.frames * shape.height), height_(shape.height), width_(shape.width), first_(rows_ + 1) {
    parallel(rows_, kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int32_t* own = labels + row * width_;
        int32_t count = 1;
        for (int64_t x = 1; x < width_; ++x) count += own[x] != own[x - 1];
        first_[row + 1] = count;
      }
    });
    for (int64_t row = 0; row < rows_; ++row) first_[row + 1] += first_[row];
    end_.reset(new int32_t[count()]);
    label_.reset(new int32_t[count()]);
    parallel(rows_, kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int32_t* own = labels + row * width_;
        int64_t run = first_[row];
        for (int64_t x = 1; x < width_; ++x) {  // without a branch: what is no end is written over
          end_[run] = static_cast<int32_t>(x), label_[run] = own[x - 1];
          run += own[x] != own[x - 1];
        }
        end_[run] = static_cast<int32_t>(width_), label_[run] = own[width_ - 1];
      }
    });
  }

  int32_t count() const { return static_cast<int32_t>(first_[rows_]); }
  int64_t rows() const { return rows_; }
  int64_t height() const { return height_; }
  int32_t label(int32_t run) const { return label_[run]; }

  // Calls with every pair of runs that share a face across rows or frames, one of them in a row of [begin, end), the
  // other in an earlier one of [least, most).
  template <typename Visit>
  void touching(int64_t begin, int64_t end, int64_t least, int64_t most, const Visit& visit) const {
    for (int64_t row = begin; row < end; ++row) {
      if (row % height_ > 0 && row - 1 >= least && row - 1 < most) overlaps(row - 1, row, visit);
      if (row - height_ >= least && row - height_ < most) overlaps(row - height_, row, visit);
    }
  }

  // Calls with every run of rows [begin, end), where its voxels begin and end, and whether it follows one in its row.
  template <typename Visit>
  void each(int64_t begin, int64_t end, const Visit& visit) const {
    for (int64_t row = begin; row < end; ++row) {
      int64_t from = 0;
      for (int64_t run = first_[row]; run < first_[row + 1]; from = end_[run], ++run)
        visit(static_cast<int32_t>(run), row * width_ + from, row * width_ + end_[run], run > first_[row]);
    }
  }
  template <typename Visit>
  void each(const Visit& visit) const {
    each(0, rows_, visit);
  }

 private:
  template <typename Visit>
  void overlaps(int64_t above, int64_t below, const Visit& visit) const {
    int64_t a = first_[above], b = first_[below];
    const int64_t a_end = first_[above + 1], b_end = first_[below + 1];
    while (a < a_end && b < b_end) {
      visit(static_cast<int32_t>(a), static_cast<int32_t>(b));
      const int32_t a_last = end_[a], b_last = end_[b];
      a += a_last <= b_last;
      b += b_last <= a_last;
    }
  }

  int64_t rows_, height_, width_;
  std::vector<int64_t> first_;              // of each row's runs
  std::unique_ptr<int32_t[]> end_, label_;  // in x, one past the last
};

// The component of each run.
std::vector<int32_t> find_components(const Runs& runs, const ParallelFor& parallel, int32_t& count) {
  Sets sets(runs.count());
  const auto join = [&](int32_t a, int32_t b) {
    if (runs.label(a) == runs.label(b)) sets.join(a, b);
  };
  // first within each thread's rows, whose sets are its own, then across their borders
  std::vector<int64_t> borders;
  std::mutex adding;
  parallel(runs.rows(), kRowGrain, [&](int64_t begin, int64_t end) {
    runs.touching(begin, end, begin, end, join);
    const std::lock_guard<std::mutex> lock(adding);
    borders.push_back(begin);
  });
  for (const int64_t row : borders) runs.touching(row, std::min(row + runs.height(), runs.rows()), 0, row, join);
  return sets.numbered(count);
}

// Sums of the colours of the components that can matter: where each label's sums are known, its largest component has
// what the others leave of them.
void add_colours(const Runs& runs, const float* lab, int64_t voxels, const std::vector<int32_t>& component,
                 const ColourSums* totals, int64_t num_labels, std::vector<Component>& components) {
  std::vector<int32_t> label_of(components.size()), largest(totals == nullptr ? 0 : num_labels, -1);
  if (totals != nullptr) {
    for (int32_t run = 0; run < runs.count(); ++run) label_of[component[run]] = runs.label(run);
    for (size_t i = 0; i < components.size(); ++i) {
      int32_t& best = largest[label_of[i]];
      if (best < 0 || components[i].size > components[best].size) best = static_cast<int32_t>(i);
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
  if (totals == nullptr) return;
  const int32_t count = static_cast<int32_t>(components.size());
  for (int32_t i = 0; i < count; ++i)
    if (derived(i))
      for (int c = 0; c < 3; ++c) components[i].colour[c] += totals[label_of[i]].colour[c];
  for (int32_t i = 0; i < count; ++i)
    if (!derived(i))
      for (int c = 0; c < 3; ++c) components[largest[label_of[i]]].colour[c] -= components[i].colour[c];
}

// Faces between components of which one is small; merging makes none that is not among them.
std::vector<Face> find_faces(const Runs& runs, const std::vector<int32_t>& component,
                             const std::vector<Component>& components, int64_t min_size, const ParallelFor& parallel) {
  std::vector<char> small(components.size());
  for (size_t i = 0; i < components.size(); ++i) small[i] = components[i].size < min_size;
  std::vector<Face> faces;
  std::mutex adding;
  parallel(runs.rows(), kRowGrain, [&](int64_t begin, int64_t end) {
    std::vector<Face> own;
    const auto face = [&](int32_t run, int32_t other) {
      const int32_t a = component[run], b = component[other];
      if (a != b && (small[a] | small[b])) own.push_back({a, b});
    };
    runs.touching(begin, end, 0, end, face);
    runs.each(begin, end, [&](int32_t run, int64_t, int64_t, bool follows) {
      if (follows) face(run - 1, run);
    });
    const std::lock_guard<std::mutex> lock(adding);
    faces.insert(faces.end(), own.begin(), own.end());
  });
  return faces;
}

struct Choice {
  double distance = std::numeric_limits<double>::infinity();
  int32_t neighbour = std::numeric_limits<int32_t>::max();
};

struct Mean {
  double colour[3];
};

// Joins small components with the neighbour nearest in colour, all at once, until none is small or one is left; gives
// the number each component has then.
std::vector<int32_t> merge_small(std::vector<Component> components, std::vector<Face> faces, int64_t min_size) {
  std::vector<int32_t> merged(components.size());
  for (size_t i = 0; i < merged.size(); ++i) merged[i] = static_cast<int32_t>(i);
  const auto small = [&](const Component& c) { return c.size < min_size; };
  while (components.size() > 1 && std::any_of(components.begin(), components.end(), small)) {
    std::vector<Mean> means(components.size());
    for (size_t i = 0; i < components.size(); ++i)
      for (int c = 0; c < 3; ++c)
        means[i].colour[c] = static_cast<double>(components[i].colour[c]) /
                             (static_cast<double>(components[i].size) * double{kColourUnit});
    std::vector<Choice> choices(components.size());
    const auto offer = [&](int32_t other, double distance, Choice& choice) {  // without a branch: none could be guessed
      const bool better = (distance < choice.distance) | ((distance == choice.distance) & (other < choice.neighbour));
      choice.distance = better ? distance : choice.distance;
      choice.neighbour = better ? other : choice.neighbour;
    };
    for (const Face& face : faces) {
      double d[3];
      for (int c = 0; c < 3; ++c) d[c] = means[face.b].colour[c] - means[face.a].colour[c];
      const double distance = (d[0] * d[0] + d[1] * d[1]) + d[2] * d[2];
      offer(face.b, distance, choices[face.a]);
      offer(face.a, distance, choices[face.b]);
    }
    Sets sets(components.size());
    for (size_t i = 0; i < components.size(); ++i)
      if (small(components[i])) sets.join(static_cast<int32_t>(i), choices[i].neighbour);
    int32_t left = 0;
    const std::vector<int32_t> number = sets.numbered(left);
    std::vector<Component> joined(left);
    for (size_t i = 0; i < components.size(); ++i) joined[number[i]].add(components[i]);
    components = std::move(joined);
    for (int32_t& i : merged) i = number[i];
    size_t kept = 0;
    for (const Face& face : faces) {
      const int32_t a = number[face.a], b = number[face.b];
      faces[kept] = {a, b};
      kept += (a != b) & (small(components[a]) | small(components[b]));
    }
    faces.resize(kept);
  }
  return merged;
}

}  // namespace

void connect_segments(const int32_t* labels, const float* lab, Shape shape, int64_t min_size, const ColourSums* totals,
                      int64_t num_labels, int32_t* connected, const ParallelFor& parallel) {
  const Runs runs(labels, shape, parallel);
  int32_t count = 0;
  std::vector<int32_t> component = find_components(runs, parallel, count);  // of each run
  std::vector<Component> components(count);
  runs.each([&](int32_t run, int64_t begin, int64_t end, bool) { components[component[run]].size += end - begin; });
  const auto small = [&](const Component& c) { return c.size < min_size; };
  if (count > 1 && std::any_of(components.begin(), components.end(), small)) {
    add_colours(runs, lab, shape.voxels(), component, totals, num_labels, components);
    std::vector<Face> faces = find_faces(runs, component, components, min_size, parallel);
    const std::vector<int32_t> merged = merge_small(std::move(components), std::move(faces), min_size);
    for (int32_t& i : component) i = merged[i];
  }
  parallel(runs.rows(), kRowGrain, [&](int64_t begin, int64_t end) {
    runs.each(begin, end, [&](int32_t run, int64_t from, int64_t to, bool) {
      std::fill(connected + from, connected + to, component[run]);
    });
  });
}

}  // namespace videxplain
