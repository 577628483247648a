#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include <tiervec/core/thread.h>
#include <tiervec/rdma/region_server.h>

#include "../tcp/socket.h"
#include "client_connection.h"
#include "entrance.h"
#include "reader_slots.h"
#include "region_table.h"
#include "stranger.h"

namespace tiervec::rdma {

/// One thread of a RegionServer with its own epoll and its own connections. It sleeps while clients are silent.
/// Connections have turns, one after the other; in one turn a client is sent at most `turn_bytes`.
class ServerLoop {
 public:
  ServerLoop(const RegionTable& regions, const RegionServerLimits& limits);
  /// Stops.
  ~ServerLoop();
  ServerLoop(const ServerLoop&) = delete;
  ServerLoop& operator=(const ServerLoop&) = delete;

  /// Starts the thread.
  void start();
  /// Starts it, and accepts there: `on_greeted` gets every client that has shown a token.
  void start_accepting(const Descriptor& listening, ReaderSlots& slots, std::function<void(Greeted)> on_greeted);

  /// On its own thread only.
  void add(Greeted client);

  // From any thread.

  void adopt(Greeted client);
  /// Closes the connections of a region; returns when none looks at it any more.
  void close_region(std::uint64_t region_id);
  /// Sends what is under way, closes everything, ends the thread.
  void stop();
  [[nodiscard]] std::uint64_t connections() const noexcept { return open_.load(std::memory_order_relaxed); }
  [[nodiscard]] const ServerCounters& counters() const noexcept { return counters_; }
  [[nodiscard]] double cpu_seconds() const;

 private:
  using Time = ClientConnection::Time;
  using Connections = std::unordered_map<ClientConnection*, std::unique_ptr<ClientConnection>>;

  void run();
  void post(std::function<void()> task);
  void run_tasks();
  /// Looks at events; true when somebody asks for this thread.
  [[nodiscard]] bool take_events(std::span<const epoll_event> events);
  /// Those whose last turn was cut have another one.
  void take_turns();
  void advance(ClientConnection& connection);
  void wait_for(ClientConnection& connection, bool room) noexcept;
  Connections::iterator close(Connections::iterator at);
  void begin_stop();
  void sweep();
  [[nodiscard]] int wait_ms() const noexcept;

  const RegionTable& regions_;
  const RegionServerLimits limits_;
  ServerCounters counters_;
  std::atomic<std::uint64_t> open_{0};
  Descriptor epoll_;
  Descriptor wake_;

  // Of the thread.
  std::unique_ptr<Entrance> entrance_;  // of the loop that accepts
  bool timed_ = false;                  // something may be late: the next sweep must come
  Connections connections_;
  std::vector<ClientConnection*> queue_;  // go on without an event, in this order
  std::vector<ClientConnection*> turns_;  // the queue of the round before, while it is worked off
  Time now_{};
  Time next_sweep_{};
  Time stop_at_ = Time::max();  // when a stop no longer waits for its clients

  mutable std::mutex mutex_;  // for what follows
  std::vector<std::function<void()>> tasks_;
  Thread thread_;
  double cpu_seconds_ = 0;  // once the thread has ended
};

}  // namespace tiervec::rdma
