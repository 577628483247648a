#pragma once

#include <nanobind/nanobind.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <tiervec/core/tick_clock.h>
#include <tiervec/engine/ended_searches.h>
#include <tiervec/engine/search_engine.h>

#include "arrays.h"

namespace tiervec::native {

/// What a native search returns, in order.
inline constexpr const char* kSearchResultFields[] = {
    "ids",   "distances", "latency_us",     "threads",    "threads_refused", "cpu_us",  "waiting_us",
    "reads", "rounds",    "code_distances", "bytes_read", "hot_records",     "rereads", "rescans"};

/// Room for the answers of `count` queries, and the tuple that a search returns.
struct SearchAnswers {
  SearchAnswers(std::size_t queries, std::size_t wanted)
      : count(queries),
        k(wanted),
        ids(count * k, -1),
        distances(count * k, std::numeric_limits<float>::infinity()),
        costs(count) {}

  /// Takes the arrays. A tuple, because making a dict of 14 takes a tenth of the fixed cost of a call.
  nanobind::tuple to_tuple(const engine::WorkerTime& time) {
    std::uint64_t reads = 0;
    std::uint64_t rounds = 0;
    std::uint64_t code_distances = 0;
    std::uint64_t bytes = 0;
    std::uint64_t hot_records = 0;
    std::uint64_t rereads = 0;
    std::uint64_t rescans = 0;
    std::vector<float> latency(count);
    for (std::size_t i = 0; i < count; ++i) {
      reads += costs[i].reads;
      rounds += costs[i].rounds;
      code_distances += costs[i].code_distances;
      hot_records += costs[i].hot_records;
      rereads += costs[i].rereads;
      rescans += costs[i].rescans;
      bytes += costs[i].bytes;
      latency[i] = costs[i].latency_us;
    }
    return nanobind::make_tuple(to_numpy(std::move(ids), {count, k}), to_numpy(std::move(distances), {count, k}),
                                to_numpy(std::move(latency), {count}), time.threads, time.threads_refused, time.cpu_us,
                                time.waiting_us, reads, rounds, code_distances, bytes, hot_records, rereads, rescans);
  }

  /// Where a request of either kind puts its answers.
  template <class Request>
  void give_to(Request& request) noexcept {
    request.ids = ids.data();
    request.distances = distances.data();
    request.costs = costs.data();
  }

  std::size_t count;
  std::size_t k;
  std::vector<std::int64_t> ids;
  std::vector<float> distances;
  std::vector<engine::QueryCost> costs;
};

/// A search that workers answer meanwhile, and the room for its answers. The binding that makes it keeps alive what the
/// search uses.
class PendingAnswers {
 public:
  PendingAnswers(std::size_t queries, std::size_t k) : answers(queries, k) {}
  ~PendingAnswers() {
    if (search == nullptr) return;
    if (!search->here()) {  // workers of the parent's write there
      [[maybe_unused]] const auto* const left = new SearchAnswers(std::move(answers));
      search.reset();
      return;
    }
    const nanobind::gil_scoped_release release;
    search.reset();
  }
  PendingAnswers(const PendingAnswers&) = delete;
  PendingAnswers& operator=(const PendingAnswers&) = delete;

  [[nodiscard]] bool is_answered_at_once() const noexcept { return search == nullptr; }
  void cancel() const noexcept {
    if (search) search->cancel();
  }
  void expire() const noexcept {
    if (search) search->expire();
  }
  [[nodiscard]] bool wait(double limit_s) const {
    if (search == nullptr) return true;
    const nanobind::gil_scoped_release release;
    return search->wait_for(std::chrono::nanoseconds(static_cast<std::int64_t>(limit_s * 1e9)));
  }
  /// Once.
  nanobind::tuple result() {
    engine::WorkerTime time{.threads = 1};
    if (search) {
      const nanobind::gil_scoped_release release;
      time = search->finish();
    }
    return answers.to_tuple(time);
  }

  SearchAnswers answers;
  std::unique_ptr<engine::PendingSearch> search;  // null: answered at once
};

/// Submits a request of either kind whose answers are to go where `pending` has room.
template <class Searcher, class Request>
std::unique_ptr<PendingAnswers> submitted(Searcher& searcher, Request& request, std::optional<double> timeout_s,
                                          std::uint32_t k, const std::shared_ptr<engine::EndedSearches>& ended,
                                          std::uint64_t ticket) {
  auto pending = std::make_unique<PendingAnswers>(request.count, k);
  pending->answers.give_to(request);
  const nanobind::gil_scoped_release release;
  if (timeout_s) {
    request.deadline = TickClock::after(std::chrono::nanoseconds(static_cast<std::int64_t>(*timeout_s * 1e9)));
  }
  if (ended) ended->expect();
  try {
    pending->search = searcher.submit(request, ended, ticket);
  } catch (...) {
    if (ended) ended->unexpect();
    throw;
  }
  if (ended && pending->search == nullptr) ended->unexpect();
  return pending;
}

}  // namespace tiervec::native
