// Clients that want to stop a region server: many that say nothing, no descriptors left, one that asks for everything,
// and any bytes at all. TIERVEC_FUZZ_ROUNDS=1000000 makes the last one run for hours.

#include <tiervec/rdma/region_server.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "../../../rdma/src/memory_node/peer_address.h"
#include "rdma/tcp/raw_socket.h"

namespace tiervec::rdma {
namespace {

using namespace std::chrono_literals;
using testing::Bytes;
using testing::hello;
using testing::joined;
using testing::RawSocket;
using testing::request;

constexpr std::uint64_t kRegionBytes = (4U << 20U) + 11;
constexpr std::uint64_t kRegion = 70;

/// A server of one region, and clients of it.
class Served {
 public:
  explicit Served(RegionServerLimits limits, unsigned threads = 1)
      : memory_(testing::patterned_memory(kRegionBytes)), server_("127.0.0.1", 0, threads, limits) {
    server_.serve(kRegion, testing::kToken, memory_, 0, kRegionBytes);
  }

  RegionServer& operator*() { return server_; }
  RegionServer* operator->() { return &server_; }
  RawSocket connect() { return RawSocket::connect(server_.port()); }
  RawSocket attached() {
    RawSocket socket = connect();
    EXPECT_TRUE(socket.send(hello(kRegion)));
    EXPECT_EQ(answer_to(socket), wire::Answer::kAccepted);
    return socket;
  }
  static wire::Answer answer_to(RawSocket& socket) {
    wire::Welcome welcome;
    EXPECT_EQ(wire::parse(socket.receive(wire::kWelcomeBytes), welcome), wire::Parsed::kWhole);
    return welcome.answer;
  }
  static void expect_reads(RawSocket& socket, std::uint32_t batch_id, const std::vector<Read>& reads) {
    wire::ReplyHeader header;
    ASSERT_EQ(wire::parse(socket.receive(wire::kReplyHeaderBytes), header), wire::Parsed::kWhole);
    EXPECT_EQ(header.outcome, wire::Outcome::kOk);
    EXPECT_EQ(header.batch_id, batch_id);
    for (const Read read : reads) {
      const Bytes bytes = socket.receive(read.length);
      ASSERT_EQ(bytes.size(), read.length);
      EXPECT_TRUE(testing::has_pattern(bytes, read.offset));
    }
  }
  /// Counters are written by the server's threads a moment after a client has its answer.
  template <class Condition>
  [[nodiscard]] bool soon(const Condition& condition) const {
    for (int i = 0; i < 4000; ++i) {
      if (condition(server_.stats())) return true;
      std::this_thread::sleep_for(5ms);
    }
    return false;
  }

 private:
  std::shared_ptr<NodeMemory> memory_;
  RegionServer server_;
};

/// The limit of descriptors of this process, for a while.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t limit) {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    const rlimit changed{.rlim_cur = limit, .rlim_max = before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &changed), 0);
  }
  ~DescriptorLimit() { (void)::setrlimit(RLIMIT_NOFILE, &before_); }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;

 private:
  rlimit before_{};
};

/// Takes all descriptors that are left.
std::vector<Descriptor> all_descriptors() {
  std::vector<Descriptor> held;
  for (;;) {
    Descriptor one(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!one) return held;
    held.push_back(std::move(one));
  }
}

