#include "robust_prune.h"

#include <algorithm>

namespace tiervec::graph_index {
namespace {

constexpr float kCosineRounding = 1e-6F;  // of the distance between two unit vectors

}  // namespace

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
  pick(pool, degree, 1.0F);
  if (alpha > 1.0F) {
    pick(pool, degree, alpha);
  }
  return chosen_;
}

void RobustPrune::pick(const std::vector<Scored>& pool, std::uint32_t degree, float alpha) {
  for (std::size_t i = 0; i < pool.size() && chosen_.size() < degree; ++i) {
    if (taken_[i]) {
      continue;
    }
    const Scored& candidate = pool[i];
    // A twin stands where the vertex itself does: it makes nobody superfluous, and a few of them lead to the others.
    const bool is_twin = candidate.distance <= (space_.metric() == Metric::kCosine ? kCosineRounding : 0.0F);
    const bool occluded =
        is_twin ? twins_ > degree / 8 : std::any_of(chosen_.begin() + twins_, chosen_.end(), [&](std::uint32_t nearer) {
          return alpha * space_.distance(nearer, candidate.id) <= candidate.distance;
        });
    if (!occluded) {
      twins_ += is_twin ? 1 : 0;
      chosen_.push_back(candidate.id);
      taken_[i] = true;
    }
  }
}

}  // namespace tiervec::graph_index
