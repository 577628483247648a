#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <tiervec/cluster_index/cluster_searcher.h>
#include <tiervec/core/codes/code.h>
#include <tiervec/core/exact_results.h>
#include <tiervec/core/query_distance.h>

#include "block_scan.h"
#include "piece_sorter.h"

namespace tiervec::cluster_index {

/// What is the same for all queries of a searcher.
struct ClusterReads {
  /// Bytes of one read: neighbours are read together up to here. A longer record is read alone. It bounds the buffers
  /// of tiers that copy.
  static constexpr std::uint32_t kMostBytes = 16 * 1024;
  static constexpr std::uint32_t kMostCodedBytes = 1024;  // single vectors are read, rarely neighbours
  /// Batches of one round, so that it bounds these buffers too. Addresses ask for many small reads.
  static constexpr std::uint32_t kMostBatches = 8;

  ClusterRecord record;
  bool verify = true;
  std::uint32_t knee_bytes = 0;    // gaps up to this are read through
  std::uint32_t most_records = 1;  // of one read
  std::uint32_t most_batches = 1;  // of one round

  static ClusterReads of(const ClusterFastPart& part, const rdma::Tier& tier);
  [[nodiscard]] std::uint32_t most_bytes() const noexcept { return most_records * record.bytes(); }
  [[nodiscard]] std::uint32_t most_reads() const noexcept { return most_batches * rdma::ReadBatch::kMaxReads; }
};

/// One query: the steps between its waits. Reused by later queries of its worker, so that a steady state allocates
/// nothing.
class ClusterQuery {
 public:
  ClusterQuery(const ClusterFastPart& part, const ClusterReads& reads);

  /// Makes room for these parameters. `helped`: for a helper thread, too.
  void reserve(const ClusterSearchParameters& parameters, bool helped, const engine::RowFilter* filter);

  /// Navigates and collects what has to be read; with a helper, reserved for, layout coded does that on both threads.
  /// With a filter only what it admits; it outlives the query.
  [[nodiscard]] ErrorCode start(const std::byte* query, std::int64_t exclude, const ClusterSearchParameters& parameters,
                                HelperThread* helper, const engine::RowFilter* filter) noexcept;
  /// Positions that the filter admits and that the query has looked at, all where it need not look at more of them;
  /// replicated knows after the reads.
  [[nodiscard]] std::uint32_t matched() const noexcept { return matched_; }
  /// Fewer results than were asked for.
  [[nodiscard]] bool is_short() const noexcept { return std::isinf(results_.kth()); }
  /// Puts the next reads into batches(). False: everything has been read.
  [[nodiscard]] bool choose() noexcept;
  /// Takes what batches() have read.
  [[nodiscard]] ErrorCode absorb() noexcept;
  /// After absorb() met a damaged record: puts it and what was not looked at yet into batches(), to be read from
  /// another of `replicas` copies. False: no copy is left that has not been read, or absorb() met something else.
  [[nodiscard]] bool reread_from_next_replica(std::uint32_t replicas) noexcept;
  void finish(std::int64_t* ids, float* distances) const noexcept { results_.copy_to(ids, distances); }

  /// One round.
  [[nodiscard]] std::span<rdma::ReadBatch> batches() noexcept {
    return {batches_.data() + first_batch_, batches_.data() + batch_count_};
  }
  void clear_cost() noexcept { cost_ = engine::QueryCost{}; }
  /// Since clear_cost(), of every start.
  [[nodiscard]] const engine::QueryCost& cost() const noexcept { return cost_; }

 private:
  static constexpr std::uint32_t kNobody = ~std::uint32_t{0};

  struct alignas(64) CacheLine {
    std::byte bytes[64];
  };
  struct HitStorage {
    std::vector<float> distances;
    std::vector<std::uint32_t> rows;
    codes::ScanHits hits;
    void reserve(std::size_t room);
  };
  /// Records whose lines are on their way into the caches, first come first served.
  struct Ahead {
    static constexpr std::uint32_t kRoom = 64;
    const std::byte* records[kRoom] = {};
    std::uint32_t places[kRoom] = {};  // of the checks; without replicated, the positions
  };

  struct Estimate {
    std::uint32_t position;
    float distance;
  };

