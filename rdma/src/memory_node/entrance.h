#pragma once

#include <cstddef>
#include <functional>
#include <list>
#include <memory>

#include <tiervec/rdma/region_server.h>

#include "../tcp/socket.h"
#include "client_connection.h"
#include "reader_slots.h"
#include "region_table.h"
#include "stranger.h"

namespace tiervec::rdma {

/// Accepts clients: the listening socket, and the strangers. Used by the thread of one loop only.
///
/// Strangers are few, whatever comes: when there are as many as may be, or no descriptor is left, one makes room for
/// the next: of the address with the most strangers, the one that has waited longest. So a flood from one address drops
/// strangers of its own. Without strangers to drop, a descriptor held in reserve lets a client be
/// told that the node is full, so that it does not hang in the backlog.
class Entrance {
 public:
  using Time = Stranger::Time;

  /// `on_greeted` gets every client that showed a token.
  Entrance(const Descriptor& listening, const Descriptor& epoll, const RegionTable& regions, ReaderSlots& slots,
           const RegionServerLimits& limits, ServerCounters& counters, std::function<void(Greeted)> on_greeted);

  /// True for the pointer of an event that says that clients wait to be accepted.
  [[nodiscard]] bool is_listening(const void* what) const noexcept { return what == &listening_; }
  /// Accepts some of them. It may drop strangers: not while events of theirs are to be looked at.
  void accept(Time now);
  /// A stranger has said something, or is gone.
  void advance(Stranger& stranger);
  /// Drops strangers that are late, and listens again after a pause.
  void sweep(Time now);
  /// Nobody comes in any more.
  void close();

  /// True while the next sweep must come.
  [[nodiscard]] bool timed() const noexcept { return !strangers_.empty() || (!listens_ && !closed_); }

 private:
  using Strangers = std::list<Stranger>;

  void add(Descriptor socket, const PeerAddress& address, Time now);
  void turn_away_at_once(const Descriptor& socket, wire::Answer answer) noexcept;
  /// For another one.
  void drop_greediest();
  void drop(Strangers::iterator stranger);
  /// True when a client was told that the node is full, with the reserve as its descriptor.
  bool use_reserve();
  void listen();
  void pause();
  void count_strangers() noexcept;

  const Descriptor& listening_;
  const Descriptor& epoll_;
  const RegionTable& regions_;
  ReaderSlots& slots_;
  const RegionServerLimits& limits_;
  ServerCounters& counters_;
  std::function<void(Greeted)> on_greeted_;
  Strangers strangers_;  // those that have waited longest first
  Descriptor reserve_;
  bool listens_ = false;  // off for a while when the system has no room for a connection
  bool closed_ = false;
};

}  // namespace tiervec::rdma
