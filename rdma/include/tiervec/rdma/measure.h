#pragma once

// Loops that measure a tier as it is: raw queue, random offsets, every cache line of every read loaded.

#include <cstdint>
#include <vector>

#include <tiervec/rdma/tier.h>

namespace tiervec::rdma {

/// One read at a time, from submit until its bytes are loaded. Returns each read's time in nanoseconds, ascending, the
/// clock's own cost taken off. Throws the tier's error, kInvalidArgument when the region is smaller than a read.
std::vector<double> measure_latency_ns(Tier& tier, std::uint32_t read_bytes, std::uint32_t reads, std::uint64_t seed);

struct ThroughputRequest {
  std::uint32_t read_bytes = 64;
  std::uint32_t threads = 1;
  std::uint32_t reads_in_flight = 64;  // per thread
  double seconds = 0.05;               // of measurement, after a fifth of it as warm-up
  std::uint64_t seed = 1;
};

/// Reads/s of all threads together. Throws as measure_latency_ns does.
double measure_reads_per_s(Tier& tier, const ThroughputRequest& request);

}  // namespace tiervec::rdma
