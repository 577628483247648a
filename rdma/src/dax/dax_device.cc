#include <tiervec/rdma/dax_device.h>

#include <algorithm>
#include <bit>

#include <tiervec/core/parse_number.h>
#include <tiervec/core/status.h>
#include <tiervec/core/system_file.h>

namespace tiervec::rdma {

namespace {

template <class T>
T number_of(const std::filesystem::path& path, T absent) {
  return parse_number<T>(read_system_file(path)).value_or(absent);
}

}  // namespace

DaxDevice read_dax_device(const std::filesystem::path& folder) {
  DaxDevice device;
  device.name = folder.filename().string();
  device.size_bytes = number_of<std::uint64_t>(folder / "size", 0);
  device.align_bytes = number_of<std::uint64_t>(folder / "align", 2U << 20U);  // kernels before 5.10 do not tell it
  device.node = number_of<int>(folder / "target_node", -1);
  if (device.size_bytes == 0 || !std::has_single_bit(device.align_bytes)) {
    throw Error(ErrorCode::kUnavailable, "DAX device " + device.name + ": " + folder.string() +
                                             " does not tell its size and alignment; is it enabled?");
  }
  return device;
}

std::vector<DaxDevice> dax_devices(const std::filesystem::path& sysfs) {
  std::vector<DaxDevice> devices;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(sysfs, error)) {
    try {
      devices.push_back(read_dax_device(entry.path()));
    } catch (const Error&) {
      continue;  // disabled, or system memory now
    }
  }
  std::sort(devices.begin(), devices.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return devices;
}

}  // namespace tiervec::rdma
