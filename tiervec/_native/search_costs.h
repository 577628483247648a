#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

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

  std::size_t count;
  std::size_t k;
  std::vector<std::int64_t> ids;
  std::vector<float> distances;
  std::vector<engine::QueryCost> costs;
};

}  // namespace tiervec::native
