#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <tiervec/rdma/search_engine.h>

#include "arrays.h"

namespace tiervec::native {

/// Room for the answers of `count` queries, and the dict that a search returns.
struct SearchAnswers {
  SearchAnswers(std::size_t queries, std::size_t wanted)
      : count(queries),
        k(wanted),
        ids(count * k, -1),
        distances(count * k, std::numeric_limits<float>::infinity()),
        costs(count) {}

  /// Takes the arrays.
  nanobind::dict to_dict(const rdma::WorkerTime& time) {
    std::uint64_t reads = 0;
    std::uint64_t rounds = 0;
    std::uint64_t code_distances = 0;
    std::uint64_t bytes = 0;
    std::uint64_t hot_records = 0;
    std::uint64_t rereads = 0;
    std::vector<float> latency(count);
    for (std::size_t i = 0; i < count; ++i) {
      reads += costs[i].reads;
      rounds += costs[i].rounds;
      code_distances += costs[i].code_distances;
      hot_records += costs[i].hot_records;
      rereads += costs[i].rereads;
      bytes += costs[i].bytes;
      latency[i] = costs[i].latency_us;
    }
    nanobind::dict result;
    result["ids"] = to_numpy(std::move(ids), {count, k});
    result["distances"] = to_numpy(std::move(distances), {count, k});
    result["latency_us"] = to_numpy(std::move(latency), {count});
    result["threads"] = time.threads;
    result["threads_refused"] = time.threads_refused;
    result["cpu_us"] = time.cpu_us;
    result["waiting_us"] = time.waiting_us;
    result["reads"] = reads;
    result["rounds"] = rounds;
    result["code_distances"] = code_distances;
    result["bytes_read"] = bytes;
    result["hot_records"] = hot_records;
    result["rereads"] = rereads;
    return result;
  }

  std::size_t count;
  std::size_t k;
  std::vector<std::int64_t> ids;
  std::vector<float> distances;
  std::vector<rdma::QueryCost> costs;
};

}  // namespace tiervec::native
