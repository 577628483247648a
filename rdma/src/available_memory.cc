#include <tiervec/rdma/available_memory.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace tiervec::rdma {

namespace {

constexpr std::uint64_t kUnknown = std::numeric_limits<std::uint64_t>::max();

std::uint64_t kernel_estimate() {
  std::ifstream meminfo("/proc/meminfo");
  std::string key;
  std::uint64_t kib = 0;
  std::string unit;
  while (meminfo >> key >> kib) {
    std::getline(meminfo, unit);
    if (key == "MemAvailable:") {
      return kib * 1024;
    }
  }
  return kUnknown;
}

// Version 2 control groups, the one this process is in. "max" does not parse as a number: no limit.
std::uint64_t control_group_room() {
  std::ifstream membership("/proc/self/cgroup");
  std::string line;
  while (std::getline(membership, line)) {
    if (line.rfind("0::", 0) != 0) {
      continue;
    }
    const std::string directory = "/sys/fs/cgroup" + line.substr(3);
    std::uint64_t limit = 0;
    std::uint64_t used = 0;
    if (std::ifstream(directory + "/memory.max") >> limit && std::ifstream(directory + "/memory.current") >> used) {
      return limit > used ? limit - used : 0;
    }
  }
  return kUnknown;
}

}  // namespace

std::uint64_t available_memory_bytes() {
  return std::min(kernel_estimate(), control_group_room());
}

}  // namespace tiervec::rdma