TEST(RegionServerAttack, StrangersAreFewAndTheOldestMakesRoom) {
  Served server({.max_connections = 2, .max_strangers = 4, .handshake_timeout = 1h});
  RawSocket reader = server.attached();
  std::vector<RawSocket> strangers;
  strangers.reserve(50);
  for (int i = 0; i < 50; ++i) {
    strangers.push_back(server.connect());
  }
  EXPECT_TRUE(server.soon([](const RegionServer::Stats& s) { return s.refused == 46 && s.strangers == 4; }));
  for (int i = 0; i < 46; ++i) {
    EXPECT_TRUE(strangers[static_cast<std::size_t>(i)].closed_by_peer()) << i;
  }
  // A reader goes on, and one that comes now gets in.
  ASSERT_TRUE(reader.send(request(1, {{5, 50}})));
  Served::expect_reads(reader, 1, {{5, 50}});
  RawSocket late = server.attached();
  // A stranger that was slow may still show its token; but now there are as many readers as may be.
  ASSERT_TRUE(strangers.back().send(hello(kRegion)));
  EXPECT_EQ(Served::answer_to(strangers.back()), wire::Answer::kFull);
  EXPECT_EQ(server->stats().connections, 2U);
}

TEST(RegionServerAttack, AFloodFromOneAddressDropsStrangersOfItsOwn) {
  Served server({.max_strangers = 4, .handshake_timeout = 1h});
  RawSocket slow = RawSocket::connect_from("127.0.0.2", server->port());
  RawSocket slower = RawSocket::connect_from("127.0.0.3", server->port());
  ASSERT_TRUE(server.soon([](const RegionServer::Stats& s) { return s.strangers == 2; }));
  std::vector<RawSocket> flood;
  for (int i = 0; i < 40; ++i) flood.push_back(server.connect());
  ASSERT_TRUE(server.soon([](const RegionServer::Stats& s) { return s.refused == 38 && s.strangers == 4; }));
  for (RawSocket* const each : {&slow, &slower}) {
    ASSERT_TRUE(each->send(hello(kRegion)));
    EXPECT_EQ(Served::answer_to(*each), wire::Answer::kAccepted);
  }
}

TEST(RegionServerAttack, OneAddressCannotTakeThePlacesOfAllReaders) {
  Served server({.max_connections = 8});  // three quarters of them are 6
  EXPECT_EQ(server->stats().max_connections_per_address, 6U);
  std::vector<RawSocket> greedy;
  for (int i = 0; i < 6; ++i) greedy.push_back(server.attached());
  for (std::uint64_t refused = 1; refused <= 5; ++refused) {
    RawSocket more = server.connect();
    (void)more.send(hello(kRegion));
    EXPECT_EQ(Served::answer_to(more), wire::Answer::kFullForAddress);
    EXPECT_TRUE(
        server.soon([&](const RegionServer::Stats& s) { return s.over_share == refused && s.refused == refused; }));
  }
  // Another address gets in, and a place that is given back is taken again.
  RawSocket other = RawSocket::connect_from("127.0.0.2", server->port());
  ASSERT_TRUE(other.send(hello(kRegion)));
  EXPECT_EQ(Served::answer_to(other), wire::Answer::kAccepted);
  greedy.pop_back();
  EXPECT_TRUE(server.soon([](const RegionServer::Stats& s) { return s.connections == 6; }));
  greedy.push_back(server.attached());
  EXPECT_EQ(server->stats().connections, 7U);
}

TEST(RegionServerAttack, AStrangerThatComesBeforeTheShareIsUsedUpIsToldSo) {
  Served server({.max_connections = 8, .max_connections_per_address = 1});
  RawSocket stranger = server.connect();
  ASSERT_TRUE(server.soon([](const RegionServer::Stats& s) { return s.strangers == 1; }));
  RawSocket reader = server.attached();
  ASSERT_TRUE(stranger.send(hello(kRegion)));
  EXPECT_EQ(Served::answer_to(stranger), wire::Answer::kFullForAddress);
  EXPECT_TRUE(server.soon([](const RegionServer::Stats& s) { return s.over_share == 1; }));
}

