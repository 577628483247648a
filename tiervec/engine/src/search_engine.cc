#include <tiervec/engine/search_engine.h>

#include <algorithm>
#include <cmath>
#include <ctime>

namespace tiervec::engine {
namespace {

constexpr std::uint32_t kFewestInFlight = 8;  // also hides the latency of this machine's own memory
constexpr std::uint32_t kMostInFlight = 128;
constexpr double kWorkPerReadUs = 0.4;  // CPU time that a read is good for, on the fast side
constexpr std::uint32_t kDiskBlockBytes = 4096;
constexpr std::uint32_t kDiskReads = 160;  // of all threads of a search together

}  // namespace

std::uint32_t queries_in_flight(const rdma::DeviceProfile& profile) noexcept {
  const double covered = std::ceil(profile.latency_us / kWorkPerReadUs) + 2;
  return static_cast<std::uint32_t>(
      std::clamp(covered, static_cast<double>(kFewestInFlight), static_cast<double>(kMostInFlight)));
}

std::uint32_t queries_in_flight(const rdma::DeviceProfile& profile, unsigned threads,
                                std::uint32_t reads_per_round) noexcept {
  const std::uint32_t most = queries_in_flight(profile);
  if (profile.block_bytes < kDiskBlockBytes) return most;
  const std::uint64_t reads = std::max(kDiskReads, 2 * reads_in_flight(profile));
  const std::uint64_t at_once = std::uint64_t{std::max(1U, threads)} * std::max(1U, reads_per_round);
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>((reads + at_once - 1) / at_once, kFewestInFlight, most));
}

double thread_cpu_us() noexcept {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) * 1e-3;
}

std::string describe_search_error(ErrorCode error, const std::string& url) {
  switch (error) {
    case ErrorCode::kCancelled:
      return "search stopped by request";
    case ErrorCode::kDeadlineExceeded:
      return "search on " + url + " did not finish within its deadline";
    case ErrorCode::kDataLoss:
      return "a record read from " + url + " is not what was written there; run tiervec verify";
    default:
      return "reading records from " + url + " failed: " + error_code_name(error);
  }
}

}  // namespace tiervec::engine
