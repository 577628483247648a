#include "numa_memory.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <vector>

#include <tiervec/core/status.h>

namespace tiervec::rdma {

namespace {

constexpr std::uint64_t kMostPagesLookedAt = 1U << 20U;
constexpr std::size_t kPagesPerCall = 1024;
constexpr unsigned kMaskBits = 8 * sizeof(unsigned long);

[[noreturn]] void refuse(int number, unsigned node, const std::string& what) {
  const std::string reason = std::generic_category().message(number);
  if (number == EINVAL) {
    throw Error(ErrorCode::kInvalidArgument,
                what + " cannot be placed on NUMA node " + std::to_string(node) +
                    ": this process may not use its memory, or it has none (see Mems_allowed in /proc/self/status)");
  }
  throw Error(ErrorCode::kUnsupported, what + " cannot be placed on NUMA node " + std::to_string(node) + ": " + reason +
                                           (number == EPERM ? " (a container needs the capability SYS_NICE)" : ""));
}

}  // namespace

void place_on_node(std::span<std::byte> memory, unsigned node, const std::string& what) {
  std::vector<unsigned long> mask(node / kMaskBits + 1);
  mask[node / kMaskBits] = 1UL << (node % kMaskBits);
  // The kernel takes one bit less than it is told.
  const unsigned long bits = mask.size() * kMaskBits + 1;
  if (::syscall(SYS_mbind, memory.data(), memory.size(), MPOL_PREFERRED, mask.data(), bits, 0) != 0) {
    refuse(errno, node, what);
  }
}

PageCount count_pages_elsewhere(std::span<const std::byte> memory, unsigned node) {
  const auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t pages = (memory.size() + page_bytes - 1) / page_bytes;
  const std::uint64_t step = (pages + kMostPagesLookedAt - 1) / kMostPagesLookedAt;
  PageCount count;
  std::array<const void*, kPagesPerCall> addresses{};
  std::array<int, kPagesPerCall> places{};
  for (std::uint64_t page = 0; page < pages;) {
    std::size_t asked = 0;
    for (; asked < kPagesPerCall && page < pages; page += step) {
      addresses[asked++] = memory.data() + page * page_bytes;
    }
    // Without a list of target nodes it only says where each page is, or a negative error for one that is not there.
    if (::syscall(SYS_move_pages, 0, asked, addresses.data(), nullptr, places.data(), 0) != 0) {
      return {};
    }
    const auto end = places.begin() + static_cast<std::ptrdiff_t>(asked);
    count.looked_at += static_cast<std::uint64_t>(std::count_if(places.begin(), end, [](int at) { return at >= 0; }));
    count.elsewhere += static_cast<std::uint64_t>(
        std::count_if(places.begin(), end, [&](int at) { return at >= 0 && at != static_cast<int>(node); }));
  }
  return count;
}

}  // namespace tiervec::rdma
