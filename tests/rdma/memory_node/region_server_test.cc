// What a client may say to a memory node, and what it gets: the protocol, everything else, and too much of it.

#include <tiervec/rdma/region_server.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/core/status.h>
#include <tiervec/rdma/tcp_tier.h>

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
constexpr std::uint64_t kRegionStart = 4096;
constexpr std::uint64_t kRegion = 70;

class RegionServerTest : public ::testing::Test {
 protected:
  explicit RegionServerTest(RegionServerLimits limits = {}, unsigned threads = 2)
      : memory_(testing::patterned_memory(kRegionStart + kRegionBytes + 100)),
        server_("127.0.0.1", 0, threads, limits) {
    server_.serve(kRegion, testing::kToken, memory_, kRegionStart, kRegionBytes);
  }

  RawSocket connect() { return RawSocket::connect(server_.port()); }
  /// A connection that may read.
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
  static wire::ReplyHeader header_from(RawSocket& socket) {
    wire::ReplyHeader header;
    EXPECT_EQ(wire::parse(socket.receive(wire::kReplyHeaderBytes), header), wire::Parsed::kWhole);
    return header;
  }
  /// Counters are written by the server's threads a moment after the client has its answer.
  template <class Condition>
  [[nodiscard]] bool soon(const Condition& condition) const {
    for (int i = 0; i < 12'000; ++i) {
      if (condition(server_.stats())) return true;
      std::this_thread::sleep_for(5ms);
    }
    return false;
  }
  [[nodiscard]] bool refuses(std::uint64_t count) const {
    return soon([&](const RegionServer::Stats& stats) { return stats.refused == count; });
  }
  static void expect_reads(RawSocket& socket, std::uint32_t batch_id, const std::vector<Read>& reads) {
    const wire::ReplyHeader header = header_from(socket);
    EXPECT_EQ(header.outcome, wire::Outcome::kOk);
    EXPECT_EQ(header.batch_id, batch_id);
    std::uint32_t sum = 0;
    for (const Read read : reads) {
      const Bytes bytes = socket.receive(read.length);
      ASSERT_EQ(bytes.size(), read.length);
      EXPECT_TRUE(testing::has_pattern(bytes, kRegionStart + read.offset));
      sum += read.length;
    }
    EXPECT_EQ(header.bytes, sum);
  }

  std::shared_ptr<NodeMemory> memory_;
  RegionServer server_;
};

TEST_F(RegionServerTest, AnswersRequestsInTheirOrder) {
  RawSocket socket = attached();
  const std::vector<Read> first = {{0, 1}, {kRegionBytes - 1, 1}, {100, 5000}, {100, 5000}};
  const std::vector<Read> second = {{kRegionBytes - 64, 64}};
  const std::vector<Read> third(wire::kMostReads, Read{12345, 300});
  ASSERT_TRUE(socket.send(joined({request(9, first), request(4, second), request(0xffffffff, third)})));
  expect_reads(socket, 9, first);
  expect_reads(socket, 4, second);
  expect_reads(socket, 0xffffffff, third);
  EXPECT_TRUE(soon([](const RegionServer::Stats& stats) {
    return stats.reads == 5 + 128 && stats.bytes == 2 + 10000 + 64 + 128 * 300 && stats.connections == 1;
  }));
}

// Short reads are copied, long ones sent from where they lie, and what finds no room for a copy too; in any order.
TEST_F(RegionServerTest, ShortAndLongReadsInOneReply) {
  RawSocket socket = attached();
  std::mt19937_64 random(3);
  std::vector<std::vector<Read>> batches;
  for (const std::uint32_t longest : {2047U, 2048U, 2049U, 4096U, 2048U, 64U}) {  // 128 of 2048 are all the room
    for (int again = 0; again < 4; ++again) {
      std::vector<Read>& reads = batches.emplace_back();
      for (std::uint32_t i = 0; i < wire::kMostReads; ++i) {
        const std::uint32_t length = again == 0 ? longest : static_cast<std::uint32_t>(1 + random() % longest);
        reads.push_back({random() % (kRegionBytes - length + 1), length});
      }
    }
  }
  std::jthread sender([&] {
    for (std::uint32_t i = 0; i < batches.size(); ++i) ASSERT_TRUE(socket.send(request(i, batches[i])));
  });
  for (std::uint32_t i = 0; i < batches.size(); ++i) expect_reads(socket, i, batches[i]);
}

