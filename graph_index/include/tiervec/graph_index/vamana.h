#pragma once

// Vamana graph construction (DiskANN, NeurIPS'19, algorithms 1 to 3): every vector is searched for in the graph so far,
// and linked to a robustly pruned choice of what the search saw. Two passes: alpha 1, then the given alpha, which keeps
// longer edges. Last, what pruning cut off is connected again: every vector can be reached from the entry.
// Deterministic for one seed and one thread.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <tiervec/core/huge_buffer.h>
#include <tiervec/core/parallel.h>
#include <tiervec/graph_index/vector_space.h>

namespace tiervec::graph_index {

struct VamanaParameters {
  std::uint32_t graph_degree = 32;  // most neighbours of a vector
  std::uint32_t build_list = 100;   // candidate list of the build's searches
  float alpha = 1.2F;               // on squared distances
  unsigned threads = 1;             // resolved, not 0
  std::uint64_t seed = 0;
};

/// Out-neighbours of each vertex; row: degree, then ids.
class Graph {
 public:
  Graph(std::uint32_t count, std::uint32_t max_degree);

  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint32_t degree(std::uint32_t id) const noexcept { return *row(id); }
  [[nodiscard]] const std::uint32_t* neighbors(std::uint32_t id) const noexcept { return row(id) + 1; }
  [[nodiscard]] std::uint32_t entry() const noexcept { return entry_; }
  void set_entry(std::uint32_t id) noexcept { entry_ = id; }

  [[nodiscard]] std::uint32_t* row(std::uint32_t id) noexcept { return rows_.as<std::uint32_t>() + id * stride_; }
  [[nodiscard]] const std::uint32_t* row(std::uint32_t id) const noexcept {
    return rows_.as<std::uint32_t>() + id * stride_;
  }
  [[nodiscard]] std::uint32_t max_degree() const noexcept { return static_cast<std::uint32_t>(stride_ - 1); }

  /// Moves all rows into a file, so that their memory is free until bring_back. Throws Error: the file's.
  void set_aside(const std::string& path);
  void bring_back(const std::string& path);

 private:
  std::uint32_t count_;
  std::size_t stride_;
  std::uint32_t entry_ = 0;
  HugeBuffer rows_;
};

/// Room for reverse edges before a list is pruned back to graph_degree.
std::uint32_t slack_degree(std::uint32_t graph_degree) noexcept;

/// Bytes that build_vamana allocates, the vectors not counted.
std::size_t vamana_memory_bytes(std::uint32_t count, const VamanaParameters& parameters) noexcept;

/// The vertices in `late` (ascending, fewer than all) stay alone: without edges, and nothing leads to them.
/// `monitor` counts the vectors linked (both passes) and can cancel: Error(kCancelled).
std::unique_ptr<Graph> build_vamana(const VectorSpace& space, const VamanaParameters& parameters,
                                    std::span<const std::uint32_t> late, WorkMonitor* monitor);

/// Links the vertices that build_vamana left alone.
void link_late(const VectorSpace& space, const VamanaParameters& parameters, Graph& graph,
               std::span<const std::uint32_t> late, WorkMonitor* monitor);

}  // namespace tiervec::graph_index
