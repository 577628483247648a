#include <tiervec/rdma/device_profile.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace tiervec::rdma {

namespace {

double on_curve(const std::vector<ServicePoint>& points, double bytes, double ns_per_byte_after) {
  if (bytes <= points.front().bytes) {
    return points.front().ns;
  }
  for (std::size_t i = 1; i < points.size(); ++i) {
    const ServicePoint& low = points[i - 1];
    const ServicePoint& high = points[i];
    if (bytes <= high.bytes) {
      return low.ns + (high.ns - low.ns) * (bytes - low.bytes) / (high.bytes - low.bytes);
    }
  }
  return points.back().ns + (bytes - points.back().bytes) * ns_per_byte_after;
}

}  // namespace

double service_ns(const DeviceProfile& profile, double bytes) {
  const double ns_per_byte = 1e9 / profile.bytes_per_s;
  if (!profile.service.empty()) {
    return on_curve(profile.service, bytes, ns_per_byte);
  }
  return std::max(1e9 / profile.reads_per_s, bytes * ns_per_byte);
}

double knee_bytes(const DeviceProfile& profile) {
  return profile.bytes_per_s / profile.reads_per_s;
}

std::uint32_t reads_in_flight(const DeviceProfile& profile) {
  const double reads = std::ceil(profile.reads_per_s * profile.latency_us * 1e-6);
  return static_cast<std::uint32_t>(std::clamp(reads, 1.0, 1e6));
}

double device_bound_qps(const DeviceProfile& profile, double reads_per_query, double bytes_per_query) {
  if (reads_per_query <= 0) {
    return std::numeric_limits<double>::infinity();
  }
  const double block = profile.block_bytes;
  const double bytes = bytes_per_query / reads_per_query;
  const double moved = bytes <= block ? bytes : std::ceil(bytes / block) * block;
  return 1e9 / (reads_per_query * service_ns(profile, moved));
}

double fraction_of_limit(const DeviceProfile& profile, double qps, double reads_per_query, double bytes_per_query) {
  return qps / device_bound_qps(profile, reads_per_query, bytes_per_query);
}

}  // namespace tiervec::rdma