// The reads of a batch with a bad one are not sent, though the batches around it share its reply.
TEST_F(RegionServerTest, ABadReadBetweenCopiedOnes) {
  RawSocket socket = attached();
  const std::vector<Read> good(wire::kMostReads, Read{77, 256});
  std::vector<Read> bad = good;
  bad.back() = {kRegionBytes - 255, 256};
  ASSERT_TRUE(socket.send(joined({request(1, good), request(2, bad), request(3, good)})));
  expect_reads(socket, 1, good);
  const wire::ReplyHeader header = header_from(socket);
  EXPECT_EQ(header.outcome, wire::Outcome::kOutsideRegion);
  EXPECT_EQ(header.batch_id, 2U);
  EXPECT_EQ(header.bytes, 0U);
  expect_reads(socket, 3, good);
}

TEST_F(RegionServerTest, TakesMessagesByteForByte) {
  RawSocket socket = connect();
  const Bytes all = joined({hello(kRegion), request(1, {{7, 70}}), request(2, {{8, 80}})});
  for (const std::byte& byte : all) {
    ASSERT_TRUE(socket.send({&byte, 1}));
  }
  EXPECT_EQ(answer_to(socket), wire::Answer::kAccepted);
  expect_reads(socket, 1, {{7, 70}});
  expect_reads(socket, 2, {{8, 80}});
}

// More requests at once than the node's input, and more bytes than any socket holds: it has to stop reading and go on.
TEST_F(RegionServerTest, ManyRequestsBeforeTheFirstReplyIsTaken) {
  RawSocket socket = attached();
  constexpr std::uint32_t kRequests = 3000;
  std::jthread sender([&] {
    for (std::uint32_t i = 0; i < kRequests; ++i) {
      ASSERT_TRUE(socket.send(request(i, {{i, 9000}, {i * 7, 1}})));
    }
  });
  std::this_thread::sleep_for(50ms);
  for (std::uint32_t i = 0; i < kRequests; ++i) {
    expect_reads(socket, i, {{i, 9000}, {i * 7, 1}});
  }
}

TEST_F(RegionServerTest, ReadsOutsideTheRegionAreAnErrorOfTheirBatch) {
  constexpr std::uint64_t kMost = ~std::uint64_t{0};
  RawSocket socket = attached();
  std::uint32_t id = 0;
  for (const Read bad : {Read{kRegionBytes, 1}, Read{kRegionBytes - 1, 2}, Read{0, 0}, Read{kMost, 1},
                         Read{kMost - 63, 64}, Read{std::uint64_t{1} << 63U, 64}, Read{0, kRegionBytes + 1}}) {
    ASSERT_TRUE(socket.send(joined({request(++id, {{0, 64}, bad, {64, 64}}), request(++id, {{5, 64}})})));
    const wire::ReplyHeader header = header_from(socket);
    EXPECT_EQ(header.outcome, wire::Outcome::kOutsideRegion) << bad.length << " bytes at " << bad.offset;
    EXPECT_EQ(header.batch_id, id - 1);
    EXPECT_EQ(header.bytes, 0U);
    expect_reads(socket, id, {{5, 64}});
  }
  EXPECT_EQ(server_.stats().refused, 0U);
}

TEST_F(RegionServerTest, SaysWhyItRefusesAHello) {
  AttachToken wrong = testing::kToken;
  wrong.back() ^= std::byte{1};
  const auto refusal = [&](const Bytes& said) {
    RawSocket socket = connect();
    EXPECT_TRUE(socket.send(said));
    const wire::Answer answer = answer_to(socket);
    EXPECT_TRUE(socket.closed_by_peer());
    return answer;
  };
  EXPECT_EQ(refusal(hello(kRegion, wrong)), wire::Answer::kWrongToken);
  EXPECT_EQ(refusal(hello(kRegion + 1)), wire::Answer::kUnknownRegion);
  EXPECT_EQ(refusal(hello(kRegion, testing::kToken, 2)), wire::Answer::kWrongVersion);
  EXPECT_EQ(refusal(hello(kRegion, testing::kToken, 0)), wire::Answer::kWrongVersion);
  // What follows a refused hello is not looked at.
  EXPECT_EQ(refusal(joined({hello(kRegion, wrong), request(1, {{0, 64}})})), wire::Answer::kWrongToken);
  EXPECT_TRUE(refuses(5));
  EXPECT_EQ(server_.stats().reads, 0U);
}

