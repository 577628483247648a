#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include <tiervec/core/status.h>
#include <tiervec/rdma/memory_region.h>
#include <tiervec/rdma/tier.h>

namespace tiervec::rdma {

/// Memory of this process as the target of reads: checks a range, prefetches it, points the view at it.
class LoadStoreTarget {
 public:
  /// `region` has to outlive the target.
  LoadStoreTarget(std::span<const std::byte> region, std::uint32_t max_read_bytes) noexcept
      : data_(region.data()),
        size_bytes_(region.size()),
        longest_read_(std::min<std::uint64_t>(region.size(), max_read_bytes)) {}
  LoadStoreTarget(const MemoryRegion& region, std::uint32_t max_read_bytes) noexcept
      : LoadStoreTarget({region.data(), region.size_bytes()}, max_read_bytes) {}

  /// Sets every view and prefetches, unless the batch says no; kInvalidArgument when a read is empty, too long, or
  /// leaves the region.
  [[nodiscard]] ErrorCode start(ReadBatch& batch) const noexcept {
    for (std::uint32_t i = 0; i < batch.count; ++i) {
      const Read read = batch.reads[i];
      // Written so that no sum can overflow; length - 1 wraps for an empty read.
      if (read.length - std::uint32_t{1} >= longest_read_ || read.offset > size_bytes_ - read.length) [[unlikely]] {
        return ErrorCode::kInvalidArgument;
      }
      const std::byte* view = data_ + read.offset;
      batch.views[i] = view;
      if (batch.prefetch) prefetch(view, read.length);
    }
    return ErrorCode::kOk;
  }

 private:
  static constexpr std::uint32_t kLineBytes = 64;
  static constexpr std::uint32_t kPrefetchedLines = 16;  // about what a core has fill buffers for

  // Always inlined: g++ takes a function that only prefetches for one without effects and drops calls to it.
  [[gnu::always_inline]] static void prefetch(const std::byte* view, std::uint32_t length) noexcept {
    const std::uint32_t within_line = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(view) % kLineBytes);
    const std::uint32_t reach = within_line + length - 1;
    const std::uint32_t last = reach / kLineBytes < kPrefetchedLines ? reach / kLineBytes : kPrefetchedLines - 1;
    const std::byte* line = view - within_line;
    for (std::uint32_t i = 0; i <= last; ++i, line += kLineBytes) {
      __builtin_prefetch(line);
    }
  }

  const std::byte* data_;
  std::uint64_t size_bytes_;
  std::uint64_t longest_read_;
};

}  // namespace tiervec::rdma
