#include <algorithm>
#include <array>
#include <numeric>
#include <tuple>

#include <tiervec/core/status.h>

#include "grouped_values.h"

namespace tiervec::cluster_index {
namespace {

constexpr std::uint32_t kNone = ~std::uint32_t{0};
constexpr int kMostPasses = 8;                  // of improving the chain
constexpr std::size_t kLongestTurned = 50'000;  // groups: a move that turns more of the chain is left out

/// Two groups, and the sample queries for which one read less is needed when they lie side by side.
struct Border {
  std::uint32_t one;
  std::uint32_t other;
  std::uint32_t saved;
};

std::uint32_t count_common(std::span<const std::uint64_t> a, std::span<const std::uint64_t> b) {
  std::uint32_t count = 0;
  for (auto x = a.begin(), y = b.begin(); x != a.end() && y != b.end();) {
    count += *x == *y ? 1U : 0U;
    const bool first = *x <= *y;
    const bool second = *y <= *x;
    x += first ? 1 : 0;
    y += second ? 1 : 0;
  }
  return count;
}

// Pairs worth a look: one stores what the other lists, or they have neighbouring numbers, which near clusters have.
// (smaller << 32 | larger) << 2 | whether the smaller one stores, whether the larger one does: ascending, each once.
std::vector<std::array<std::uint64_t, 2>> pairs_of(const GroupSample& sample) {
  const std::size_t clusters = sample.posting_offsets.size() - 1;
  std::vector<std::array<std::uint64_t, 2>> pairs;  // clusters, who stores
  for (std::uint64_t c = 0; c < clusters; ++c) {
    if (c + 1 < clusters) pairs.push_back({c << 32 | (c + 1), 0});
    for (std::int64_t i = sample.posting_offsets[c]; i < sample.posting_offsets[c + 1]; ++i) {
      const std::uint64_t group = sample.groups[sample.members[static_cast<std::size_t>(i)]];
      if (group != c) pairs.push_back({std::min(c, group) << 32 | std::max(c, group), group < c ? 1U : 2U});
    }
  }
  std::sort(pairs.begin(), pairs.end());
  std::size_t kept = 0;
  for (const auto& pair : pairs) {
    if (kept > 0 && pairs[kept - 1][0] == pair[0]) {
      pairs[kept - 1][1] |= pair[1];
    } else {
      pairs[kept++] = pair;
    }
  }
  pairs.resize(kept);
  return pairs;
}

// A query that probes both groups reads them together. One that probes only one of them reads with it what it lists
// and the other stores, if that lies at the border.
std::vector<Border> borders_of(const GroupSample& sample, const GroupedValues& probes) {
  std::vector<Border> borders;
  for (const auto& [clusters, storing] : pairs_of(sample)) {
    const auto one = static_cast<std::uint32_t>(clusters >> 32);
    const auto other = static_cast<std::uint32_t>(clusters);
    const auto of_one = probes.of(one);
    const auto of_other = probes.of(other);
    const std::uint32_t both = count_common(of_one, of_other);
    const auto alone = [&](std::span<const std::uint64_t> queries) {
      return static_cast<std::uint32_t>(queries.size()) - both;
    };
    const std::uint32_t saved =
        both + ((storing & 1) != 0 ? alone(of_other) : 0) + ((storing & 2) != 0 ? alone(of_one) : 0);
    if (saved > 0) borders.push_back({one, other, saved});
  }
  return borders;
}

class Chain {
 public:
  Chain(std::size_t clusters, std::vector<Border> borders) : places_(clusters), offsets_(clusters + 1) {
    std::sort(borders.begin(), borders.end(), [](const Border& a, const Border& b) {
      return std::tuple(b.saved, a.one, a.other) < std::tuple(a.saved, b.one, b.other);
    });
    link_best(borders);
    index(borders);
  }

  std::vector<std::uint32_t> improved(const WorkMonitor* monitor) {
    for (int pass = 0; pass < kMostPasses && improve(monitor); ++pass) {
    }
    return std::move(chain_);
  }

 private:
  struct Beside {
    std::uint32_t cluster;
    std::uint32_t saved;
  };