TEST_F(RegionServerTest, ClosesWhateverIsNotTheProtocol) {
  std::uint64_t refused = 0;
  for (const std::string_view text : {"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n", "\x16\x03\x01\x02", "x", "\n",
                                      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x89TVR\r\n\x1a\r"}) {
    RawSocket socket = connect();
    ASSERT_TRUE(socket.send(testing::bytes_of(text)));
    EXPECT_TRUE(socket.closed_by_peer()) << text;
    EXPECT_TRUE(refuses(++refused)) << text;
  }
}

TEST_F(RegionServerTest, ClosesOnRequestsThatCannotBe) {
  Bytes none = request(1, {{0, 1}});
  none[2] = std::byte{0};
  Bytes too_many = request(1, {{0, 1}});
  too_many[2] = std::byte{129};
  Bytes unknown = request(1, {{0, 1}});
  unknown[0] = std::byte{0};
  const Bytes too_long = request(1, {{0, wire::kMostReplyBytes}, {0, 1}});
  std::uint64_t refused = 0;
  for (const Bytes& bad : {none, too_many, unknown, too_long}) {
    RawSocket socket = attached();
    ASSERT_TRUE(socket.send(joined({request(8, {{1, 2}}), bad, request(9, {{1, 2}})})));
    expect_reads(socket, 8, {{1, 2}});  // what came before it is answered
    EXPECT_TRUE(socket.closed_by_peer());
    EXPECT_TRUE(refuses(++refused));
  }
}

TEST_F(RegionServerTest, StandsAnyBytesAfterTheHello) {
  std::mt19937_64 random(3);
  const Bytes good = joined({request(1, {{0, 64}, {64, 200}}), request(2, {{4096, 1}})});
  for (int round = 0; round < 150; ++round) {
    Bytes bytes = good;
    for (std::uint64_t changes = 1 + random() % 4; changes > 0; --changes) {
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    }
    bytes.resize(1 + random() % bytes.size());
    RawSocket socket = connect();
    (void)socket.send(joined({hello(kRegion), bytes}));
    EXPECT_EQ(answer_to(socket), wire::Answer::kAccepted);
    if (round % 3 == 0) {
      socket.reset_connection();
    }
  }
  RawSocket socket = attached();
  ASSERT_TRUE(socket.send(request(5, {{77, 77}})));
  expect_reads(socket, 5, {{77, 77}});
  EXPECT_TRUE(soon([](const RegionServer::Stats& stats) { return stats.connections == 1; }));
}

// Each has the one short limit that its test is about: what is to be done in time has minutes, on a busy machine too.
class ShortHandshakeServerTest : public RegionServerTest {
 protected:
  ShortHandshakeServerTest() : RegionServerTest({.handshake_timeout = 40ms}) {}
};

TEST_F(ShortHandshakeServerTest, DropsClientsThatSayNothingRealTime) {
  RawSocket silent = connect();
  RawSocket slow = connect();
  const Bytes said = hello(kRegion);
  ASSERT_TRUE(slow.send(std::span(said).first(39)));
  EXPECT_TRUE(silent.closed_by_peer());
  EXPECT_TRUE(slow.closed_by_peer());
  EXPECT_TRUE(refuses(2));
}

class ShortStallServerTest : public RegionServerTest {
 protected:
  ShortStallServerTest() : RegionServerTest({.stall_timeout = 60ms}) {}
};

TEST_F(ShortStallServerTest, DropsClientsThatDoNotTakeTheirReplyRealTime) {
  RawSocket lazy = attached();
  RawSocket good = attached();
  const std::vector<Read> all(7, Read{0, kRegionBytes - 1});  // far more than sockets hold
  ASSERT_TRUE(lazy.send(request(1, all)));
  EXPECT_TRUE(soon([](const RegionServer::Stats& stats) { return stats.dropped == 1 && stats.connections == 1; }));
  ASSERT_TRUE(good.send(request(2, {{9, 99}})));
  expect_reads(good, 2, {{9, 99}});
}

class SmallServerTest : public RegionServerTest {
 protected:
  SmallServerTest() : RegionServerTest({.max_connections = 3}) {}
};

TEST_F(SmallServerTest, HasRoomForSoManyAndNotMore) {
  std::vector<RawSocket> held;
  for (int i = 0; i < 3; ++i) {
    held.push_back(attached());
  }
  RawSocket one_more = connect();
  EXPECT_EQ(answer_to(one_more), wire::Answer::kFull);
  EXPECT_TRUE(one_more.closed_by_peer());
  EXPECT_TRUE(refuses(1));
  held.pop_back();
  EXPECT_TRUE(soon([](const RegionServer::Stats& stats) { return stats.connections == 2; }));
  (void)attached();
}

class ShortStopServerTest : public RegionServerTest {
 protected:
  ShortStopServerTest() : RegionServerTest({.stop_timeout = 50ms}) {}
};

TEST_F(ShortStopServerTest, AStopDoesNotWaitForeverRealTime) {
  RawSocket lazy = attached();
  ASSERT_TRUE(lazy.send(request(1, std::vector<Read>(7, Read{0, kRegionBytes - 1}))));
  EXPECT_TRUE(soon([](const RegionServer::Stats& stats) { return stats.reads == 7; }));
  server_.stop();
  EXPECT_EQ(server_.stats().connections, 0U);
}

class PatientServerTest : public RegionServerTest {
 protected:
  PatientServerTest() : RegionServerTest({.stop_timeout = 30s}) {}
};

TEST_F(PatientServerTest, AStopAnswersWhatHasArrived) {
  RawSocket socket = attached();
  const std::vector<Read> all(4, Read{0, kRegionBytes - 1});  // 16 MiB: under way when the stop comes
  ASSERT_TRUE(socket.send(request(1, all)));
  EXPECT_TRUE(soon([](const RegionServer::Stats& stats) { return stats.reads == 4; }));
  std::jthread stopping([&] { server_.stop(); });
  expect_reads(socket, 1, all);
  EXPECT_TRUE(socket.closed_by_peer());
  stopping.join();
  server_.stop();
  RawSocket late = connect();
  EXPECT_TRUE(late.closed_by_peer());
  EXPECT_GT(server_.stats().cpu_seconds, 0.0);
  EXPECT_THROW(server_.serve(1, testing::kToken, memory_, 0, 1), Error);
}

TEST_F(RegionServerTest, ChecksWhatItIsToServe) {
  const auto code_of = [&](std::uint64_t id, std::uint64_t offset, std::uint64_t size) {
    try {
      server_.serve(id, testing::kToken, memory_, offset, size);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kOk;
  };
  const std::uint64_t size = memory_->size_bytes();
  EXPECT_EQ(code_of(kRegion, 0, 1), ErrorCode::kAlreadyExists);
  EXPECT_EQ(code_of(1, 0, 0), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of(1, 0, size + 1), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of(1, size, 1), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of(1, ~std::uint64_t{0}, 2), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of(1, size - 1, 1), ErrorCode::kOk);
  try {
    server_.withdraw(2);
    FAIL() << "withdrawn";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  }
}

TEST(RegionServer, SaysWhyItCannotListen) {
  const auto code_of = [](const std::string& host, std::uint16_t port, unsigned threads) {
    try {
      const RegionServer server(host, port, threads);
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()), "");
      return error.code();
    }
    return ErrorCode::kOk;
  };
  const RegionServer first("127.0.0.1", 0);
  EXPECT_EQ(code_of("127.0.0.1", first.port(), 1), ErrorCode::kUnavailable);
  EXPECT_EQ(code_of("127.0.0.1", 0, 0), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of("no.such.host.invalid", 0, 1), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of("203.0.113.1", 0, 1), ErrorCode::kUnavailable);
}

