#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tiervec::rdma {

/// How long a read of `bytes` occupies the device: 1e9 / ns such reads a second.
struct ServicePoint {
  double bytes = 0;
  double ns = 0;
};

/// What a device can do. Little's law on it gives the number of reads in flight.
struct DeviceProfile {
  double latency_us = 0;           // one small read, nothing else in flight
  double reads_per_s = 0;          // small reads
  double bytes_per_s = 0;          // large reads
  std::uint32_t block_bytes = 64;  // the unit the device moves: a read costs whole blocks
  bool emulated = false;           // every figure that comes from this tier must be called emulated
  std::string source = "nominal";  // measured, published, given (in the URL), or nominal: typical, not of this machine

  /// Where service time is known more closely, by ascending bytes: linear between points, constant before the first,
  /// 1 / bytes_per_s a byte after the last. Empty: the larger of 1 / reads_per_s and bytes / bytes_per_s.
  std::vector<ServicePoint> service = {};

  std::string note = {};  // a sentence about this very device that its figures do not tell; mostly empty
};

/// How long a read that moves `bytes` occupies the device, in nanoseconds.
double service_ns(const DeviceProfile& profile, double bytes);

/// The read size from which a bigger read costs more: bytes/s over reads/s.
double knee_bytes(const DeviceProfile& profile);

/// Reads to keep in flight so that the device never runs dry: reads/s times latency, at least 1.
std::uint32_t reads_in_flight(const DeviceProfile& profile);

/// Queries/s at which the device is busy all the time: no engine can do more on it. Reads count as whole blocks and as
/// well aligned. +inf when a query reads nothing.
double device_bound_qps(const DeviceProfile& profile, double reads_per_query, double bytes_per_query);

/// Share of the device's time that `qps` such queries take; 1 is device-bound. 0 when a query reads nothing.
double fraction_of_limit(const DeviceProfile& profile, double qps, double reads_per_query, double bytes_per_query);

}  // namespace tiervec::rdma
