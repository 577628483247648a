#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include <tiervec/core/status.h>

namespace tiervec::rdma {

/// Where received bytes land and stay while someone looks at them. Bytes are received into one chunk, one behind the
/// other, and handed out in place; a chunk is used again when nobody holds any of it, the one that was used last first,
/// because it is still in the cache.
///
/// There is a chunk for each holder there can be, and one to receive into: it never runs out. That is address space; a
/// page becomes memory when it is first written.
class ReceiveBuffer {
 public:
  /// For `holders` messages of at most `longest_message` bytes. Throws kResourceExhausted.
  ReceiveBuffer(std::size_t longest_message, std::uint32_t holders)
      : chunk_bytes_((longest_message + 4 * kLeastRoom + kPageBytes - 1) / kPageBytes * kPageBytes),
        holders_(holders + std::size_t{1}) {
    void* const memory =
        ::mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      throw Error(ErrorCode::kResourceExhausted,
                  "a queue for " + std::to_string(holders) + " reads needs " + std::to_string(bytes() >> 20U) +
                      " MiB of address space: " + std::generic_category().message(errno));
    }
    memory_ = static_cast<std::byte*>(memory);
    for (std::uint32_t chunk = holders; chunk > 0; --chunk) {
      free_.push_back(chunk);
    }
  }
  ~ReceiveBuffer() { ::munmap(memory_, bytes()); }
  ReceiveBuffer(const ReceiveBuffer&) = delete;
  ReceiveBuffer& operator=(const ReceiveBuffer&) = delete;

  /// What was received and not consumed.
  [[nodiscard]] std::span<const std::byte> arrived() const noexcept { return {chunk() + begin_, end_ - begin_}; }
  void consume(std::size_t bytes) noexcept { begin_ += bytes; }
  void discard_arrived() noexcept { begin_ = end_; }

  /// Keeps what was handed out of the current chunk in place until drop(chunk). Returns the chunk.
  [[nodiscard]] std::uint32_t hold() noexcept {
    ++holders_[current_];
    return current_;
  }
  void drop(std::uint32_t chunk) noexcept {
    if (--holders_[chunk] == 0 && chunk != current_) {
      free_.push_back(chunk);
    }
  }

  /// Room for at least the rest of a message of `message_bytes` that begins with what has arrived.
  [[nodiscard]] std::span<std::byte> room(std::size_t message_bytes) noexcept {
    const std::size_t partial = end_ - begin_;
    const bool too_small = chunk_bytes_ - begin_ < message_bytes;
    const bool cramped = chunk_bytes_ - end_ < kLeastRoom && partial < kLeastRoom;
    if (holders_[current_] == 0 && (partial == 0 || too_small || cramped)) {
      std::memmove(chunk(), chunk() + begin_, partial);
      begin_ = 0;
      end_ = partial;
    } else if (too_small || cramped) {
      const std::byte* const from = chunk() + begin_;
      current_ = free_.back();
      free_.pop_back();
      std::memcpy(chunk(), from, partial);
      begin_ = 0;
      end_ = partial;
    }
    return {chunk() + end_, chunk_bytes_ - end_};
  }
  void add_received(std::size_t bytes) noexcept { end_ += bytes; }

 private:
  static constexpr std::size_t kPageBytes = 4096;
  static constexpr std::size_t kLeastRoom = 32 * 1024;  // a call to receive less is hardly worth it

  [[nodiscard]] std::byte* chunk() const noexcept { return memory_ + current_ * chunk_bytes_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return chunk_bytes_ * holders_.size(); }

  std::size_t chunk_bytes_;
  std::byte* memory_ = nullptr;
  std::vector<std::uint32_t> holders_;  // of each chunk
  std::vector<std::uint32_t> free_;     // never grows beyond its first size
  std::size_t current_ = 0;             // the chunk that is received into
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace tiervec::rdma
