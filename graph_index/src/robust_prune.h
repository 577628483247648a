#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <tiervec/graph_index/vector_space.h>

namespace tiervec::graph_index {

struct Scored {
  float distance;
  std::uint32_t id;
  friend bool operator<(const Scored& a, const Scored& b) noexcept {
    return a.distance < b.distance || (a.distance == b.distance && a.id < b.id);
  }
};

/// Chooses at most `degree` neighbours of `vertex` from `pool` (sorted in place, duplicates and the vertex itself
/// dropped): nearest first, leaving out those that are alpha times nearer to one already chosen (RobustPrune, DiskANN
/// algorithm 2). With alpha > 1 the strict choice (alpha 1) goes first and the relaxed one fills up. Of vectors equal
/// to the vertex's own a few are chosen, and they make no other candidate superfluous.
///
/// With ip the nearest candidates are those of the largest inner product, as of a query that is the vertex. The strict
/// choice leaves out a candidate whose inner product with one already chosen is larger than with the vertex (ip-NSW,
/// NeurIPS'18), so that walks climb to the long vectors. It keeps few where norms vary. The relaxed one compares angles
/// and fills up with directions that are not covered yet. Where all norms are equal, both are the rule of l2.
class RobustPrune {
 public:
  explicit RobustPrune(const VectorSpace& space) : space_(space) {}

  std::span<const std::uint32_t> choose(std::uint32_t vertex, std::vector<Scored>& pool, std::uint32_t degree,
                                        float alpha);

 private:
  void pick(const std::vector<Scored>& pool, std::uint32_t vertex, std::uint32_t degree, float alpha);

  const VectorSpace& space_;
  std::vector<std::uint32_t> chosen_;
  std::vector<bool> taken_;
  std::uint32_t twins_ = 0;  // of the vertex; the first of chosen_
};

}  // namespace tiervec::graph_index
