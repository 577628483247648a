#include "robust_prune.h"

#include <algorithm>

namespace tiervec::graph_index {

std::span<const std::uint32_t> RobustPrune::choose(std::uint32_t vertex, std::vector<Scored>& pool,
                                                   std::uint32_t degree, float alpha) {
  std::erase_if(pool, [vertex](const Scored& c) { return c.id == vertex; });
  // Of several at the same distance the one whose id follows the vertex's goes first, not the lowest for everybody:
  // duplicates then link to each other in a ring and can all be reached.
  std::sort(pool.begin(), pool.end(), [vertex](const Scored& a, const Scored& b) {
    return a.distance < b.distance || (a.distance == b.distance && a.id - vertex < b.id - vertex);
  });
  pool.erase(std::unique(pool.begin(), pool.end(), [](const Scored& a, const Scored& b) { return a.id == b.id; }),
             pool.end());
  chosen_.clear();
  twins_ = 0;
  taken_.assign(pool.size(), false);
  pick(pool, vertex, degree, 1.0F);
  if (alpha > 1.0F) {
    pick(pool, vertex, degree, alpha);
  }
  return chosen_;
}

void RobustPrune::pick(const std::vector<Scored>& pool, std::uint32_t vertex, std::uint32_t degree, float alpha) {
  const bool by_angle = space_.metric() == Metric::kIp && alpha > 1.0F;
  for (std::size_t i = 0; i < pool.size() && chosen_.size() < degree; ++i) {
    if (taken_[i]) {
      continue;
    }
    const Scored& candidate = pool[i];
    // A twin stands where the vertex itself does: it makes nobody superfluous, and a few of them lead to the others.
    const bool is_twin = space_.twins(vertex, candidate.id, candidate.distance);
    const auto others = std::span(chosen_).subspan(twins_);
    bool occluded = false;
    if (is_twin) {
      occluded = twins_ > degree / 8;
    } else if (by_angle) {
      const float angle = space_.unit_distance(vertex, candidate.id);
      occluded = std::any_of(others.begin(), others.end(), [&](std::uint32_t nearer) {
        return alpha * space_.unit_distance(nearer, candidate.id) <= angle;
      });
    } else {
      occluded = std::any_of(others.begin(), others.end(), [&](std::uint32_t nearer) {
        return alpha * space_.distance(nearer, candidate.id) <= candidate.distance;
      });
    }
    if (!occluded) {
      // Twins stay in front: with ip a longer vector may come before them.
      chosen_.insert(is_twin ? chosen_.begin() + twins_ : chosen_.end(), candidate.id);
      twins_ += is_twin ? 1 : 0;
      taken_[i] = true;
    }
  }
}

}  // namespace tiervec::graph_index
