#pragma once

#include <sys/uio.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "../tcp/socket.h"
#include "../tcp/wire.h"
#include "region_table.h"

namespace tiervec::rdma {

/// What the connections of one loop add up to. Written by its thread only, read by any.
struct ServerCounters {
  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> bytes{0};
  std::atomic<std::uint64_t> refused{0};
  std::atomic<std::uint64_t> dropped{0};
};

/// The memory node's end of a connection: a hello, then requests, each answered in turn.
///
/// Holds at most kInputBytes of requests and one gathered reply: short reads are copied into it, long ones are sent
/// from where they lie. While the client does not take the reply, nothing more is read from it.
class ClientConnection {
 public:
  using Time = std::chrono::steady_clock::time_point;

  ClientConnection(Descriptor socket, const RegionTable& regions, ServerCounters& counters, Time now);

  /// Receives, answers and sends as far as the socket allows. False when the connection is over.
  [[nodiscard]] bool advance(Time now) noexcept;
  /// No more requests: once nothing is left to send, the connection is over.
  void finish() noexcept { finishing_ = true; }

  /// True while it waits for the socket to take the rest of a reply.
  [[nodiscard]] bool sending() const noexcept { return first_piece_ < piece_count_; }
  [[nodiscard]] bool greeted() const noexcept { return region_ != nullptr; }
  /// When it was accepted, or last got on with a reply that waits.
  [[nodiscard]] Time waiting_since() const noexcept { return waiting_since_; }
  /// Null until the client has shown the token.
  [[nodiscard]] const ServedRegion* region() const noexcept { return region_.get(); }
  [[nodiscard]] int descriptor() const noexcept { return socket_.number(); }

 private:
  static constexpr std::size_t kInputBytes = 64 * 1024;
  // A reply is sent when this much of it was copied: a system call costs little beside so many bytes, and they still
  // are in the second cache when the kernel takes them. The request that passes it adds what there is room for.
  static constexpr std::size_t kEnoughCopied = 192 * 1024;
  static constexpr std::size_t kCopyBytes = 256 * 1024;
  static constexpr std::uint32_t kLongestCopied = 2048;                     // of the reads
  static constexpr std::uint32_t kMostPieces = 4 * (1 + wire::kMostReads);  // at least one request fits, of any reads

  [[nodiscard]] bool send(Time now) noexcept;
  [[nodiscard]] bool receive() noexcept;
  /// Turns messages of the input into a reply, as many as fit. False when there is no whole message.
  [[nodiscard]] bool answer() noexcept;
  [[nodiscard]] bool answer_hello() noexcept;
  [[nodiscard]] bool answer_requests() noexcept;
  void gather(const wire::Request& request) noexcept;
  void refuse() noexcept;
  /// Room in copied_ that becomes part of the reply; the caller writes it.
  [[nodiscard]] std::byte* add_copied(std::size_t bytes) noexcept;
  void add_piece(const std::byte* data, std::size_t bytes) noexcept;

  Descriptor socket_;
  const RegionTable& regions_;
  ServerCounters& counters_;
  std::shared_ptr<const ServedRegion> region_;
  Time waiting_since_;
  bool refused_ = false;    // over, at once
  bool finishing_ = false;  // over when everything is sent
  bool drained_ = false;    // the socket gave all it had

  std::unique_ptr<std::byte[]> input_;
  std::size_t input_begin_ = 0;
  std::size_t input_end_ = 0;

  // The reply under way: pieces of copied_ and of the region.
  std::uint32_t first_piece_ = 0;
  std::uint32_t piece_count_ = 0;
  std::size_t copied_bytes_ = 0;
  std::size_t unsent_bytes_ = 0;
  iovec pieces_[kMostPieces];
  std::unique_ptr<std::byte[]> copied_;
  std::array<std::byte, wire::kWelcomeBytes> welcome_{};
};

}  // namespace tiervec::rdma