TEST(RegionServerAttack, AnAddressIsWhatAClientCannotChoose) {
  const auto of = [](const char* text) {
    const SocketAddress resolved = resolve(text, 0, false).front();
    return peer_address(resolved.storage);
  };
  EXPECT_EQ(of("10.0.0.1"), of("::ffff:10.0.0.1"));
  EXPECT_NE(of("10.0.0.1"), of("10.0.0.2"));
  EXPECT_NE(of("::ffff:10.0.0.1"), of("::ffff:10.0.0.2"));
  EXPECT_EQ(of("2001:db8::1"), of("2001:db8::ffff:1"));
  EXPECT_NE(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
}

/// Descriptors that the epolls of this process watch.
std::size_t watched() {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fdinfo")) {
    std::ifstream info(entry.path());
    for (std::string line; std::getline(info, line);) count += line.starts_with("tfd:") ? 1U : 0U;
  }
  return count;
}

/// Copies of the server's side of all its connections, as a process has them that was forked in this moment.
std::vector<Descriptor> copies_of_accepted(std::uint16_t port) {
  std::vector<int> accepted;
  for (int descriptor = 3; descriptor < 1024; ++descriptor) {
    sockaddr_in own{};
    sockaddr_in peer{};
    socklen_t own_size = sizeof own;
    socklen_t peer_size = sizeof peer;
    if (::getsockname(descriptor, reinterpret_cast<sockaddr*>(&own), &own_size) == 0 &&
        ::getpeername(descriptor, reinterpret_cast<sockaddr*>(&peer), &peer_size) == 0 && own.sin_port == htons(port)) {
      accepted.push_back(descriptor);
    }
  }
  std::vector<Descriptor> copies;
  for (const int descriptor : accepted) copies.emplace_back(::dup(descriptor));
  return copies;
}

TEST(RegionServerAttack, WhatIsClosedIsNoLongerWatchedThoughAForkedProcessHasIt) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP()
      << "to copy the server's descriptors beside its thread is what a fork does, and a race to ThreadSanitizer";
#endif
  Served server({.max_strangers = 2, .handshake_timeout = 1h});
  const std::size_t before = watched();
  std::vector<RawSocket> clients;
  clients.push_back(server.attached());
  clients.push_back(server.connect());
  clients.push_back(server.connect());
  ASSERT_TRUE(server.soon([](const RegionServer::Stats& s) { return s.strangers == 2 && s.connections == 1; }));
  const std::vector<Descriptor> copies = copies_of_accepted(server->port());
  ASSERT_EQ(copies.size(), 3U);
  ASSERT_EQ(watched(), before + 3);
  // One stranger is refused, the other one makes room, the reader leaves.
  Bytes wrong = hello(kRegion);
  wrong.back() ^= std::byte{1};
  ASSERT_TRUE(clients[1].send(wrong));
  RawSocket third = server.connect();
  RawSocket fourth = server.connect();
  clients.erase(clients.begin());
  ASSERT_TRUE(server.soon([](const RegionServer::Stats& s) { return s.refused == 2 && s.connections == 0; }));
  EXPECT_EQ(watched(), before + 2);
}

TEST(RegionServerAttack, AStrangerThatTricklesItsHelloIsLateRealTime) {
  Served server({.handshake_timeout = 50ms});
  RawSocket slow = server.connect();
  const Bytes said = hello(kRegion);
  for (std::size_t i = 0; i + 1 < said.size(); ++i) {
    if (!slow.send(std::span(said).subspan(i, 1))) break;
    std::this_thread::sleep_for(5ms);
  }
  EXPECT_TRUE(slow.closed_by_peer());
  EXPECT_TRUE(server.soon([](const RegionServer::Stats& s) { return s.strangers == 0 && s.refused == 1; }));
}

TEST(RegionServerAttack, LimitsFollowTheDescriptorsOfTheProcess) {
  const DescriptorLimit limit(80);
  Served server({});
  EXPECT_EQ(server->stats().max_connections, 40U);
  EXPECT_EQ(server->stats().max_strangers, 10U);
  Served small({.max_connections = 7, .max_strangers = 3});
  EXPECT_EQ(small->stats().max_connections, 7U);
  EXPECT_EQ(small->stats().max_strangers, 3U);
}