// While clients read at full speed, regions go and their memory is written over: nobody may see any of that.
TEST_F(RegionServerTest, AWithdrawnRegionIsNotReadAnyMore) {
  for (std::uint64_t round = 0; round < 8; ++round) {
    const std::uint64_t id = 100 + round;
    const auto memory = testing::patterned_memory(1U << 20U);
    server_.serve(id, testing::kToken, memory, 0, 1U << 20U);
    std::atomic<int> reading{0};
    std::vector<std::jthread> clients;
    for (std::uint32_t client = 0; client < 3; ++client) {
      clients.emplace_back([&, client] {
        RawSocket socket = connect();
        ASSERT_TRUE(socket.send(hello(id)));
        ASSERT_EQ(answer_to(socket), wire::Answer::kAccepted);
        for (std::uint32_t i = 0;; ++i) {
          const Read read{(i * 4099ULL + client) % (1U << 19U), 100'000};
          if (!socket.send(request(i, {read, read}))) break;
          const Bytes reply = socket.receive(wire::kReplyHeaderBytes + 200'000);
          if (reply.size() < wire::kReplyHeaderBytes + 200'000) break;
          ASSERT_TRUE(testing::has_pattern(std::span(reply).subspan(wire::kReplyHeaderBytes, 100'000), read.offset));
          ASSERT_TRUE(testing::has_pattern(std::span(reply).subspan(wire::kReplyHeaderBytes + 100'000), read.offset));
          reading += i == 3;
        }
      });
    }
    while (reading < 3) {  // all of them are
      std::this_thread::sleep_for(1ms);
    }
    server_.withdraw(id);
    std::memset(memory->data(), 0, memory->size_bytes());  // ThreadSanitizer would see the server look at it
    clients.clear();
    EXPECT_EQ(memory.use_count(), 1) << "the server still holds it";
  }
  RawSocket socket = attached();
  ASSERT_TRUE(socket.send(request(1, {{1, 10}})));
  expect_reads(socket, 1, {{1, 10}});
}

}  // namespace
}  // namespace tiervec::rdma
