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
  double patience_s = 1;               // a run without any read back goes on until one comes, this long at most
  std::uint64_t seed = 1;
};

/// Reads/s of all threads together; 0 when no read came back within the patience. Throws as measure_latency_ns does.
double measure_reads_per_s(Tier& tier, const ThroughputRequest& request);

/// Takes measured figures over. Where no read came back the profile keeps its nominal ones, and its note says so.
void take_measured(DeviceProfile& profile, double latency_us, double reads_per_s, double bytes_per_s);

}  // namespace tiervec::rdma
