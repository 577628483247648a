#pragma once

// The TCP data plane of a memory node: answers batches of reads straight from the memory that the node lends.
//
//   accepting thread --new connection--> one of `threads` loops (epoll) --sendmsg, gathered--> clients
//                                             ^ serve, withdraw, stop: any thread
//
// Guarantees:
// - A region is read only through a connection that showed its attach token, and only between its bounds.
// - No call from a client blocks a loop, allocates per read, or makes the server hold more than a fixed number of
//   bytes for it: a client that does not take its replies is not read from, and dropped after a while.
// - A client that has not shown a token takes a descriptor and 200 bytes. There are few of those at once, however many
//   come: the oldest makes room for the next one. Connections stay below the process's limit of descriptors.
// - A loop sends a client a bounded number of bytes, then the others have their turn.
// - After withdraw(id) returns, no byte of the region is looked at any more: its memory may be reused or freed.
// - A client that speaks anything but the protocol (src/tcp/wire.h) is closed and counted as refused.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <tiervec/rdma/attachment.h>
#include <tiervec/rdma/node_memory.h>

namespace tiervec::rdma {

/// What a server does with clients that do not play along.
struct RegionServerLimits {
  // Clients that have shown a token. At most half of the descriptors the process may have (RLIMIT_NOFILE).
  std::uint32_t max_connections = 4096;
  // The same of one address (of IPv6, one /64 network); 0: three quarters of them.
  std::uint32_t max_connections_per_address = 0;
  // Those that have not. At most an eighth of the descriptors.
  std::uint32_t max_strangers = 256;
  std::uint64_t turn_bytes = std::uint64_t{1} << 20U;  // sent to a client before the others of its loop have their turn
  std::chrono::milliseconds handshake_timeout{5000};   // from accept until the handshake is there
  std::chrono::milliseconds stall_timeout{10'000};  // a client that takes nothing of its reply for as long is dropped
  std::chrono::milliseconds stop_timeout{1000};     // for replies under way when the server stops
};

class RegionServer {
 public:
  struct Stats {
    std::uint64_t connections = 0;      // open now
    std::uint64_t reads = 0;            // answered
    std::uint64_t bytes = 0;            // of regions, sent
    std::uint64_t refused = 0;          // handshakes refused, and connections closed for what they sent
    std::uint64_t over_share = 0;       // of the refused: their address had as many connections as it may
    std::uint64_t dropped = 0;          // connections closed because the client stalled
    std::uint64_t strangers = 0;        // connections open now that have not shown a token; not among `connections`
    std::uint64_t max_connections = 0;  // as the limit of descriptors allows
    std::uint64_t max_connections_per_address = 0;
    std::uint64_t max_strangers = 0;       // likewise
    std::uint64_t cut_turns = 0;           // turns of clients that ended because they had sent `turn_bytes`
    std::uint64_t largest_turn_bytes = 0;  // sent in one turn of a client
    double cpu_seconds = 0;                // of the server's threads
  };

  /// Listens on `host` (a name or an address) and `port`; 0 takes a free one. Throws Error: kInvalidArgument (no such
  /// host, 0 threads), kUnavailable (the port is taken), kPermissionDenied; anything else by its errno.
  RegionServer(const std::string& host, std::uint16_t port, unsigned threads = 1, RegionServerLimits limits = {});
  RegionServer(const RegionServer&) = delete;
  RegionServer& operator=(const RegionServer&) = delete;
  /// Stops.
  ~RegionServer();

  [[nodiscard]] std::uint16_t port() const noexcept;
  [[nodiscard]] Stats stats() const;

  /// Makes bytes [offset, offset + size_bytes) of `memory` readable as region `region_id`. Throws Error:
  /// kInvalidArgument for an empty range or one outside the memory, kAlreadyExists for an id that is served,
  /// kUnavailable after stop.
  void serve(std::uint64_t region_id, const AttachToken& token, std::shared_ptr<const NodeMemory> memory,
             std::uint64_t offset, std::uint64_t size_bytes);
  /// Closes the connections of the region and answers kUnknownRegion from then on. Reads under way fail at the client
  /// with kUnavailable. Throws kNotFound for an id that is not served.
  void withdraw(std::uint64_t region_id);
  /// Accepts nothing more, sends the replies to what has arrived, closes. Idempotent.
  void stop();

 private:
  class State;

  /// Throws Error(kUnsupported) in a forked child.
  void check_here() const;

  std::unique_ptr<State> state_;
};

}  // namespace tiervec::rdma
