#pragma once

#include <cstddef>
#include <cstdint>

namespace tiervec::rdma {

/// Memory that a memory node lends: zeroed, anonymous, in whole small pages, of which it takes no more than its size
/// needs. From 2 MiB on it is aligned to huge pages and backed by them where the system allows. It stays at one
/// address, because a network card may know it by that.
class NodeMemory {
 public:
  /// With `lock` its pages are brought in and kept in DRAM where the process may lock that much; locked() says whether.
  /// Throws Error: kInvalidArgument for 0 bytes, kResourceExhausted when this machine has not as much available.
  NodeMemory(std::uint64_t size_bytes, bool lock);
  ~NodeMemory();
  NodeMemory(const NodeMemory&) = delete;
  NodeMemory& operator=(const NodeMemory&) = delete;

  [[nodiscard]] std::byte* data() noexcept { return data_; }
  [[nodiscard]] const std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept { return size_bytes_; }
  /// What it takes of the machine's memory once written: the size in whole pages.
  [[nodiscard]] std::uint64_t mapped_bytes() const noexcept { return mapped_bytes_; }
  /// True when the pages cannot be swapped out. False when that was not asked for, or was refused: RLIMIT_MEMLOCK
  /// (`ulimit -l`) is too low.
  [[nodiscard]] bool locked() const noexcept { return locked_; }
  /// True when the kernel took the advice to use huge pages; false where they are switched off, and below 2 MiB.
  [[nodiscard]] bool huge_pages() const noexcept { return huge_pages_; }

 private:
  std::uint64_t size_bytes_;
  std::uint64_t mapped_bytes_;
  std::byte* data_;
  bool locked_ = false;
  bool huge_pages_ = false;
};

}  // namespace tiervec::rdma
