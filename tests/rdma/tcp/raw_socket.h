#pragma once

// Plain sockets for tests of the TCP data plane: a client that may say anything, and a node that follows a script.

#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/rdma/attachment.h>
#include <tiervec/rdma/node_memory.h>
#include <tiervec/rdma/tier.h>

#include "../../../rdma/src/tcp/socket.h"
#include "../../../rdma/src/tcp/wire.h"

namespace tiervec::rdma::testing {

using Bytes = std::vector<std::byte>;

inline Bytes bytes_of(std::string_view text) {
  const auto* const data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

inline constexpr AttachToken kToken{std::byte{3}, std::byte{1}, std::byte{4}};

inline Bytes hello(std::uint64_t region_id, AttachToken token = kToken, std::uint16_t version = wire::kVersion) {
  const auto encoded = wire::encode(wire::Hello{version, region_id, token});
  return {encoded.begin(), encoded.end()};
}

inline Bytes welcome(wire::Answer answer, std::uint64_t region_bytes) {
  const auto encoded = wire::encode(wire::Welcome{.answer = answer, .region_bytes = region_bytes});
  return {encoded.begin(), encoded.end()};
}

inline Bytes request(std::uint32_t batch_id, const std::vector<Read>& reads) {
  Bytes bytes(wire::kRequestHeaderBytes + reads.size() * wire::kReadBytes);
  (void)wire::encode_request(bytes.data(), batch_id, reads);
  return bytes;
}

inline Bytes joined(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

/// A connected socket with time limits: nothing here waits for more than ten seconds.
class RawSocket {
 public:
  explicit RawSocket(Descriptor socket) : socket_(std::move(socket)) {}
  static RawSocket connect(std::uint16_t port) {
    RawSocket made(start_connect(resolve("127.0.0.1", port, false).front()));
    (void)made.wait(POLLOUT);
    return made;
  }

  /// From another address of this machine's, such as 127.0.0.2.
  static RawSocket connect_from(const std::string& host, std::uint16_t port) {
    const SocketAddress from = resolve(host, 0, false).front();
    const SocketAddress to = resolve("127.0.0.1", port, false).front();
    Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(socket.number(), reinterpret_cast<const sockaddr*>(&from.storage), from.bytes), 0);
    EXPECT_EQ(::connect(socket.number(), reinterpret_cast<const sockaddr*>(&to.storage), to.bytes), 0);
    return RawSocket(std::move(socket));
  }

  /// False when the peer is gone.
  bool send(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      if (!wait(POLLOUT)) return false;
      const ssize_t sent = ::send(socket_.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent <= 0) return false;
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
    return true;
  }
  /// Fewer bytes than asked for when the peer closes.
  Bytes receive(std::size_t count) {
    Bytes bytes(count);
    std::size_t got = 0;
    while (got < count && wait(POLLIN)) {
      const ssize_t more = ::recv(socket_.number(), &bytes[got], count - got, MSG_DONTWAIT);
      if (more <= 0) break;
      got += static_cast<std::size_t>(more);
    }
    bytes.resize(got);
    return bytes;
  }
  /// True when the peer closes without another byte.
  bool closed_by_peer() {
    std::byte one{};
    return wait(POLLIN) && ::recv(socket_.number(), &one, 1, MSG_DONTWAIT) <= 0;
  }
  /// Closes with a reset instead of an orderly end.
  void reset_connection() {
    const linger now{1, 0};
    (void)::setsockopt(socket_.number(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    socket_.reset();
  }

 private:
  [[nodiscard]] bool wait(short events) const {
    pollfd waiting{.fd = socket_.number(), .events = events, .revents = 0};
    return ::poll(&waiting, 1, 10'000) > 0;
  }

  Descriptor socket_;
};

/// Listens, and runs `script` for each connection, one after the other, until it is destroyed.
class ScriptedNode {
 public:
  explicit ScriptedNode(std::function<void(RawSocket&)> script)
      : listening_(listen_at("127.0.0.1", 0)),
        port_(bound_port(listening_)),
        thread_([this, script = std::move(script)] {
          while (accepts()) {
            Descriptor client(::accept4(listening_.number(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
            if (client) {
              ++connections;
              RawSocket socket(std::move(client));
              script(socket);
            }
          }
        }) {}
  ~ScriptedNode() {
    ending_ = true;
    thread_.join();
  }

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] bool ending() const { return ending_; }
  std::atomic<int> connections{0};

 private:
  bool accepts() {
    while (!ending_) {
      pollfd waiting{.fd = listening_.number(), .events = POLLIN, .revents = 0};
      if (::poll(&waiting, 1, 5) > 0) return true;
    }
    return false;
  }

  std::atomic<bool> ending_{false};
  Descriptor listening_;
  std::uint16_t port_;
  std::thread thread_;
};

inline constexpr std::uint64_t kPatternBytes = 5U << 20U;

/// What regions of these tests hold. Made word by word and compared by memcmp: it is a lot under a sanitizer.
inline const std::vector<std::uint64_t>& pattern_words() {
  static const std::vector<std::uint64_t> words = [] {
    std::vector<std::uint64_t> made(kPatternBytes / sizeof(std::uint64_t));
    std::uint64_t state = 1;
    for (std::uint64_t& word : made) {
      word = state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    }
    return made;
  }();
  return words;
}

inline const std::byte* pattern_at(std::uint64_t offset) {
  return reinterpret_cast<const std::byte*>(pattern_words().data()) + offset;
}

inline std::shared_ptr<NodeMemory> patterned_memory(std::uint64_t size_bytes) {
  auto memory = std::make_shared<NodeMemory>(size_bytes, false);
  std::memcpy(memory->data(), pattern_at(0), size_bytes);
  return memory;
}

inline bool has_pattern(std::span<const std::byte> bytes, std::uint64_t offset) {
  return std::memcmp(bytes.data(), pattern_at(offset), bytes.size()) == 0;
}

inline Attachment attachment_at(std::uint16_t port, std::uint64_t region_id, std::uint64_t size_bytes) {
  return {.transport = "tcp",
          .host = "127.0.0.1",
          .port = port,
          .region_id = region_id,
          .size_bytes = size_bytes,
          .token = kToken};
}

}  // namespace tiervec::rdma::testing
