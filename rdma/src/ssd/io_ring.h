#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "io_uring_abi.h"

namespace tiervec::rdma::ssd {

/// A pair of rings shared with the kernel: entries go in, completions come out. One thread.
class IoRing {
 public:
  IoRing() = default;
  IoRing(const IoRing&) = delete;
  IoRing& operator=(const IoRing&) = delete;
  /// Reads that are with the device go on; the kernel holds the pages they go to until they have landed.
  ~IoRing() { close(); }

  /// Room for at least so many entries. 0, or the errno with which the kernel refuses.
  [[nodiscard]] int open(std::uint32_t entries) noexcept;
  /// Files and buffers that entries may name by number. 0, or an errno.
  [[nodiscard]] int register_file(int descriptor) noexcept;
  [[nodiscard]] int register_buffer(std::span<std::byte> buffer) noexcept;

  /// A zeroed entry that the next submit() hands over; null when all are in use.
  [[nodiscard]] abi::SubmissionEntry* next_entry() noexcept;
  /// Entries that the kernel has not taken yet.
  [[nodiscard]] std::uint32_t unsubmitted() const noexcept;
  /// Hands over what was added. What the kernel does not take stays, for the next time.
  void submit() noexcept;
  /// Blocks until a completion is there, at most for so long. False when this kernel cannot wait for a limited time.
  bool wait(std::chrono::nanoseconds at_most) noexcept;
  /// Takes completions, never blocks; returns how many.
  std::size_t take(std::span<abi::Completion> completions) noexcept;

 private:
  struct Map {
    std::byte* data = nullptr;
    std::size_t bytes = 0;
  };

  [[nodiscard]] int setup(std::uint32_t entries, std::uint32_t flags) noexcept;
  [[nodiscard]] int map_rings() noexcept;
  [[nodiscard]] int map(Map& map, std::size_t bytes, std::uint64_t what) const noexcept;
  [[nodiscard]] std::uint32_t completed() const noexcept;
  void close() noexcept;

  int descriptor_ = -1;
  abi::Parameters parameters_{};
  Map submission_map_;
  Map completion_map_;  // empty when it is part of the other
  Map entry_map_;

  // Words shared with the kernel: it moves the head of the submissions and the tail of the completions.
  std::uint32_t* submission_head_ = nullptr;
  std::uint32_t* submission_tail_ = nullptr;
  std::uint32_t* submission_flags_ = nullptr;
  std::uint32_t* completion_head_ = nullptr;
  std::uint32_t* completion_tail_ = nullptr;
  abi::SubmissionEntry* entries_ = nullptr;
  const abi::Completion* completions_ = nullptr;
  std::uint32_t submission_mask_ = 0;
  std::uint32_t completion_mask_ = 0;
  std::uint32_t next_ = 0;  // entries handed out since it was opened
};

}  // namespace tiervec::rdma::ssd
