#pragma once

#include <cstddef>
#include <cstdint>

#include <tiervec/core/huge_buffer.h>

namespace tiervec::rdma {

/// Memory that a memory node lends: zeroed, anonymous, aligned to huge pages and backed by them where the system
/// allows. It stays at one address, because a network card may know it by that.
class NodeMemory {
 public:
  /// With `lock` its pages are brought in and kept in DRAM where the process may lock that much; locked() says whether.
  /// Throws Error: kInvalidArgument for 0 bytes, kResourceExhausted when this machine has not as much available.
  NodeMemory(std::uint64_t size_bytes, bool lock);
  NodeMemory(const NodeMemory&) = delete;
  NodeMemory& operator=(const NodeMemory&) = delete;

  [[nodiscard]] std::byte* data() noexcept { return buffer_.as<std::byte>(); }
  [[nodiscard]] const std::byte* data() const noexcept { return buffer_.as<std::byte>(); }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept { return size_bytes_; }
  /// True when the pages cannot be swapped out. False when that was not asked for, or was refused: RLIMIT_MEMLOCK
  /// (`ulimit -l`) is too low.
  [[nodiscard]] bool locked() const noexcept { return locked_; }
  /// True when the kernel took the advice to use huge pages; false where they are switched off.
  [[nodiscard]] bool huge_pages() const noexcept { return huge_pages_; }

 private:
  std::uint64_t size_bytes_;
  HugeBuffer buffer_;
  bool locked_ = false;
  bool huge_pages_ = false;
};

}  // namespace tiervec::rdma
