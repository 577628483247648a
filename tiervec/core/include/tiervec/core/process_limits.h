#pragma once

// What this process may use of the machine: memory that is still available, and CPU time. Control groups of version 1
// and 2 count, each at every level from the process's own group up to the mount. The one place that asks; everybody
// else calls these functions or resolve_threads().

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>

namespace tiervec {

struct AvailableMemory {
  static constexpr std::uint64_t kUnknown = std::numeric_limits<std::uint64_t>::max();

  std::uint64_t bytes = kUnknown;
  std::string source;  // the file that sets the limit; empty when nothing is known
};

/// Bytes this process can still use without swapping: the kernel's estimate, or less where a control group has less
/// room. Page cache that the kernel can take back is available. `root` holds proc and sys; tests bring their own.
AvailableMemory available_memory(const std::filesystem::path& root = "/");

/// available_memory().bytes
std::uint64_t available_memory_bytes();

struct CpuLimit {
  unsigned allowed_cpus = 1;  // by affinity: taskset, cpusets
  double quota_cpus = 0;      // CPU time for each time that passes, the least of all levels; 0: no quota
  std::string quota_source;   // the file that sets the quota; empty: none

  /// The lesser of both, a started CPU counts: what `threads=0` means. At least 1.
  [[nodiscard]] unsigned threads() const noexcept;
};

CpuLimit cpu_limit(const std::filesystem::path& root = "/");

}  // namespace tiervec
