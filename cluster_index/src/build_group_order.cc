#include <tiervec/cluster_index/group_order.h>

#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include <tiervec/core/status.h>

#include "grouped_values.h"

namespace tiervec::cluster_index {
namespace {

constexpr int kMostPasses = 20;  // of improving a path
constexpr std::size_t kLongestSegment = 3;
constexpr std::size_t kImprovedPath = 256;  // longer paths stay as nearest neighbours make them

[[noreturn]] void refuse(const char* what) {
  throw Error(ErrorCode::kInvalidArgument, std::string("grouping: ") + what);
}

/// Places 0 .. count + 1 and the distances between them; the path goes from place `count` to place count + 1.
class Path {
 public:
  explicit Path(std::size_t count) : width_(count + 2), distances_(width_ * width_) {}

  void set_distance(std::size_t a, std::size_t b, std::uint32_t distance) {
    distances_[a * width_ + b] = distances_[b * width_ + a] = distance;
  }

  /// The places between the ends, in order.
  std::span<const std::uint32_t> solve() {
    nearest_neighbours();
    if (path_.size() <= kImprovedPath) {
      bool is_better = true;
      for (int pass = 0; pass < kMostPasses && is_better; ++pass) {
        is_better = reverse_segments();  // in this order, whatever the compiler
        is_better = move_segments() || is_better;
      }
    }
    return {path_.data() + 1, path_.size() - 2};
  }

 private:
  [[nodiscard]] std::int64_t between(std::size_t at, std::size_t other) const {
    return distances_[path_[at] * width_ + path_[other]];
  }

  void nearest_neighbours() {
    const std::size_t count = width_ - 2;
    path_.assign(1, static_cast<std::uint32_t>(count));
    std::vector<bool> used(count);
    for (std::size_t step = 0; step < count; ++step) {
      const std::uint32_t* row = distances_.data() + path_.back() * width_;
      std::size_t best = count;
      for (std::size_t i = 0; i < count; ++i) {
        if (!used[i] && (best == count || row[i] < row[best])) best = i;
      }
      used[best] = true;
      path_.push_back(static_cast<std::uint32_t>(best));
    }
    path_.push_back(static_cast<std::uint32_t>(count + 1));
  }

  bool reverse_segments() {
    bool better = false;
    for (std::size_t i = 1; i + 1 < path_.size(); ++i) {
      for (std::size_t j = i + 1; j + 1 < path_.size(); ++j) {
        if (between(i - 1, j) + between(i, j + 1) < between(i - 1, i) + between(j, j + 1)) {
          std::reverse(path_.begin() + static_cast<std::ptrdiff_t>(i),
                       path_.begin() + static_cast<std::ptrdiff_t>(j) + 1);
          better = true;
        }
      }
    }
    return better;
  }

  bool move_segments() {
    bool better = false;
    for (std::size_t length = 1; length <= kLongestSegment; ++length) {
      for (std::size_t i = 1; i + length < path_.size(); ++i) better |= move_segment(i, i + length);
    }
    return better;
  }

  // Moves [begin, end) to where it makes the path shortest.
  bool move_segment(std::size_t begin, std::size_t end) {
    const std::int64_t saved = between(begin - 1, begin) + between(end - 1, end) - between(begin - 1, end);
    std::int64_t most = 0;
    std::size_t place = 0;
    for (std::size_t i = 0; i + 1 < path_.size(); ++i) {
      if (i + 1 >= begin && i < end) continue;
      const std::int64_t gain = saved - between(i, begin) - between(end - 1, i + 1) + between(i, i + 1);
      if (gain > most) {
        most = gain;
        place = i + 1;
      }
    }
    if (most == 0) return false;
    const auto at = [&](std::size_t i) { return path_.begin() + static_cast<std::ptrdiff_t>(i); };
    if (place < begin) {
      std::rotate(at(place), at(begin), at(end));
    } else {
      std::rotate(at(begin), at(end), at(place));
    }
    return true;
  }

