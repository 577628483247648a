#pragma once

// The RDMA data plane of a memory node: registers regions for remote reading and lets clients connect to them.
//
//   client --connect {version, region, token}--> one thread, asleep between events --accept {address, key}--> client
//   client --READ--> the device alone: no thread of the node has a part in it
//
// Guarantees:
// - A region is readable only through a connection that showed its attach token: every region has a protection domain
//   of its own, so that the key of another region is worth nothing. Clients can read; they cannot write.
// - After withdraw(id) or stop() returns, no device looks at the region's memory any more: it may be reused or freed.
// - A request that is not the protocol (src/verbs/handshake.h) is rejected and counted as refused. A client shows its
//   token in the request itself, so one that has none is answered at once and holds nothing: no queue pair, no
//   descriptor. The kernel keeps at most 128 requests that wait for the thread.
// - At most `max_connections` queue pairs. A client that ends or loses its process is noticed and its queue pair freed;
//   one whose machine vanishes keeps its queue pair until its region is withdrawn.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <tiervec/rdma/attachment.h>

namespace tiervec::rdma {

class VerbsServer {
 public:
  struct Stats {
    std::uint64_t connections = 0;  // open now
    std::uint64_t accepted = 0;
    std::uint64_t refused = 0;
    double cpu_seconds = 0;  // of the server's thread
  };

  /// How a client addresses a region.
  struct RemoteKey {
    std::uint64_t address = 0;
    std::uint32_t key = 0;
  };

  /// Listens on `host`, a name or address that belongs to an RDMA device or a wildcard, and `port`; 0 takes a free one.
  /// `device` chooses among several devices by name; empty: the one that has the address, or the first. Throws Error:
  /// kUnsupported (no libraries, no device), kInvalidArgument (no such host or device), kUnavailable (the port is
  /// taken), kPermissionDenied; anything else by its errno.
  VerbsServer(const std::string& host, std::uint16_t port, const std::string& device = "",
              std::uint32_t max_connections = 4096);
  VerbsServer(const VerbsServer&) = delete;
  VerbsServer& operator=(const VerbsServer&) = delete;
  /// Stops.
  ~VerbsServer();

  [[nodiscard]] std::uint16_t port() const noexcept;
  [[nodiscard]] std::string device() const;
  [[nodiscard]] Stats stats() const;

  /// Registers `size_bytes` bytes at `memory`, which the caller keeps until withdraw or stop, for remote reading only.
  /// Throws Error: kInvalidArgument for an empty range, kAlreadyExists for an id that is served, kResourceExhausted
  /// when the limit of locked memory is too low, kUnavailable after stop and for anything else the device refuses.
  RemoteKey serve(std::uint64_t region_id, const AttachToken& token, const std::byte* memory, std::uint64_t size_bytes);
  /// Ends the region's connections; reads under way fail at the client with kUnavailable. Throws kNotFound for an id
  /// that is not served.
  void withdraw(std::uint64_t region_id);
  /// Withdraws everything and accepts nothing more. Idempotent.
  void stop();

 private:
  class State;

  /// Throws Error(kUnsupported) in a forked child.
  void check_here() const;

  std::unique_ptr<State> state_;
};

}  // namespace tiervec::rdma
