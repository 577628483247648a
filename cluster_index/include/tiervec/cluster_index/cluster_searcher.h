#pragma once

// Search of clusters whose vectors lie in a tier.
//
//   life of a query:
//     navigate  the codes of the centroids give the nearest nprobe clusters
//     collect   coded: scan the codes of these clusters, nearest ones first, and keep the best `rerank` positions;
//               grouped, decoupled: all their members, each once, though several clusters list it
//               replicated: their postings, copies of a vector too; the second copy is dropped when it is absorbed
//     read      neighbouring positions are read together; all reads of a query go out at once (up to a bound)
//     absorb    exact distances decide the result
//
// Many queries run on each worker thread, so the wait for reads is spent on other queries. Two threads can share the
// scans of a query that is alone: one core cannot ask its memory for more.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <tiervec/cluster_index/cluster_navigation.h>
#include <tiervec/cluster_index/cluster_record.h>
#include <tiervec/cluster_index/packed_integers.h>
#include <tiervec/core/codes/code.h>
#include <tiervec/core/dtype.h>
#include <tiervec/core/helper_thread.h>
#include <tiervec/core/process.h>
#include <tiervec/engine/row_filter.h>
#include <tiervec/engine/search_engine.h>
#include <tiervec/rdma/tier.h>

namespace tiervec::cluster_index {

enum class Layout : std::uint8_t { kCoded, kGrouped, kDecoupled, kReplicated };

/// Throws Error(kInvalidArgument) for another name than coded, grouped, decoupled, replicated.
Layout parse_layout(std::string_view name);

struct ClusterSearchParameters {
  static constexpr std::uint32_t kMostRerank = 10'000;  // more than ReadBatch::kMaxReads take further rounds
  static constexpr float kPrune = 0.2F;

  std::uint32_t k = 10;
  std::uint32_t nprobe = 64;  // clusters looked at
  std::uint32_t rerank = 40;  // coded: vectors read; 1 to kMostRerank
  // coded: a cluster is skipped when its centroid is farther than the worst kept estimate by this share, and by half of
  // what the farthest of the nprobe clusters is; 0, or nprobe of all clusters: none is
  float prune = kPrune;
  bool pipeline = true;                              // false: one query at a time
  std::optional<std::uint32_t> coalesce_bytes = {};  // gaps up to this are read through; none: the device's knee
  bool split = false;                                // coded: two threads share the work of a query that is alone
};

struct ClusterSearchRequest {
  const std::byte* queries = nullptr;  // count x dim of query_dtype
  std::uint32_t count = 0;
  ClusterSearchParameters parameters;
  const engine::RowFilter* filter = nullptr;  // positions that may be found; null: all
  const std::int64_t* exclude = nullptr;      // one position per query that must not be found, or -1; null: none
  std::int64_t* ids = nullptr;                // count x k
  float* distances = nullptr;                 // count x k
  engine::QueryCost* costs = nullptr;         // count
  unsigned threads = 1;
  const engine::CancelToken* cancel = nullptr;
  Ticks deadline = kNever;
};

/// Everything in fast memory that a search needs. Packed integers and code blocks are borrowed.
struct ClusterFastPart {
  std::uint32_t count = 0;  // vectors
  std::uint32_t dim = 0;
  Dtype dtype = Dtype::kFloat32;
  Metric metric = Metric::kL2;
  Layout layout = Layout::kCoded;
  std::uint64_t salt = 0;                      // of the checks of the records
  PackedIntegers ids;                          // label of each position
  std::vector<std::uint32_t> cluster_offsets;  // first own position of each cluster, and the end
  std::vector<std::uint32_t> cluster_places;   // grouped: where each cluster is in cluster_offsets and posting_offsets
  ClusterNavigation navigation;
  std::shared_ptr<const codes::Code> code;     // coded
  const std::uint8_t* code_blocks = nullptr;   // coded: 64-byte aligned; spilled codes begin at a block of their own
  std::vector<std::uint32_t> spill_offsets;    // coded with spill: first spilled code of each cluster, and the end
  PackedIntegers spill_positions;              // coded with spill: whose code it is
  std::vector<std::uint64_t> posting_offsets;  // grouped, decoupled: into addresses; replicated: bytes on the tier
  PackedIntegers addresses;                    // grouped, decoupled: positions
  std::vector<std::uint32_t> posting_counts;   // replicated: records of each posting

  [[nodiscard]] ClusterRecord record() const noexcept {
    return {.vector_bytes = dim * static_cast<std::uint32_t>(element_bytes(dtype)),
            .has_position = layout == Layout::kReplicated,
            .salt = salt};
  }
  /// Row of the first spilled code in code_blocks.
  [[nodiscard]] std::uint32_t first_spilled_row() const noexcept {
    return (count + codes::kBlockRows - 1) / codes::kBlockRows * codes::kBlockRows;
  }
};

class ClusterSearcher {
 public:
  /// Throws Error(kDataLoss) when the parts do not fit together or the tier's region.
  ClusterSearcher(std::shared_ptr<rdma::Tier> tier, ClusterFastPart part);
  ~ClusterSearcher();

  /// Answers all queries of the request. Returns what time its workers took. Throws the first
  /// query's error after everything in flight has come back. Thread-safe.
  engine::WorkerTime search(const ClusterSearchRequest& request);

  /// The same for a caller that does not wait; what the request points to, and the searcher, must outlive the search.
  /// No second thread shares the work of a query. `listener` hears of the end with the ticket. Null: it is answered
  /// already, at no cost, and the listener is not told. Throws kResourceExhausted at once when too many searches wait
  /// or there is no thread.
  std::unique_ptr<engine::PendingSearch> submit(const ClusterSearchRequest& request,
                                                std::shared_ptr<engine::SearchListener> listener, std::uint64_t ticket);

  /// How a search with these parameters finds the positions that the filter admits.
  [[nodiscard]] engine::FilterPlan plan(const engine::RowFilter& filter,
                                        const ClusterSearchParameters& parameters) const noexcept;

  [[nodiscard]] std::uint64_t fast_bytes() const noexcept;
  [[nodiscard]] std::uint32_t dim() const noexcept { return part_.dim; }
  [[nodiscard]] Dtype query_dtype() const noexcept { return tiervec::query_dtype(part_.dtype); }

 private:
  struct Context;
  struct Start;

  /// How the request is answered; false: with nothing.
  [[nodiscard]] bool prepare(const ClusterSearchRequest& request, engine::SearchCall& call, Start& start) const;
  /// Rows that a search without a filter looks at.
  [[nodiscard]] double usual_rows(std::uint32_t nprobe) const noexcept;
  /// Matching rows that a query looks at, or more clusters are probed.
  [[nodiscard]] std::uint32_t wanted_rows(const engine::RowFilter& filter,
                                          const ClusterSearchParameters& parameters) const noexcept;
  /// The helper when this search may use it and there is one, else null. `others` searches run beside it.
  [[nodiscard]] HelperThread* helper_for(const ClusterSearchRequest& request, unsigned others);

  std::shared_ptr<rdma::Tier> tier_;
  ClusterFastPart part_;
  engine::SearchEngine<Context> engine_;
  /// A lone search has a second thread, which is this process's.
  struct Lone {
    std::atomic<unsigned> searches{0};  // that run
    std::unique_ptr<HelperThread> thread;
  };
  PerProcess<Lone> lone_;
};

}  // namespace tiervec::cluster_index
