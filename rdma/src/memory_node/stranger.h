#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "../tcp/socket.h"
#include "../tcp/wire.h"
#include "peer_address.h"
#include "reader_slots.h"
#include "region_table.h"

namespace tiervec::rdma {

/// What an epoll event is about.
struct Endpoint {
  bool is_stranger = false;
};

/// A client that has shown the token of a region: it may read that.
struct Greeted {
  Descriptor socket;
  std::shared_ptr<const ServedRegion> region;
  ReaderSlots::Slot slot;
};

/// A client that has not shown a token yet. It takes a descriptor and room for a hello, and nothing else of the node.
class Stranger : public Endpoint {
 public:
  using Time = std::chrono::steady_clock::time_point;
  enum class Turn : std::uint8_t { kWaits, kGreeted, kRefused, kOverShare, kGone };

  Stranger(Descriptor socket, const PeerAddress& address, Time now) noexcept
      : Endpoint{.is_stranger = true}, socket_(std::move(socket)), address_(address), since_(now) {}

  /// Takes what has arrived of the hello, and not a byte more.
  [[nodiscard]] Turn advance(const RegionTable& regions, ReaderSlots& slots) noexcept;
  /// Answers a whole hello that was refused. Count the refusal first: a client that was told may look at the counters.
  void turn_away() const noexcept;
  /// After kGreeted, once. The welcome is still to be sent.
  [[nodiscard]] Greeted take() noexcept { return {std::move(socket_), std::move(region_), std::move(slot_)}; }

  [[nodiscard]] const PeerAddress& address() const noexcept { return address_; }
  /// When it was accepted.
  [[nodiscard]] Time since() const noexcept { return since_; }
  [[nodiscard]] int descriptor() const noexcept { return socket_.number(); }

 private:
  [[nodiscard]] wire::Answer answer(const wire::Hello& hello, const RegionTable& regions, ReaderSlots& slots) noexcept;

  Descriptor socket_;
  PeerAddress address_;
  Time since_;
  std::array<std::byte, wire::kHelloBytes> hello_{};
  std::size_t hello_bytes_ = 0;
  std::optional<wire::Answer> refusal_;
  std::shared_ptr<const ServedRegion> region_;
  ReaderSlots::Slot slot_;
};

/// Sends a welcome that refuses. The caller closes the socket, and the client still gets the answer.
void turn_away(const Descriptor& socket, wire::Answer answer) noexcept;

/// What a client is told where there is no room; kAccepted where there is.
wire::Answer answer_for(ReaderSlots::Room room) noexcept;

}  // namespace tiervec::rdma
