#include "socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>

#include <tiervec/core/status.h>
#include <tiervec/core/system_error.h>

namespace tiervec::rdma {

namespace {

constexpr int kBacklog = 512;

void set_option(const Descriptor& socket, int level, int name, int value) noexcept {
  (void)::setsockopt(socket.number(), level, name, &value, sizeof value);
}

}  // namespace

void Descriptor::reset() noexcept {
  if (number_ >= 0) {
    ::close(std::exchange(number_, -1));
  }
}

std::string with_errno(const std::string& what, int number) {
  return what + ": " + std::generic_category().message(number);
}

std::string place(const std::string& host, std::uint16_t port) {
  const bool bare_ipv6 = host.find(':') != std::string::npos;
  return (bare_ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::vector<SocketAddress> resolve(const std::string& host, std::uint16_t port, bool passive) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0);
  addrinfo* found = nullptr;
  const std::string service = std::to_string(port);
  const int failure = ::getaddrinfo(host.c_str(), service.c_str(), &hints, &found);
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  if (failure != 0 || found == nullptr) {
    throw Error(ErrorCode::kInvalidArgument,
                "host '" + host + "' has no address: " + (failure != 0 ? ::gai_strerror(failure) : "none found"));
  }
  std::vector<SocketAddress> addresses;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    SocketAddress address;
    std::memcpy(&address.storage, at->ai_addr, at->ai_addrlen);
    address.bytes = at->ai_addrlen;
    addresses.push_back(address);
  }
  return addresses;
}

Descriptor listen_at(const std::string& host, std::uint16_t port) {
  int number = 0;
  for (const SocketAddress& address : resolve(host, port, true)) {
    Descriptor socket(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (socket) {
      set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1);  // a restart need not wait for connections that linger
      if (::bind(socket.number(), reinterpret_cast<const sockaddr*>(&address.storage), address.bytes) == 0 &&
          ::listen(socket.number(), kBacklog) == 0) {
        return socket;
      }
    }
    number = errno;
  }
  throw system_error("cannot listen at " + place(host, port), number);
}

std::uint16_t bound_port(const Descriptor& socket) {
  sockaddr_storage storage{};
  socklen_t bytes = sizeof storage;
  if (::getsockname(socket.number(), reinterpret_cast<sockaddr*>(&storage), &bytes) != 0) {
    throw system_error("the port of a socket is unknown", errno);
  }
  const auto* const ipv4 = reinterpret_cast<const sockaddr_in*>(&storage);
  const auto* const ipv6 = reinterpret_cast<const sockaddr_in6*>(&storage);
  return ntohs(storage.ss_family == AF_INET6 ? ipv6->sin6_port : ipv4->sin_port);
}

Descriptor start_connect(const SocketAddress& address) noexcept {
  Descriptor socket(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) {
    return socket;
  }
  set_socket_options(socket);
  const int failed = ::connect(socket.number(), reinterpret_cast<const sockaddr*>(&address.storage), address.bytes);
  if (failed != 0 && errno != EINPROGRESS && errno != EINTR) {
    const int number = errno;
    socket.reset();
    errno = number;
  }
  return socket;
}

ConnectOutcome connect_outcome(const Descriptor& socket) noexcept {
  pollfd waiting{.fd = socket.number(), .events = POLLOUT, .revents = 0};
  if (::poll(&waiting, 1, 0) <= 0) {
    return ConnectOutcome::kPending;
  }
  int number = 0;
  socklen_t bytes = sizeof number;
  if (::getsockopt(socket.number(), SOL_SOCKET, SO_ERROR, &number, &bytes) != 0 || number != 0) {
    errno = number;
    return ConnectOutcome::kFailed;
  }
  return ConnectOutcome::kConnected;
}

void set_socket_options(const Descriptor& socket) noexcept {
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

}  // namespace tiervec::rdma
