#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <tiervec/core/query_distance.h>
#include <tiervec/graph_index/candidate_list.h>
#include <tiervec/graph_index/graph_searcher.h>

#include <tiervec/core/exact_results.h>
#include "met_filter.h"

namespace tiervec::graph_index {

struct alignas(64) CacheLine {
  std::byte bytes[64];
};

/// One query on its way through the graph: the steps between its reads. Reused by later queries of its worker, so that
/// a steady state allocates nothing.
class Traversal {
 public:
  Traversal(const GraphFastPart& part, const RecordLocator& locator, const HotSet& hot, bool verify_records);

  /// Makes room for these parameters.
  void reserve(const SearchParameters& parameters);

  /// With a filter only vertices that it admits become results; it outlives the query.
  void start(const std::byte* query, const SearchParameters& parameters, const engine::RowFilter* filter);
  void begin_walk() noexcept;
  /// Instead of a walk, or after one that found too little: every vertex that the filter admits becomes a candidate.
  void begin_rows() noexcept;
  /// Scores some of them. True while more are left. Then they are chosen as in a walk, but their records lead no
  /// further.
  [[nodiscard]] bool score_admitted() noexcept;
  /// Fewer results than were asked for.
  [[nodiscard]] bool is_short() const noexcept { return std::isinf(results_.kth()); }
  /// Chooses the next round's vertices: the reads go into batch(), which stays empty when all records are hot. False:
  /// the search has converged.
  [[nodiscard]] bool choose() noexcept;
  /// Takes the records of the round; batch() has completed or is empty. kDataLoss: a record is not what was written.
  [[nodiscard]] ErrorCode absorb() noexcept;
  /// After absorb met a damaged record, and batch() was released: sets batch() up to read that record and those of the
  /// round behind it once more, from the next replica; absorb goes on with them. False when that record came from as
  /// many replicas as there are.
  [[nodiscard]] bool reread_from_next_replica(std::uint32_t replicas) noexcept;
  void score() noexcept;
  void finish(std::int64_t* ids, float* distances) const noexcept;

  [[nodiscard]] rdma::ReadBatch& batch() noexcept { return batch_; }
  [[nodiscard]] const QueryCost& cost() const noexcept { return cost_; }
  /// The vertices of the round, those that are read first.
  [[nodiscard]] std::span<const std::uint32_t> round() const noexcept { return {vertices_, round_size_}; }

 private:
  [[nodiscard]] std::byte* code_state() noexcept { return code_state_.front().bytes; }
  void descend_navigation() noexcept;
  [[nodiscard]] std::uint32_t take_admitted(std::uint32_t* vertices) noexcept;
  [[nodiscard]] std::uint32_t width() const noexcept;
  [[nodiscard]] ErrorCode forged() noexcept;
  [[nodiscard]] bool note_neighbors(const std::byte* record, std::uint32_t degree) noexcept;
  // Always inlined: g++ takes a function that only prefetches for one without effects and drops the calls.
  [[gnu::always_inline]] void prefetch_row(std::uint32_t vertex) const noexcept;

  const GraphFastPart& part_;
  const RecordLocator& locator_;
  const HotSet& hot_;
  const HopKernels& hop_;
  const bool verify_records_;
  const std::uint32_t row_bytes_;

  const engine::RowFilter* filter_ = nullptr;
  bool leads_on_ = true;             // records have neighbours to look at
  std::uint32_t next_admitted_ = 0;  // no admitted vertex before it is left to score
  SearchParameters parameters_;
  QueryDistance exact_distance_;
  std::vector<CacheLine> code_state_;
  CandidateList list_;
  std::vector<float> list_distances_;
  std::vector<std::uint32_t> list_entries_;
  MetFilter met_;
  ExactResults results_;
  std::vector<std::uint32_t> unpacked_;
  std::vector<std::uint32_t> fresh_;  // neighbours to score
  std::uint32_t fresh_count_ = 0;
  std::vector<float> distances_;
  std::uint32_t first_open_ = 0;  // no candidate before it is unexpanded
  // The round: vertices that are read, as in batch_, then the hot ones with their records.
  std::uint32_t vertices_[SearchParameters::kWidestBeam] = {};
  const std::byte* hot_records_[SearchParameters::kWidestBeam] = {};
  std::uint32_t round_size_ = 0;
  rdma::ReadBatch batch_;
  std::uint32_t damaged_ = 0;         // where in the round the last absorb stopped, when it stopped
  std::uint32_t damaged_copies_ = 0;  // of that record: how often it was read and damaged
  std::uint32_t repeated_rounds_ = 0;
  QueryCost cost_;
};

}  // namespace tiervec::graph_index
