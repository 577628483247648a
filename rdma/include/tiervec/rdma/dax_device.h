#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace tiervec::rdma {

/// A device-DAX character device, as the kernel describes it.
struct DaxDevice {
  std::string name;  // "dax0.0"
  std::uint64_t size_bytes = 0;
  std::uint64_t align_bytes = 0;  // of every mapping
  int node = -1;                  // NUMA node of its memory, -1: none
};

/// The devices that there are, by name.
std::vector<DaxDevice> dax_devices(const std::filesystem::path& sysfs = "/sys/bus/dax/devices");

/// Reads the folder of one device. Throws Error(kUnavailable) when it does not tell a size and an alignment.
DaxDevice read_dax_device(const std::filesystem::path& folder);

}  // namespace tiervec::rdma