TEST(RegionServerAttack, WithoutDescriptorsAStrangerMakesRoomForAReader) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer opens a pipe to look at memory, and takes it for damaged when no descriptor is left";
#endif
  Served server({.handshake_timeout = 1h});
  RawSocket stranger = server.connect();
  ASSERT_TRUE(server.soon([](const RegionServer::Stats& s) { return s.strangers == 1; }));
  const DescriptorLimit limit(200);
  std::vector<Descriptor> held = all_descriptors();
  ASSERT_FALSE(held.empty());
  held.pop_back();  // for the client's side; none is left for the server's
  RawSocket reader = server.attached();
  EXPECT_TRUE(stranger.closed_by_peer());
  ASSERT_TRUE(reader.send(request(1, {{5, 50}})));
  Served::expect_reads(reader, 1, {{5, 50}});
}

TEST(RegionServerAttack, WithoutDescriptorsAClientIsToldAndNotLeftInTheBacklog) {
  Served server({.handshake_timeout = 1h});
  RawSocket reader = server.attached();
  {
    const DescriptorLimit limit(200);
    std::vector<Descriptor> held = all_descriptors();
    ASSERT_FALSE(held.empty());
    for (int i = 0; i < 3; ++i) {  // the reserve is there again each time
      held.pop_back();
      RawSocket client = server.connect();
      EXPECT_EQ(Served::answer_to(client), wire::Answer::kFull);
      EXPECT_TRUE(client.closed_by_peer());
      held.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    }
    ASSERT_TRUE(reader.send(request(1, {{5, 50}})));
    Served::expect_reads(reader, 1, {{5, 50}});
  }
  (void)server.attached();  // and all is as before
}

// One reader asks for all the memory again and again and takes it as fast as it comes. Each of its turns ends with the
// bytes of one turn, and in between the other reader of the same loop has its own.
TEST(RegionServerAttack, AGreedyReaderHasTurnsLikeTheOthers) {
  constexpr std::uint64_t kTurn = 16 * 1024;
  Served server({.turn_bytes = kTurn});
  RawSocket greedy = server.attached();
  RawSocket modest = server.attached();
  constexpr std::uint32_t kRequests = 40;
  const std::vector<Read> all(4, Read{0, kRegionBytes - 1});
  std::jthread sender([&] {
    for (std::uint32_t i = 0; i < kRequests; ++i) ASSERT_TRUE(greedy.send(request(i, all)));
  });
  std::jthread taker([&] {
    for (std::uint32_t i = 0; i < kRequests; ++i) Served::expect_reads(greedy, i, all);
  });
  for (std::uint32_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(modest.send(request(i, {{i, 64}})));
    Served::expect_reads(modest, i, {{i, 64}});
  }
  taker.join();
  const RegionServer::Stats stats = server->stats();
  EXPECT_EQ(stats.largest_turn_bytes, kTurn);
  EXPECT_GE(stats.cut_turns, kRequests * 4 * (kRegionBytes / kTurn) / 2)
      << "a turn may also end because the socket is full";
}