  // The most saving borders first, until there are only paths; then path after path, by their smallest end.
  void link_best(const std::vector<Border>& borders) {
    const std::size_t clusters = places_.size();
    std::vector<std::array<std::uint32_t, 2>> links(clusters, {kNone, kNone});
    std::vector<std::uint32_t> parents(clusters);
    std::iota(parents.begin(), parents.end(), 0U);
    const auto root = [&](std::uint32_t at) {
      while (parents[at] != at) at = parents[at] = parents[parents[at]];
      return at;
    };
    for (const Border& border : borders) {
      const std::uint32_t a = root(border.one);
      const std::uint32_t b = root(border.other);
      if (links[border.one][1] != kNone || links[border.other][1] != kNone || a == b) continue;
      parents[a] = b;
      links[border.one][links[border.one][0] == kNone ? 0 : 1] = border.other;
      links[border.other][links[border.other][0] == kNone ? 0 : 1] = border.one;
    }
    chain_.reserve(clusters);
    std::vector<bool> walked(clusters);
    for (std::uint32_t first = 0; first < clusters; ++first) {
      if (walked[first] || links[first][1] != kNone) continue;
      for (std::uint32_t at = first; at != kNone;) {
        walked[at] = true;
        chain_.push_back(at);
        const auto [left, right] = links[at];
        at = left != kNone && !walked[left] ? left : right != kNone && !walked[right] ? right : kNone;
      }
    }
    for (std::size_t place = 0; place < clusters; ++place) places_[chain_[place]] = place;
  }

  void index(const std::vector<Border>& borders) {
    for (const Border& border : borders) {
      ++offsets_[border.one + 1];
      ++offsets_[border.other + 1];
    }
    for (std::size_t c = 1; c < offsets_.size(); ++c) offsets_[c] += offsets_[c - 1];
    beside_.resize(offsets_.back());
    std::vector<std::size_t> next(offsets_.begin(), offsets_.end() - 1);
    for (const Border& border : borders) {
      beside_[next[border.one]++] = {border.other, border.saved};
      beside_[next[border.other]++] = {border.one, border.saved};
    }
  }

  [[nodiscard]] std::span<const Beside> beside(std::uint32_t cluster) const {
    return {beside_.data() + offsets_[cluster], beside_.data() + offsets_[cluster + 1]};
  }
  [[nodiscard]] std::int64_t saved(std::uint32_t a, std::uint32_t b) const {
    for (const Beside& other : beside(a)) {
      if (other.cluster == b) return other.saved;
    }
    return 0;
  }
  /// The cost of the border before a place.
  [[nodiscard]] std::int64_t saved_before(std::size_t place) const {
    return place == 0 || place == chain_.size() ? 0 : saved(chain_[place - 1], chain_[place]);
  }

  // Turns parts of the chain around (2-opt) where that brings together what belongs together.
  bool improve(const WorkMonitor* monitor) {
    bool better = false;
    for (std::uint32_t cluster = 0; cluster < places_.size(); ++cluster) {
      if (monitor != nullptr && cluster % 4096 == 0 && monitor->cancelled.load(std::memory_order_relaxed)) {
        throw Error(ErrorCode::kCancelled, "stopped by request");
      }
      for (const Beside& other : beside(cluster)) better |= bring_together(cluster, other);
    }
    return better;
  }

  bool bring_together(std::uint32_t cluster, const Beside& other) {
    const std::size_t first = std::min(places_[cluster], places_[other.cluster]);
    const std::size_t last = std::max(places_[cluster], places_[other.cluster]);
    if (last - first < 2 || last - first > kLongestTurned) return false;
    // Turning (first, last] puts chain_[last] behind chain_[first]; turning [first, last) does it at the other end.
    const auto gain = [&](std::size_t begin, std::size_t end) {
      const std::int64_t before = begin == 0 ? 0 : saved(chain_[begin - 1], chain_[end - 1]);
      const std::int64_t behind = end == chain_.size() ? 0 : saved(chain_[begin], chain_[end]);
      return before + behind - saved_before(begin) - saved_before(end);
    };
    const std::int64_t forward = gain(first + 1, last + 1);
    const std::int64_t backward = gain(first, last);
    if (std::max(forward, backward) <= 0) return false;
    const std::size_t begin = forward >= backward ? first + 1 : first;
    const std::size_t end = forward >= backward ? last + 1 : last;
    std::reverse(chain_.begin() + static_cast<std::ptrdiff_t>(begin),
                 chain_.begin() + static_cast<std::ptrdiff_t>(end));
    for (std::size_t place = begin; place < end; ++place) places_[chain_[place]] = place;
    return true;
  }

  std::vector<std::uint32_t> chain_;
  std::vector<std::size_t> places_;   // of each cluster in it
  std::vector<std::size_t> offsets_;  // into beside_, by cluster
  std::vector<Beside> beside_;        // most saving ones first
};

}  // namespace

std::vector<std::uint32_t> chain_of_groups(const GroupSample& sample, const GroupedValues& probes,
                                           const WorkMonitor* monitor) {
  return Chain(sample.posting_offsets.size() - 1, borders_of(sample, probes)).improved(monitor);
}

}  // namespace tiervec::cluster_index
