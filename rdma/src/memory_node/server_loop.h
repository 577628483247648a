#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include <tiervec/rdma/region_server.h>

#include "../tcp/socket.h"
#include "client_connection.h"
#include "region_table.h"

namespace tiervec::rdma {

/// One thread of a RegionServer with its own epoll and its own connections. It sleeps while clients are silent.
class ServerLoop {
 public:
  ServerLoop(const RegionTable& regions, const RegionServerLimits& limits);
  /// Stops.
  ~ServerLoop();
  ServerLoop(const ServerLoop&) = delete;
  ServerLoop& operator=(const ServerLoop&) = delete;

  /// Starts the thread. With a socket that listens it also accepts: `on_accept` gets every new connection, there.
  void start(const Descriptor* listening, std::function<void(Descriptor)> on_accept);

  // From any thread.

  void adopt(Descriptor socket);
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
  void accept_all();
  void listen_again();
  void add(Descriptor socket);
  void advance(ClientConnection& connection);
  void wait_for(const ClientConnection& connection, bool writable) noexcept;
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
  const Descriptor* listening_ = nullptr;
  std::function<void(Descriptor)> on_accept_;
  bool accepting_ = false;  // off for a while when there are no descriptors left
  bool timed_ = false;      // something may be late: the next sweep must come
  Connections connections_;
  Time now_{};
  Time next_sweep_{};
  Time stop_at_ = Time::max();  // when a stop no longer waits for its clients

  mutable std::mutex mutex_;  // for what follows
  std::vector<std::function<void()>> tasks_;
  std::thread thread_;
  double cpu_seconds_ = 0;  // once the thread has ended
};

}  // namespace tiervec::rdma