// Wherever a turn is cut, in a header, a short read or a long one, the bytes are the right ones.
TEST(RegionServerAttack, TurnsOfAnySizeSendTheSameBytes) {
  const std::vector<Read> mixed = {{7, 1}, {100, 64}, {4096, 5000}, {9, 2048}, {kRegionBytes - 3000, 3000}, {0, 2049}};
  for (const std::uint64_t turn : {0U, 1U, 7U, 64U, 1000U, 4096U, 100'000U}) {
    Served server({.turn_bytes = turn}, 2);
    RawSocket socket = server.attached();
    for (std::uint32_t i = 0; i < 20; ++i) ASSERT_TRUE(socket.send(request(i, mixed)));
    for (std::uint32_t i = 0; i < 20; ++i) Served::expect_reads(socket, i, mixed);
    EXPECT_LE(server->stats().largest_turn_bytes, std::max<std::uint64_t>(turn, 1));
    server->stop();
  }
}

// A stop answers what has arrived, in turns too.
TEST(RegionServerAttack, AStopCutsNoReplyOfManyTurns) {
  Served server({.turn_bytes = 10'000, .stop_timeout = 60s});
  RawSocket socket = server.attached();
  const std::vector<Read> all(4, Read{0, kRegionBytes - 1});
  ASSERT_TRUE(socket.send(request(1, all)));
  ASSERT_TRUE(server.soon([](const RegionServer::Stats& s) { return s.reads == 4; }));
  std::jthread stopping([&] { server->stop(); });
  Served::expect_reads(socket, 1, all);
  EXPECT_TRUE(socket.closed_by_peer());
}

/// What a client may send: whole messages, harmed ones, noise, cut anywhere.
class Fuzzer {
 public:
  explicit Fuzzer(std::uint64_t seed) : random_(seed) {}

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }

  Bytes message() {
    switch (below(6)) {
      case 0:
        return hello(below(4) == 0 ? random_() : kRegion, testing::kToken,
                     static_cast<std::uint16_t>(below(4) == 0 ? random_() : wire::kVersion));
      case 1: {
        Bytes noise(1 + below(3000));
        std::generate(noise.begin(), noise.end(), [&] { return static_cast<std::byte>(random_()); });
        return noise;
      }
      default: {
        std::vector<Read> reads(1 + below(wire::kMostReads));
        for (Read& read : reads) {
          read = below(8) == 0 ? Read{random_(), static_cast<std::uint32_t>(random_())}
                               : Read{below(kRegionBytes), static_cast<std::uint32_t>(below(5000))};
        }
        return request(static_cast<std::uint32_t>(random_()), reads);
      }
    }
  }

  Bytes stream() {
    Bytes bytes = below(8) == 0 ? message() : hello(kRegion);
    for (std::uint64_t messages = below(6); messages > 0; --messages) {
      bytes = joined({bytes, message()});
    }
    for (std::uint64_t changes = below(2) * below(5); changes > 0; --changes) {
      bytes[below(bytes.size())] = static_cast<std::byte>(random_());
    }
    bytes.resize(1 + below(bytes.size()));
    return bytes;
  }

 private:
  std::mt19937_64 random_;
};

TEST(RegionServerAttack, StandsAnyFrames) {
  const char* const asked = std::getenv("TIERVEC_FUZZ_ROUNDS");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  const std::uint64_t rounds = asked == nullptr ? 300 : std::strtoull(asked, nullptr, 10);
  Served server({.max_strangers = 8, .turn_bytes = 5000}, 2);
  RawSocket reader = server.attached();
  const std::uint64_t seed = asked == nullptr ? 1 : std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Fuzzer fuzzer(seed);
  std::vector<RawSocket> held;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    RawSocket socket = server.connect();
    const Bytes bytes = fuzzer.stream();
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t part = std::min<std::size_t>(bytes.size() - at, 1 + fuzzer.below(2000));
      if (!socket.send(std::span(bytes).subspan(at, part))) break;
      at += part;
    }
    switch (fuzzer.below(4)) {
      case 0:
        socket.reset_connection();
        break;
      case 1:
        held.push_back(std::move(socket));  // takes no reply
        if (held.size() > 20) held.erase(held.begin());
        break;
      default:
        break;
    }
    const auto id = static_cast<std::uint32_t>(round);
    const std::vector<Read> reads = {{fuzzer.below(kRegionBytes - 3000), 3000}, {round % 1000, 1}};
    ASSERT_TRUE(reader.send(request(id, reads)));
    Served::expect_reads(reader, id, reads);
  }
  held.clear();
  EXPECT_TRUE(server.soon([](const RegionServer::Stats& s) { return s.connections == 1 && s.strangers == 0; }));
}

}  // namespace
}  // namespace tiervec::rdma
