#pragma once

// Search of a graph whose records lie in a tier and whose codes lie in fast memory.
//
//   life of a query:  prepare the code's table - descend the navigation sample - then rounds:
//     choose   the nearest candidates not yet expanded (by code), one to beam_width of them, and read their records
//     absorb   exact distances of the vectors that arrived go to the results (the re-rank is free); neighbours not met
//              before are noted and their codes prefetched; the query yields
//     score    code distances of the new neighbours into the candidate list
//   until the list has nothing to expand, or nothing within stop_margin of the k-th exact distance.
//
// With a filter that admits few vertices, all of these are scored by their codes, and the nearest are read. With one
// that admits many the list is longer: what is not admitted only shows the way.
//
// Many queries run on each worker thread, so both waits (for records, for codes) are spent on other queries.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <tiervec/core/codes/code.h>
#include <tiervec/engine/row_filter.h>
#include <tiervec/engine/search_engine.h>
#include <tiervec/engine/worker.h>
#include <tiervec/graph_index/hot_set.h>
#include <tiervec/graph_index/navigation_sample.h>
#include <tiervec/graph_index/record_layout.h>
#include <tiervec/graph_index/record_locator.h>
#include <tiervec/rdma/tier.h>

namespace tiervec::graph_index {

struct SearchParameters {
  static constexpr std::uint32_t kWidestBeam = 32;

  std::uint32_t k = 10;
  std::uint32_t search_list = 64;  // candidates kept
  std::uint32_t beam_width = 1;    // most reads of one round; 1 to kWidestBeam
  float stop_margin = 0;           // 0: until the list is expanded; else the relative margin behind the k-th result
  bool pipeline = true;            // false: one query at a time, one read at a time
};

using engine::queries_in_flight;
using engine::QueryCost;

struct SearchRequest {
  const std::byte* queries = nullptr;  // count x dim of query_dtype
  std::uint32_t count = 0;
  SearchParameters parameters;
  const engine::RowFilter* filter = nullptr;         // vertices that may be found; null: all
  std::int64_t* ids = nullptr;                       // count x k
  float* distances = nullptr;                        // count x k
  QueryCost* costs = nullptr;                        // count
  std::atomic<std::uint32_t>* expansions = nullptr;  // per vertex: how often it was expanded; null: not counted
  unsigned threads = 1;
  const engine::CancelToken* cancel = nullptr;
  Ticks deadline = kNever;
};

/// Everything in fast memory that a search needs.
struct GraphFastPart {
  std::uint32_t count = 0;
  Metric metric = Metric::kL2;
  RecordLayout layout;
  std::vector<LocatorGroup> locator;
  NavigationSample navigation;
  std::shared_ptr<const codes::Code> code;
  const std::uint8_t* rows = nullptr;  // borrowed: count x code->row_bytes(), best 64-byte aligned in huge pages
};

class GraphSearcher {
 public:
  /// Throws Error(kDataLoss) when the parts do not fit together or the tier's region.
  GraphSearcher(std::shared_ptr<rdma::Tier> tier, GraphFastPart part);
  ~GraphSearcher();

  /// Answers all queries of the request. Returns what time its workers took. Throws the first
  /// query's error after everything in flight has come back. Thread-safe.
  engine::WorkerTime search(const SearchRequest& request);

  /// The same for a caller that does not wait; what the request points to, and the searcher, must outlive the search.
  /// `listener` hears of the end with the ticket. Null: it is answered already, at no cost, and the listener is not
  /// told. Throws kResourceExhausted at once when too many searches wait or there is no thread.
  std::unique_ptr<engine::PendingSearch> submit(const SearchRequest& request,
                                                std::shared_ptr<engine::SearchListener> listener, std::uint64_t ticket);

  /// How a search with these parameters finds the vertices that the filter admits.
  [[nodiscard]] engine::FilterPlan plan(const engine::RowFilter& filter,
                                        const SearchParameters& parameters) const noexcept;

  /// Fills the hot set within `budget_bytes`: reads some records, searches for their vectors, and keeps the records
  /// that these searches expanded most. Before any other search. Returns how many records are hot.
  std::uint32_t fill_hot_set(std::uint64_t budget_bytes, unsigned threads, const engine::CancelToken* cancel);

  [[nodiscard]] std::uint64_t fast_bytes() const noexcept;
  [[nodiscard]] std::uint32_t dim() const noexcept { return part_.layout.dim; }
  [[nodiscard]] Dtype query_dtype() const noexcept { return tiervec::query_dtype(part_.layout.dtype); }

 private:
  struct Context;
  struct Start;

  /// How the request is answered; false: with nothing.
  [[nodiscard]] bool prepare(const SearchRequest& request, engine::SearchCall& call, Start& start) const;
  void read_records(std::span<const std::uint32_t> vertices, std::span<std::byte* const> to,
                    const engine::CancelToken* cancel);
  std::vector<std::uint32_t> most_expanded(std::uint64_t budget_bytes, unsigned threads,
                                           const engine::CancelToken* cancel);

  std::shared_ptr<rdma::Tier> tier_;
  GraphFastPart part_;
  RecordLocator locator_;
  bool verify_records_;
  HotSet hot_;
  engine::SearchEngine<Context> engine_;
};

}  // namespace tiervec::graph_index
