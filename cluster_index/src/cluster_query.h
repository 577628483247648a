#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <tiervec/cluster_index/cluster_searcher.h>
#include <tiervec/core/codes/code.h>
#include <tiervec/core/exact_results.h>
#include <tiervec/core/query_distance.h>

namespace tiervec::cluster_index {

/// What is the same for all queries of a searcher.
struct ClusterReads {
  /// Bytes of one read: neighbours are read together up to here. A longer record is read alone. It bounds the buffers
  /// of tiers that copy.
  static constexpr std::uint32_t kMostBytes = 16 * 1024;
  static constexpr std::uint32_t kMostCodedBytes = 1024;  // single vectors are read, rarely neighbours

  ClusterRecord record;
  bool verify = true;
  std::uint32_t knee_bytes = 0;    // gaps up to this are read through
  std::uint32_t most_records = 1;  // of one read

  static ClusterReads of(const ClusterFastPart& part, const rdma::Tier& tier);
  [[nodiscard]] std::uint32_t most_bytes() const noexcept { return most_records * record.bytes(); }
};

/// One query: the steps between its waits. Reused by later queries of its worker, so that a steady state allocates
/// nothing.
class ClusterQuery {
 public:
  ClusterQuery(const ClusterFastPart& part, const ClusterReads& reads);

  /// Makes room for these parameters.
  void reserve(const ClusterSearchParameters& parameters);

  /// Navigates and collects what has to be read.
  [[nodiscard]] ErrorCode start(const std::byte* query, std::int64_t exclude,
                                const ClusterSearchParameters& parameters) noexcept;
  /// Puts the next reads into batch(). False: everything has been read.
  [[nodiscard]] bool choose() noexcept;
  /// Takes what batch() has read.
  [[nodiscard]] ErrorCode absorb() noexcept;
  /// After absorb() met a damaged record: puts it and what was not looked at yet into batch(), to be read from another
  /// of `replicas` copies. False: no copy is left that has not been read, or absorb() met something else.
  [[nodiscard]] bool reread_from_next_replica(std::uint32_t replicas) noexcept;
  void finish(std::int64_t* ids, float* distances) const noexcept { results_.copy_to(ids, distances); }

  [[nodiscard]] rdma::ReadBatch& batch() noexcept { return batch_; }
  [[nodiscard]] const rdma::QueryCost& cost() const noexcept { return cost_; }

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
  /// Records that are read in one go: positions_ [first, end), or records of one posting.
  struct Run {
    std::uint32_t first = 0;
    std::uint32_t end = 0;
  };
  struct Place {
    std::uint32_t run = 0;    // of runs_
    std::uint32_t index = 0;  // of its [first, end)
  };

  void scan_clusters() noexcept;
  /// By its centroid; `farthest` is that of the clusters that were asked for.
  [[nodiscard]] float farthest_wanted(float farthest) const noexcept;
  [[nodiscard]] ErrorCode list_members() noexcept;
  /// The positions of these clusters' own ranges and addresses, both ascending.
  void merge_ranges(std::span<const std::uint32_t> clusters, std::span<const std::uint32_t> addresses) noexcept;
  void sort_positions() noexcept;
  void add_read(Run run, std::uint64_t offset, std::uint32_t records) noexcept;
  void choose_positions() noexcept;
  void choose_postings() noexcept;
  /// Of the run's read, where the record lies that belongs to `j` of its [first, end).
  [[nodiscard]] std::uint32_t record_of(Run run, std::uint32_t j) const noexcept;
  void absorb_record(std::uint32_t position, const std::byte* record) noexcept;
  [[nodiscard]] std::byte* centroid_state() noexcept { return centroid_state_.front().bytes; }
  [[nodiscard]] std::byte* code_state() noexcept { return code_state_.front().bytes; }

  const ClusterFastPart& part_;
  const ClusterReads& reads_;
  const std::uint64_t most_members_;   // of one cluster
  const std::uint64_t total_members_;  // of all

  ClusterSearchParameters parameters_;
  std::uint32_t gap_bytes_ = 0;
  std::uint32_t excluded_ = 0;  // a position that must not be found, or one that does not exist
  QueryDistance exact_distance_;
  std::vector<CacheLine> centroid_state_;
  std::vector<CacheLine> code_state_;
  HitStorage groups_;
  HitStorage clusters_;
  HitStorage candidates_;
  std::vector<std::uint32_t> positions_;  // to read, ascending, each once
  std::uint32_t position_count_ = 0;
  std::vector<std::uint32_t> addresses_;  // of members in other clusters' ranges, and as much room to sort them
  std::uint32_t next_ = 0;                // of positions_, or of clusters_
  std::uint32_t next_record_ = 0;         // replicated: within a posting
  ExactResults results_;
  Run runs_[rdma::ReadBatch::kMaxReads] = {};
  rdma::ReadBatch batch_;
  Place damaged_;                     // where the last absorb stopped, when it stopped
  std::uint32_t damaged_copies_ = 0;  // of that record: how often it was read and damaged
  rdma::QueryCost cost_;
};

}  // namespace tiervec::cluster_index
