#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <tiervec/core/tick_clock.h>
#include <tiervec/rdma/attachment.h>

#include "socket.h"
#include "wire.h"

namespace tiervec::rdma {

/// Where a region is and how to show that one may read it; the same for all queues of a tier.
struct NodeAddress {
  std::vector<SocketAddress> addresses;  // of the one host; tried in turn
  std::uint64_t region_id = 0;
  std::uint64_t region_bytes = 0;
  AttachToken token{};
  std::chrono::milliseconds timeout{};
  TimeSource time;
};

/// A compute node's end of a connection, which keeps itself up. No call blocks but wait_until_settled.
///
///   kDown --backoff is over--> kConnecting --> kGreeting --welcome--> kUp --drop--> kDown
///     ^                             |              |
///     `--refused, unreachable, late-+--------------'
class NodeConnection {
 public:
  enum class State : std::uint8_t { kDown, kConnecting, kGreeting, kUp };
  enum class Loss : std::uint8_t { kClosedByNode, kNoAnswer };

  explicit NodeConnection(const NodeAddress& node);

  [[nodiscard]] State state() const noexcept { return state_; }
  [[nodiscard]] bool up() const noexcept { return state_ == State::kUp; }
  /// True when what is submitted now may be sent soon: the connection is up, or the first attempt to renew one that the
  /// node closed is under way, as after its restart. While a node does not answer, or refuses, it is false.
  [[nodiscard]] bool promising() const noexcept { return up() || (state_ != State::kDown && hopeful_); }
  /// Why the last attempt failed: an errno; kAccepted when it was not the node that refused.
  [[nodiscard]] int last_errno() const noexcept { return errno_; }
  [[nodiscard]] wire::Answer last_answer() const noexcept { return answer_; }
  [[nodiscard]] std::uint16_t node_version() const noexcept { return node_version_; }
  /// Size of the region by the node's word, once it was asked.
  [[nodiscard]] std::uint64_t node_region_bytes() const noexcept { return node_region_bytes_; }

  /// Takes the next step to being up, when it is due and possible.
  void advance(Ticks now) noexcept;
  /// Waits until the connection is up or one attempt per address has failed. Control path.
  void wait_until_settled();
  /// Gives the connection up. When it had worked and the node closed it, the attempt to renew it begins here.
  void drop(Loss loss, Ticks now) noexcept;

  // While up. Both return the bytes moved; 0: the socket has no room or nothing there; -1: the connection is broken.

  [[nodiscard]] std::ptrdiff_t send(std::span<const std::byte> bytes) noexcept;
  [[nodiscard]] std::ptrdiff_t receive(std::span<std::byte> room) noexcept;

 private:
  void begin_attempt(Ticks now) noexcept;
  void greet(Ticks now) noexcept;
  void read_welcome(Ticks now) noexcept;
  void attempt_failed(int number, Ticks now) noexcept;
  void retry_later(Ticks now) noexcept;

  const NodeAddress& node_;
  State state_ = State::kDown;
  Descriptor socket_;
  std::size_t next_address_ = 0;
  Ticks timeout_ticks_;
  Ticks retry_at_ = 0;          // of kDown
  Ticks give_up_at_ = 0;        // of an attempt
  double backoff_ms_;           // before the next attempt but one
  bool hopeful_ = false;        // the attempt is the first after the node closed a connection that worked
  bool worked_ = false;         // something was received since the welcome
  std::uint32_t failures_ = 0;  // in a row
  std::uint64_t random_;
  int errno_ = 0;
  wire::Answer answer_ = wire::Answer::kAccepted;
  std::uint16_t node_version_ = wire::kVersion;
  std::uint64_t node_region_bytes_ = 0;
  std::array<std::byte, wire::kWelcomeBytes> welcome_{};
  std::size_t welcome_bytes_ = 0;
};

}  // namespace tiervec::rdma