  /// Vectors to choose: one more where somebody must not be found.
  [[nodiscard]] std::uint32_t wanted() const noexcept { return parameters_.rerank + (excluded_ == kNobody ? 0U : 1U); }
  /// Estimates to keep: of as many vectors, each of which may be met twice with spill.
  [[nodiscard]] std::uint32_t kept() const noexcept { return part_.spill_offsets.empty() ? wanted() : 2 * wanted(); }
  void scan_clusters(HelperThread* helper) noexcept;
  /// Puts the clusters to scan into groups_, the nearest first. Returns how many these are.
  [[nodiscard]] std::uint32_t order_clusters() noexcept;
  /// Scans every `step`th of the clusters [first, end) in groups_. Returns how many codes it looked at.
  [[nodiscard]] std::uint32_t scan_some(std::uint32_t first, std::uint32_t end, std::uint32_t step, float farthest,
                                        codes::ScanHits& found) noexcept;
  /// Makes positions of rows, each once, and leaves at most as many as are to be read.
  void drop_duplicates(codes::ScanHits& found) noexcept;
  /// By its centroid; `bound` is the worst kept estimate, `farthest` that of the clusters that were asked for.
  [[nodiscard]] float farthest_wanted(float bound, float farthest) const noexcept;
  [[nodiscard]] ErrorCode list_members() noexcept;
  /// Makes pieces_ of own ranges and single addresses.
  void join(std::span<const Piece> sorted) noexcept;
  /// Leaves runs of admitted positions of pieces_.
  void keep_admitted() noexcept;
  /// Makes pieces_ of all admitted positions.
  void list_admitted() noexcept;
  void put_admitted(std::uint32_t first, std::uint32_t end) noexcept;
  [[nodiscard]] std::uint32_t scan_admitted(BlockScan& scan, std::uint32_t cluster, float distance) const noexcept;
  /// Scans the codes of all admitted positions.
  void scan_all_admitted() noexcept;
  /// Makes pieces_ of what the scan found.
  void list_found() noexcept;
  void put_read(std::uint32_t read, std::uint64_t offset, std::uint32_t records) noexcept;
  /// Put the reads of the next round, at most as many as fit into it. Return how many.
  [[nodiscard]] std::uint32_t choose_pieces() noexcept;
  [[nodiscard]] std::uint32_t choose_postings() noexcept;
  [[nodiscard]] ErrorCode absorb_records(const std::byte* const* records, const std::uint32_t* places,
                                         std::uint32_t count) noexcept;
  [[nodiscard]] ErrorCode add_results(const std::byte* const* records, const std::uint32_t* places,
                                      const float* distances, std::uint32_t count) noexcept;
  [[nodiscard]] std::byte* centroid_state() noexcept { return centroid_state_.front().bytes; }
  [[nodiscard]] std::byte* code_state() noexcept { return code_state_.front().bytes; }

  const ClusterFastPart& part_;
  const ClusterReads& reads_;
  const std::uint64_t most_members_;    // of one cluster
  const std::uint64_t total_members_;   // of all
  const std::uint64_t most_addresses_;  // of one cluster
  const std::uint64_t most_own_reads_;  // for its own range

  ClusterSearchParameters parameters_;
  std::uint32_t most_gap_ = 0;  // records between pieces of one read
  const engine::RowFilter* filter_ = nullptr;
  std::uint32_t matched_ = 0;
  std::uint32_t excluded_ = 0;  // a position that must not be found, or one that does not exist
  QueryDistance exact_distance_;
  std::vector<CacheLine> centroid_state_;
  std::vector<CacheLine> code_state_;
  HitStorage groups_;
  HitStorage clusters_;
  HitStorage candidates_;
  HitStorage helped_;                  // what the helper found
  std::vector<Estimate> by_position_;  // with spill: scratch
  // To read, apart, none longer than a read; ascending, but for coded within a cluster only; replicated: of this round.
  std::vector<Piece> pieces_;
  std::vector<Piece> admitted_;  // scratch of a filter, as large
  std::uint32_t piece_count_ = 0;
  std::vector<Piece> listed_;      // own ranges and addresses of other members, and as much room to sort them
  std::uint32_t next_ = 0;         // of pieces_, or of clusters_
  std::uint32_t next_record_ = 0;  // replicated: within a posting
  ExactResults results_;
  const std::uint32_t together_;  // records whose distances are computed together
  const std::uint32_t ahead_;     // and that are brought into the caches before that
  std::vector<rdma::ReadBatch> batches_;
  std::uint32_t first_batch_ = 0;  // of this round
  std::uint32_t batch_count_ = 0;
  std::vector<std::uint32_t> first_piece_;  // of each read of this round, and the end
  std::uint32_t first_read_ = 0;            // of this round
  std::uint32_t absorbed_ = 0;              // records of this round; where it stopped, when it stopped
  std::uint32_t damaged_copies_ = 0;        // of that record: how often it was read and damaged
  engine::QueryCost cost_;
};

}  // namespace tiervec::cluster_index
