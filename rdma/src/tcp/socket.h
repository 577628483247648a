#pragma once

// Sockets: who owns a descriptor, from a name to addresses, listening and connecting. Control path, but for
// start_connect and connect_outcome, which never block.

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace tiervec::rdma {

/// Closes its descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) noexcept : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() { reset(); }

  [[nodiscard]] int number() const noexcept { return number_; }
  [[nodiscard]] explicit operator bool() const noexcept { return number_ >= 0; }
  void reset() noexcept;

 private:
  int number_ = -1;
};

/// An address of either family with its port.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t bytes = 0;
};

/// "reading x: Connection refused" for the errno `number`.
std::string with_errno(const std::string& what, int number);

/// "host:port", with brackets around an IPv6 address.
std::string place(const std::string& host, std::uint16_t port);

/// Every address of a host, a name or an address. `passive`: to listen at. Throws kInvalidArgument when there is none.
std::vector<SocketAddress> resolve(const std::string& host, std::uint16_t port, bool passive);

/// A non-blocking socket that listens at the first address of `host` that allows it. Throws kAlreadyExists (port
/// taken), kUnavailable.
Descriptor listen_at(const std::string& host, std::uint16_t port);

/// The port a socket is bound to.
std::uint16_t bound_port(const Descriptor& socket);

/// Begins to connect; an empty descriptor with errno when that fails at once.
Descriptor start_connect(const SocketAddress& address) noexcept;

enum class ConnectOutcome : std::uint8_t { kPending, kConnected, kFailed };
ConnectOutcome connect_outcome(const Descriptor& socket) noexcept;

/// Replies and requests are whole messages: sends them at once, and notices a peer whose machine is gone.
void set_socket_options(const Descriptor& socket) noexcept;

}  // namespace tiervec::rdma
