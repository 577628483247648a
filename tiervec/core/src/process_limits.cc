#include <tiervec/core/process_limits.h>

#include <sched.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>

#include <tiervec/core/parse_number.h>
#include <tiervec/core/system_file.h>

#include "control_groups.h"

namespace tiervec {

namespace {

/// The value of `key` in lines of keys and numbers, such as /proc/meminfo and memory.stat; 0 when it is not there.
std::uint64_t value_of(std::string_view lines, std::string_view key) {
  while (!lines.empty()) {
    std::string_view line = take_line(lines);
    if (take_word(line) == key) return take_number<std::uint64_t>(line).value_or(0);
  }
  return 0;
}

std::optional<std::uint64_t> bytes_in(const std::filesystem::path& path) {
  return parse_number<std::uint64_t>(read_system_file(path));  // "max" is no number: no limit
}

/// Bytes of a group's use that the kernel reclaims before it refuses more: file pages and caches. Memory of
/// tmpfs and locked pages are not among them.
std::uint64_t reclaimable_bytes(const ControlGroup& group) {
  const std::string stat = read_system_file(group.folder / "memory.stat");
  if (group.version == 1) return value_of(stat, "total_inactive_file") + value_of(stat, "total_active_file");
  return value_of(stat, "inactive_file") + value_of(stat, "active_file") + value_of(stat, "slab_reclaimable");
}

struct LimitFile {
  int version;
  const char* limit;
  const char* used;
};
constexpr std::array<LimitFile, 3> kLimitFiles = {{
    {2, "memory.max", "memory.current"},
    {2, "memory.high", "memory.current"},  // beyond it the process is slowed down until it hardly runs
    {1, "memory.limit_in_bytes", "memory.usage_in_bytes"},
}};

void limit_to_group(const ControlGroup& group, AvailableMemory& available) {
  for (const LimitFile& file : kLimitFiles) {
    if (file.version != group.version) continue;
    const auto limit = bytes_in(group.folder / file.limit);
    const auto used = bytes_in(group.folder / file.used);
    if (!limit || !used) continue;
    const std::uint64_t held = *used - std::min(*used, reclaimable_bytes(group));
    const std::uint64_t room = *limit - std::min(*limit, held);
    if (room < available.bytes) available = {room, group.name + "/" + file.limit};
  }
}

unsigned allowed_cpus() {
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 2) {  // the kernel refuses a set that is smaller than its own
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(cpus), [](cpu_set_t* old) { CPU_FREE(old); });
    if (!set) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(cpus);
    if (::sched_getaffinity(0, bytes, set.get()) == 0) return static_cast<unsigned>(CPU_COUNT_S(bytes, set.get()));
    if (errno != EINVAL) break;
  }
  return std::max(1U, std::thread::hardware_concurrency());
}

/// The CPUs that a group may use all the time, and the file that says it.
std::optional<CpuLimit> quota_of(const ControlGroup& group) {
  const char* const file = group.version == 2 ? "cpu.max" : "cpu.cfs_quota_us";
  std::string text = read_system_file(group.folder / file);
  if (group.version == 1) text += " " + read_system_file(group.folder / "cpu.cfs_period_us");
  std::string_view rest = text;
  const auto quota_us = take_number<std::int64_t>(rest);  // "max" and -1: none
  const auto period_us = take_number<std::int64_t>(rest);
  if (!quota_us || !period_us || *quota_us <= 0 || *period_us <= 0) return std::nullopt;
  CpuLimit limit;
  limit.quota_cpus = static_cast<double>(*quota_us) / static_cast<double>(*period_us);
  limit.quota_source = group.name + "/" + file;
  return limit;
}

}  // namespace

AvailableMemory available_memory(const std::filesystem::path& root) {
  AvailableMemory available;
  if (const auto kib = value_of(read_system_file(root / "proc/meminfo"), "MemAvailable:"); kib != 0) {
    available = {kib * 1024, "/proc/meminfo"};
  }
  for (const ControlGroup& group : control_groups(root, "memory")) limit_to_group(group, available);
  return available;
}

std::uint64_t available_memory_bytes() {
  return available_memory().bytes;
}

unsigned CpuLimit::threads() const noexcept {
  const unsigned allowed = std::max(1U, allowed_cpus);
  if (quota_cpus <= 0 || quota_cpus >= allowed) return allowed;
  return std::max(1U, static_cast<unsigned>(std::ceil(quota_cpus)));
}

CpuLimit cpu_limit(const std::filesystem::path& root) {
  CpuLimit limit;
  limit.allowed_cpus = allowed_cpus();
  for (const ControlGroup& group : control_groups(root, "cpu")) {
    if (const auto found = quota_of(group); found && (limit.quota_cpus == 0 || found->quota_cpus < limit.quota_cpus)) {
      limit.quota_cpus = found->quota_cpus;
      limit.quota_source = found->quota_source;
    }
  }
  return limit;
}

}  // namespace tiervec