  std::size_t width_;
  std::vector<std::uint32_t> distances_;
  std::vector<std::uint32_t> path_;
};

/// Which rows of other groups each query needs; `use(row, query)`.
template <class Use>
void for_each_need(const GroupSample& sample, std::size_t clusters, Use&& use) {
  std::vector<std::size_t> probed_by(clusters, ~std::size_t{0});
  std::vector<std::uint32_t> rows;
  for (std::size_t query = 0; (query + 1) * sample.width <= sample.probes.size(); ++query) {
    const auto probes = sample.probes.subspan(query * sample.width, sample.width);
    for (const std::uint32_t cluster : probes) probed_by[cluster] = query;
    rows.clear();
    for (const std::uint32_t cluster : probes) {
      for (std::int64_t i = sample.posting_offsets[cluster]; i < sample.posting_offsets[cluster + 1]; ++i) {
        const std::uint32_t row = sample.members[static_cast<std::size_t>(i)];
        if (probed_by[sample.groups[row]] != query) rows.push_back(row);
      }
    }
    std::sort(rows.begin(), rows.end());
    rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
    for (const std::uint32_t row : rows) use(row, query);
  }
}

/// By group: (query << 32 | row), queries ascending.
GroupedValues collect_needs(const GroupSample& sample, std::size_t clusters) {
  GroupedValues needs;
  needs.offsets.assign(clusters + 1, 0);
  for_each_need(sample, clusters, [&](std::uint32_t row, std::size_t) { ++needs.offsets[sample.groups[row] + 1]; });
  std::vector<std::size_t> next = needs.make_room();
  for_each_need(sample, clusters, [&](std::uint32_t row, std::size_t query) {
    needs.values[next[sample.groups[row]]++] = std::uint64_t{query} << 32 | row;
  });
  return needs;
}

void order_one_group(std::span<std::uint32_t> rows, std::span<const std::uint64_t> needs,
                     std::span<const std::uint64_t> before, std::span<const std::uint64_t> behind) {
  if (rows.size() < 2 || rows.size() > kLongestPath || needs.empty()) return;
  std::vector<std::uint64_t> queries;
  for (const std::uint64_t need : needs) {
    if (queries.empty() || queries.back() != need >> 32) queries.push_back(need >> 32);
  }
  const std::size_t words = (queries.size() + 63) / 64;
  std::vector<std::uint64_t> sets((rows.size() + 2) * words);
  const auto set = [&](std::size_t place, std::uint64_t query) {
    const auto found = std::lower_bound(queries.begin(), queries.end(), query);
    if (found == queries.end() || *found != query) return;
    const auto bit = static_cast<std::size_t>(found - queries.begin());
    sets[place * words + bit / 64] |= std::uint64_t{1} << (bit % 64);
  };
  for (const std::uint64_t need : needs) {
    const auto row = static_cast<std::uint32_t>(need);
    set(static_cast<std::size_t>(std::lower_bound(rows.begin(), rows.end(), row) - rows.begin()), need >> 32);
  }
  for (const std::uint64_t query : before) set(rows.size(), query);
  for (const std::uint64_t query : behind) set(rows.size() + 1, query);
  Path path(rows.size());
  for (std::size_t a = 0; a < rows.size() + 2; ++a) {
    for (std::size_t b = a + 1; b < rows.size() + 2; ++b) {
      int differences = 0;
      for (std::size_t w = 0; w < words; ++w) differences += std::popcount(sets[a * words + w] ^ sets[b * words + w]);
      path.set_distance(a, b, static_cast<std::uint32_t>(differences));
    }
  }
  const std::vector<std::uint32_t> ascending(rows.begin(), rows.end());
  std::size_t at = 0;
  for (const std::uint32_t place : path.solve()) rows[at++] = ascending[place];
}

void check(const GroupSample& sample, std::size_t rows) {
  const auto below = [](std::size_t limit) { return [limit](std::uint32_t value) { return value < limit; }; };
  if (sample.posting_offsets.empty() || sample.groups.size() != rows) refuse("sizes differ");
  const std::size_t clusters = sample.posting_offsets.size() - 1;
  if (sample.width == 0 || sample.probes.size() % sample.width != 0) refuse("probes are not a matrix");
  if (!std::is_sorted(sample.posting_offsets.begin(), sample.posting_offsets.end()) || sample.posting_offsets[0] != 0 ||
      static_cast<std::size_t>(sample.posting_offsets[clusters]) != sample.members.size()) {
    refuse("posting_offsets do not describe the members");
  }
  if (!std::all_of(sample.members.begin(), sample.members.end(), below(rows)) ||
      !std::all_of(sample.groups.begin(), sample.groups.end(), below(clusters)) ||
      !std::all_of(sample.probes.begin(), sample.probes.end(), below(clusters))) {
    refuse("an entry is out of range");
  }
}

}  // namespace

void order_groups(const GroupSample& sample, std::span<std::uint32_t> chain, std::span<std::uint32_t> order,
                  unsigned threads, WorkMonitor* monitor) {
  check(sample, order.size());
  const std::size_t clusters = sample.posting_offsets.size() - 1;
  if (chain.size() != clusters) refuse("chain must have room for all clusters");
  const GroupedValues probes = collect_probes(sample);
  const std::vector<std::uint32_t> groups = chain_of_groups(sample, probes, monitor);
  std::copy(groups.begin(), groups.end(), chain.begin());
  std::vector<std::size_t> sizes(clusters);
  for (const std::uint32_t group : sample.groups) ++sizes[group];
  std::vector<std::size_t> starts(clusters + 1);  // by place
  std::vector<std::size_t> next(clusters);
  for (std::size_t place = 0; place < clusters; ++place) {
    next[chain[place]] = starts[place];
    starts[place + 1] = starts[place] + sizes[chain[place]];
  }
  for (std::size_t row = 0; row < order.size(); ++row) {
    order[next[sample.groups[row]]++] = static_cast<std::uint32_t>(row);
  }
  const GroupedValues needs = collect_needs(sample, clusters);
  // Queries that read the last, or the first, row of the group at a place.
  const auto readers = [&](std::size_t place, bool last, bool row_too) {
    const std::uint32_t group = chain[place];
    const auto probing = probes.of(group);
    std::vector<std::uint64_t> queries(probing.begin(), probing.end());
    if (!row_too || starts[place] == starts[place + 1]) return queries;
    const std::uint32_t row = order[last ? starts[place + 1] - 1 : starts[place]];
    for (const std::uint64_t need : needs.of(group)) {
      if (static_cast<std::uint32_t>(need) == row) queries.push_back(need >> 32);
    }
    return queries;
  };
  if (monitor != nullptr) monitor->total = 2 * clusters;
  // First with groups as neighbours, then with their rows at the border: those at even places, then the others, so that
  // no neighbour changes meanwhile.
  const auto pass = [&](std::size_t from, std::size_t step, bool row_too) {
    const std::size_t count = (clusters - from + step - 1) / step;
    parallel_blocks(count, 16, threads, monitor, [&](std::size_t begin, std::size_t end, unsigned) {
      for (std::size_t i = begin; i < end; ++i) {
        const std::size_t place = from + i * step;
        const auto rows = order.subspan(starts[place], starts[place + 1] - starts[place]);
        const auto before = place == 0 ? std::vector<std::uint64_t>() : readers(place - 1, true, row_too);
        const auto behind = place + 1 == clusters ? std::vector<std::uint64_t>() : readers(place + 1, false, row_too);
        std::sort(rows.begin(), rows.end());
        order_one_group(rows, needs.of(chain[place]), before, behind);
      }
    });
  };
  pass(0, 1, false);
  pass(0, 2, true);
  if (clusters > 1) pass(1, 2, true);
}

}  // namespace tiervec::cluster_index
