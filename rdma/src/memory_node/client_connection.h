#pragma once

#include <sys/uio.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "../tcp/socket.h"
#include "../tcp/wire.h"
#include "stranger.h"

namespace tiervec::rdma {

/// What the connections of one loop add up to. Written by its thread only, read by any.
struct ServerCounters {
  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> bytes{0};
  std::atomic<std::uint64_t> refused{0};
  std::atomic<std::uint64_t> over_share{0};  // of the refused: their address had as many readers as it may
  std::atomic<std::uint64_t> dropped{0};
  std::atomic<std::uint64_t> strangers{0};           // open now
  std::atomic<std::uint64_t> cut_turns{0};           // turns that ended because they had sent enough
  std::atomic<std::uint64_t> largest_turn_bytes{0};  // sent in one turn
};

/// The memory node's end of a connection that has shown a token: a welcome, then requests, each answered in turn.
///
/// Holds at most kInputBytes of requests and one gathered reply: short reads are copied into it, long ones are sent
/// from where they lie. While the client does not take the reply, nothing more is read from it.
class ClientConnection : public Endpoint {
 public:
  using Time = std::chrono::steady_clock::time_point;
  enum class Turn : std::uint8_t {
    kWaits,  // for the socket
    kMore,   // it has sent as much as one turn may: it goes on when the others have had theirs
    kOver
  };

  /// At most `turn_bytes` are sent in one turn.
  ClientConnection(Greeted greeted, ServerCounters& counters, std::uint64_t turn_bytes, Time now);

  /// Receives, answers and sends as far as the socket and the turn allow.
  [[nodiscard]] Turn advance(Time now) noexcept;
  /// What has arrived by now is answered; then the connection is over.
  void finish() noexcept { last_receives_ = true; }

  /// True while a reply is on its way.
  [[nodiscard]] bool sending() const noexcept { return first_piece_ < piece_count_; }
  /// When it was accepted, or last got on with a reply that waits.
  [[nodiscard]] Time waiting_since() const noexcept { return waiting_since_; }
  [[nodiscard]] const ServedRegion& region() const noexcept { return *region_; }
  [[nodiscard]] int descriptor() const noexcept { return socket_.number(); }

  // Of the loop.
  bool watched_for_room = false;  // its events say that the socket takes more, instead of that something arrived
  bool queued = false;            // in the loop's list of those that go on without an event

 private:
  static constexpr std::size_t kInputBytes = 64 * 1024;
  // A reply is sent when this much of it was copied: a system call costs little beside so many bytes, and they still
  // are in the second cache when the kernel takes them. The request that passes it adds what there is room for.
  static constexpr std::size_t kEnoughCopied = 192 * 1024;
  static constexpr std::size_t kCopyBytes = 256 * 1024;
  static constexpr std::uint32_t kLongestCopied = 2048;                     // of the reads
  static constexpr std::uint32_t kMostPieces = 4 * (1 + wire::kMostReads);  // at least one request fits, of any reads

  [[nodiscard]] Turn take_turn(Time now) noexcept;
  [[nodiscard]] bool send(Time now) noexcept;
  /// One sendmsg of the reply's next pieces, within what is left of the turn.
  [[nodiscard]] std::int64_t send_pieces() noexcept;
  [[nodiscard]] bool receive() noexcept;
  /// Turns messages of the input into a reply, as many as fit. False when there is no whole message.
  [[nodiscard]] bool answer() noexcept;
  void gather(const wire::Request& request) noexcept;
  void refuse() noexcept;
  /// Room in copied_ that becomes part of the reply; the caller writes it.
  [[nodiscard]] std::byte* add_copied(std::size_t bytes) noexcept;
  void add_piece(const std::byte* data, std::size_t bytes) noexcept;

  Descriptor socket_;
  ServerCounters& counters_;
  std::shared_ptr<const ServedRegion> region_;
  ReaderSlots::Slot slot_;
  Time waiting_since_;
  const std::uint64_t turn_bytes_;
  std::uint64_t turn_left_ = 0;  // bytes that this turn may still send
  int receives_ = 0;             // in this turn; after finish, in all
  bool refused_ = false;         // over, at once
  bool last_receives_ = false;   // over when what has arrived is answered
  bool drained_ = false;         // the socket gave all it had

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
