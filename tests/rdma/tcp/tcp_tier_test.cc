// The tcp tier when the node misbehaves: gone, silent, restarted, or talking nonsense. How it reads is in the
// conformance suite.

#include <tiervec/rdma/tcp_tier.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/engine/worker.h>
#include <tiervec/rdma/region_server.h>

#include "rdma/passing_time.h"
#include "rdma/tcp/raw_socket.h"

namespace tiervec::rdma {
namespace {

using namespace std::chrono_literals;
using testing::attachment_at;
using testing::Bytes;
using testing::RawSocket;
using testing::ScriptedNode;

constexpr std::uint64_t kRegionBytes = 1U << 20U;
constexpr std::uint64_t kRegion = 7;
constexpr std::string_view kUrl = "tcp://node:1/region";

std::unique_ptr<RegionServer> start_server(std::uint16_t port = 0, std::uint64_t region_id = kRegion) {
  static const std::shared_ptr<NodeMemory> memory = testing::patterned_memory(kRegionBytes);
  auto server = std::make_unique<RegionServer>("127.0.0.1", port);
  server->serve(region_id, testing::kToken, memory, 0, kRegionBytes);
  return server;
}

std::shared_ptr<Tier> open(std::uint16_t port, std::chrono::milliseconds timeout = 5s, bool check = false,
                           TimeSource time = {}) {
  return open_tcp_tier(std::string(kUrl), attachment_at(port, kRegion, kRegionBytes),
                       {.timeout = timeout, .check_at_open = check, .time = time});
}

std::vector<ReadBatch*> wait_for(TierQueue& queue, std::size_t count) {
  std::vector<ReadBatch*> all;
  ReadBatch* done[8];
  const auto give_up = std::chrono::steady_clock::now() + 60s;
  while (all.size() < count && std::chrono::steady_clock::now() < give_up) {
    const std::size_t got = queue.poll(done);
    all.insert(all.end(), done, done + got);
  }
  return all;
}

void set_reads(ReadBatch& batch, const std::vector<Read>& reads) {
  batch.count = static_cast<std::uint32_t>(reads.size());
  std::copy(reads.begin(), reads.end(), batch.reads);
}

ErrorCode read_now(TierQueue& queue, const std::vector<Read>& reads = {{100, 64}, {5000, 300}}) {
  ReadBatch batch;
  set_reads(batch, reads);
  queue.submit(batch);
  queue.flush();
  EXPECT_EQ(wait_for(queue, 1), std::vector<ReadBatch*>{&batch});
  if (batch.error == ErrorCode::kOk) {
    for (std::uint32_t i = 0; i < batch.count; ++i) {
      EXPECT_TRUE(testing::has_pattern({batch.views[i], batch.reads[i].length}, batch.reads[i].offset));
    }
    queue.release(batch);
  }
  EXPECT_EQ(queue.in_flight(), 0U);
  return batch.error;
}

/// Reads until one succeeds; false when none does within a minute. Fails the test for any other error than
/// kUnavailable.
bool comes_back(TierQueue& queue) {
  const auto give_up = std::chrono::steady_clock::now() + 60s;
  while (std::chrono::steady_clock::now() < give_up) {
    const ErrorCode error = read_now(queue);
    if (error == ErrorCode::kOk) return true;
    EXPECT_EQ(error, ErrorCode::kUnavailable);
    std::this_thread::sleep_for(1ms);
  }
  return false;
}

Error failure_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error;
  }
  return {ErrorCode::kOk, "nothing failed"};
}

// ---- opening
// ------------------------------------------------------------------------------------------------------------

TEST(TcpTier, SaysWhyItCannotBeOpened) {
  const auto server = start_server();
  const auto opening = [&](const std::function<void(Attachment&)>& change) {
    Attachment attachment = attachment_at(server->port(), kRegion, kRegionBytes);
    change(attachment);
    return failure_of([&] { (void)open_tcp_tier(std::string(kUrl), attachment, {.timeout = 2s}); });
  };
  const auto expect = [](const Error& error, ErrorCode code, const std::string& what) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
  };
  expect(opening([](Attachment&) {}), ErrorCode::kOk, "");
  expect(opening([](Attachment& a) { a.region_id = 8; }), ErrorCode::kNotFound,
         "does not serve the region of tcp://node:1");
  expect(opening([](Attachment& a) { a.token[3] = std::byte{1}; }), ErrorCode::kPermissionDenied,
         "refuses the attach token");
  expect(opening([](Attachment& a) { a.size_bytes = 5; }), ErrorCode::kInvalidArgument, "serves 1048576 bytes");
  expect(opening([](Attachment& a) { a.size_bytes = 0; }), ErrorCode::kInvalidArgument, "has 0 bytes");
  expect(opening([](Attachment& a) { a.transport = "rdma"; }), ErrorCode::kInvalidArgument, "attached for 'rdma'");
  expect(opening([](Attachment& a) { a.host = "no.such.host.invalid"; }), ErrorCode::kInvalidArgument,
         "has no address");
  server->stop();
  expect(opening([](Attachment&) {}), ErrorCode::kUnavailable, "does not answer: Connection refused");
  expect(failure_of([&] { (void)open_tcp_tier(std::string(kUrl), attachment_at(1, kRegion, 1), {.timeout = 0ms}); }),
         ErrorCode::kInvalidArgument, "time-out");
}

TEST(TcpTier, SaysWhatKindOfNodeAnswers) {
  Bytes newer = testing::welcome(wire::Answer::kAccepted, kRegionBytes);
  newer[8] = std::byte{2};
  struct Case {
    Bytes answer;
    ErrorCode code;
    std::string what;
  };
  for (const Case& answered :
       {Case{newer, ErrorCode::kUnsupported, "speaks version 2"},
        Case{testing::welcome(wire::Answer::kFull, 0), ErrorCode::kUnavailable, "no room"},
        Case{testing::welcome(wire::Answer::kFullForAddress, 0), ErrorCode::kUnavailable, "max-readers-per-address"},
        Case{testing::bytes_of("HTTP/1.1 400 Bad Request\r\n\r\n"), ErrorCode::kUnavailable, "something else"},
        Case{Bytes{}, ErrorCode::kUnavailable, "does not answer"}}) {
    const ScriptedNode node([&](RawSocket& socket) {
      (void)socket.receive(wire::kHelloBytes);
      (void)socket.send(answered.answer);
    });
    const Error error = failure_of([&] { (void)open(node.port(), 2s, true); });
    EXPECT_EQ(error.code(), answered.code) << error.what();
    EXPECT_NE(std::string(error.what()).find(answered.what), std::string::npos) << error.what();
  }
}

TEST(TcpTier, OpensWithoutItsNodeWhenAsked) {
  auto server = start_server();
  const std::uint16_t port = server->port();
  server.reset();
  const std::shared_ptr<Tier> tier = open(port);
  EXPECT_EQ(tier->profile().source, "nominal");
  EXPECT_FALSE(tier->verified_at_open());
  const auto queue = tier->open_queue(16);
  EXPECT_EQ(read_now(*queue), ErrorCode::kUnavailable);
  server = start_server(port);
  EXPECT_TRUE(comes_back(*queue));
}

TEST(TcpTier, MeasuresItsProfile) {
  const auto server = start_server();
  const DeviceProfile profile = open(server->port(), 5s, true)->profile();
  EXPECT_EQ(profile.source, "measured");
  EXPECT_FALSE(profile.emulated);
}

TEST(TcpTier, TriesEveryAddressOfItsHost) {
  const auto server = start_server();  // at 127.0.0.1 only; localhost may be ::1 first
  Attachment attachment = attachment_at(server->port(), kRegion, kRegionBytes);
  attachment.host = "localhost";
  const auto queue = open_tcp_tier(std::string(kUrl), attachment, {.timeout = 5s})->open_queue(8);
  EXPECT_EQ(read_now(*queue), ErrorCode::kOk);
}

// ---- a node that goes, and comes back
// -----------------------------------------------------------------------------------

void greet(RawSocket& socket) {
  (void)socket.receive(wire::kHelloBytes);
  (void)socket.send(testing::welcome(wire::Answer::kAccepted, kRegionBytes));
}

/// What the client asks next; no reads when it is gone.
std::vector<Read> next_request(RawSocket& socket, std::uint32_t& batch_id) {
  Bytes bytes = socket.receive(wire::kRequestHeaderBytes);
  if (bytes.size() < wire::kRequestHeaderBytes) return {};
  const Bytes rest = socket.receive(wire::load<std::uint16_t>(&bytes[2]) * wire::kReadBytes);
  bytes.insert(bytes.end(), rest.begin(), rest.end());
  wire::Request request;
  if (wire::parse(bytes, request) != wire::Parsed::kWhole) return {};
  batch_id = request.batch_id;
  std::vector<Read> reads;
  for (std::uint32_t i = 0; i < request.count; ++i) {
    reads.push_back(request.read(i));
  }
  return reads;
}

Bytes reply_to(std::uint32_t batch_id, const std::vector<Read>& reads) {
  Bytes reply(wire::kReplyHeaderBytes);
  for (const Read read : reads) {
    reply.insert(reply.end(), testing::pattern_at(read.offset), testing::pattern_at(read.offset + read.length));
  }
  wire::encode_header(
      reply.data(), {wire::Outcome::kOk, batch_id, static_cast<std::uint32_t>(reply.size() - wire::kReplyHeaderBytes)});
  return reply;
}

void serve_well(RawSocket& socket) {
  greet(socket);
  std::uint32_t batch_id = 0;
  for (std::vector<Read> reads = next_request(socket, batch_id); !reads.empty();
       reads = next_request(socket, batch_id)) {
    if (!socket.send(reply_to(batch_id, reads))) return;
  }
}

/// A node whose first connection follows `first`, and all later ones behave.
std::function<void(RawSocket&)> first_then_well(std::function<void(RawSocket&)> first) {
  return [first = std::move(first), connections = 0](RawSocket& socket) mutable {
    connections++ == 0 ? first(socket) : serve_well(socket);
  };
}

TEST(TcpTier, BatchesUnderWayFailWhenTheNodeGoes) {
  for (const bool reset : {false, true}) {
    const ScriptedNode node(first_then_well([&](RawSocket& socket) {
      greet(socket);
      std::uint32_t batch_id = 0;
      const std::vector<Read> reads = next_request(socket, batch_id);
      (void)socket.send(reply_to(batch_id, reads));
      const std::vector<Read> more = next_request(socket, batch_id);
      Bytes half = reply_to(batch_id, more);
      half.resize(half.size() / 2);
      (void)socket.send(half);
      if (reset) socket.reset_connection();
    }));
    const auto queue = open(node.port())->open_queue(64);
    std::vector<ReadBatch> batches(3);
    for (ReadBatch& batch : batches) {
      set_reads(batch, {{10, 1000}, {77, 500}});
      queue->submit(batch);
    }
    queue->flush();
    ASSERT_EQ(wait_for(*queue, 3).size(), 3U);
    EXPECT_EQ(batches[0].error, ErrorCode::kOk);
    EXPECT_EQ(batches[1].error, ErrorCode::kUnavailable);
    EXPECT_EQ(batches[2].error, ErrorCode::kUnavailable);
    EXPECT_TRUE(comes_back(*queue));
    // What was received before is still there, though the connection is another one.
    EXPECT_TRUE(testing::has_pattern({batches[0].views[0], 1000}, 10));
    EXPECT_TRUE(testing::has_pattern({batches[0].views[1], 500}, 77));
    queue->release(batches[0]);
    EXPECT_TRUE(queue->can_submit(64));
  }
}

TEST(TcpTier, ANodeThatRestartsBetweenReadsIsNotNoticed) {
  auto server = start_server();
  const std::uint16_t port = server->port();
  const auto queue = open(port)->open_queue(16);
  for (int restart = 0; restart < 3; ++restart) {
    EXPECT_EQ(read_now(*queue), ErrorCode::kOk);
    server.reset();
    server = start_server(port);
    ReadBatch* none[1];
    EXPECT_EQ(queue->poll(none), 0U);  // as a worker does before it starts queries
  }
  EXPECT_EQ(read_now(*queue), ErrorCode::kOk);
}

TEST(TcpTier, ANodeThatDoesNotAnswerIsGivenUp) {
  std::atomic<bool> done{false};
  const ScriptedNode node(first_then_well([&](RawSocket& socket) {
    greet(socket);
    while (!done) std::this_thread::sleep_for(1ms);
  }));
  ManualClock clock;
  const auto queue = open(node.port(), 50ms, false, TimeSource(clock))->open_queue(64);
  ASSERT_TRUE(queue->available());
  ReadBatch batch;
  set_reads(batch, {{100, 64}});
  queue->submit(batch);
  queue->flush();
  ReadBatch* back[1];
  for (int ms = 0; ms < 50; ++ms) {
    ASSERT_EQ(queue->poll(back), 0U) << "after " << ms << " ms";
    clock.advance(1ms);
  }
  clock.advance(1ms);
  ASSERT_EQ(queue->poll(back), 1U);
  EXPECT_EQ(batch.error, ErrorCode::kUnavailable);
  done = true;
  const testing::PassingTime passing(clock);
  EXPECT_TRUE(comes_back(*queue));
}

TEST(TcpTier, ANodeThatAcceptsAndNeverGreetsHoldsNobodyUp) {
  std::atomic<bool> done{false};
  const ScriptedNode node([&](RawSocket&) {
    while (!done) std::this_thread::sleep_for(1ms);
  });
  ManualClock clock;
  const testing::PassingTime passing(clock);
  const auto queue = open(node.port(), 30ms, false, TimeSource(clock))->open_queue(64);  // comes back unconnected
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(read_now(*queue), ErrorCode::kUnavailable);
  }
  done = true;
}

TEST(TcpTier, NonsenseEndsTheConnectionAndNothingElse) {
  const auto answered_by = [](const std::function<Bytes(std::uint32_t, const std::vector<Read>&)>& answer) {
    const ScriptedNode node(first_then_well([&](RawSocket& socket) {
      greet(socket);
      std::uint32_t batch_id = 0;
      const std::vector<Read> reads = next_request(socket, batch_id);
      (void)socket.send(answer(batch_id, reads));
      (void)socket.closed_by_peer();
    }));
    const auto queue = open(node.port())->open_queue(64);
    const ErrorCode error = read_now(*queue);
    EXPECT_TRUE(comes_back(*queue));
    return error;
  };
  using Reads = std::vector<Read>;
  const auto unavailable = ErrorCode::kUnavailable;
  EXPECT_EQ(answered_by([](std::uint32_t id, const Reads& r) { return reply_to(id + 1, r); }), unavailable);
  EXPECT_EQ(answered_by([](std::uint32_t id, const Reads&) { return reply_to(id, {{0, 1}}); }), unavailable);
  EXPECT_EQ(answered_by([](std::uint32_t, const Reads&) { return testing::bytes_of("HTTP/1.1 200 OK\r\n"); }),
            unavailable);
  EXPECT_EQ(answered_by([](std::uint32_t id, const Reads& r) {
              Bytes reply = reply_to(id, r);
              reply[2] = std::byte{7};  // an outcome that is none
              return reply;
            }),
            unavailable);
  EXPECT_EQ(answered_by([](std::uint32_t id, const Reads&) {
              Bytes reply(wire::kReplyHeaderBytes);
              wire::encode_header(reply.data(), {wire::Outcome::kOutsideRegion, id, 0});
              return reply;
            }),
            ErrorCode::kInvalidArgument);
}

TEST(TcpTier, BytesThatNobodyAskedForEndTheConnection) {
  std::atomic<bool> told{false};
  const ScriptedNode node(first_then_well([&](RawSocket& socket) {
    greet(socket);
    (void)socket.send(testing::bytes_of("surprise"));
    told = true;
    (void)socket.closed_by_peer();
  }));
  const auto queue = open(node.port())->open_queue(64);
  while (!told) std::this_thread::sleep_for(1ms);
  ReadBatch* none[1];
  while (node.connections < 2) {
    ASSERT_EQ(queue->poll(none), 0U);
  }
  EXPECT_TRUE(comes_back(*queue));
}

TEST(TcpTier, ANodeThatClosesIsNotBesieged) {
  const ScriptedNode node([](RawSocket& socket) { (void)socket.receive(wire::kHelloBytes); });
  ManualClock clock;
  const auto queue = open(node.port(), 5s, false, TimeSource(clock))->open_queue(64);
  EXPECT_EQ(node.connections, 1);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(read_now(*queue), ErrorCode::kUnavailable);
  }
  EXPECT_EQ(node.connections, 1) << "the first pause is not over";
  for (int ms = 0; ms < 300; ++ms) {
    clock.advance(1ms);
    EXPECT_EQ(read_now(*queue), ErrorCode::kUnavailable);
  }
  EXPECT_LE(node.connections, 12);  // 10, 20, 40 ... ms apart, at least half of that
}

TEST(TcpTier, CancelledReadsOfASilentNodeHaveABound) {
  std::atomic<bool> done{false};
  const ScriptedNode node(first_then_well([&](RawSocket& socket) {
    greet(socket);
    while (!done) std::this_thread::sleep_for(1ms);
  }));
  const auto queue = open(node.port(), 600s)->open_queue(8);
  ReadBatch batch;
  ReadBatch* back[1];
  for (int i = 0; i < 200 && node.connections < 2; ++i) {
    set_reads(batch, {{1, 64}, {2, 64}, {3, 64}, {4, 64}});
    ASSERT_TRUE(queue->can_submit(4)) << "cancelled batches kept their room";
    queue->submit(batch);
    queue->flush();
    queue->cancel(batch);
    ASSERT_EQ(queue->poll(back), 1U);
    ASSERT_TRUE(batch.error == ErrorCode::kCancelled || batch.error == ErrorCode::kUnavailable);
    done = done || i > 20;
  }
  done = true;
  EXPECT_TRUE(comes_back(*queue));
}

TEST(TcpTier, AWithdrawnRegionFailsAndComesBackWhenServed) {
  const auto server = start_server();
  const auto queue = open(server->port())->open_queue(16);
  EXPECT_EQ(read_now(*queue), ErrorCode::kOk);
  server->withdraw(kRegion);
  EXPECT_EQ(read_now(*queue), ErrorCode::kUnavailable);
  EXPECT_EQ(read_now(*queue), ErrorCode::kUnavailable);
  server->serve(kRegion, testing::kToken, testing::patterned_memory(kRegionBytes), 0, kRegionBytes);
  EXPECT_TRUE(comes_back(*queue));
}

TEST(TcpTier, RefusesBatchesThatNoReplyHolds) {
  const auto server = start_server();
  const auto queue = open(server->port())->open_queue({.max_reads = 40, .max_read_bytes = kRegionBytes});
  EXPECT_EQ(read_now(*queue, std::vector<Read>(33, Read{0, kRegionBytes})), ErrorCode::kInvalidArgument);
  EXPECT_EQ(read_now(*queue, std::vector<Read>(32, Read{0, kRegionBytes})), ErrorCode::kOk);
}

// ---- under a worker
// -----------------------------------------------------------------------------------------------------

struct Outcome {
  int ok = 0;
  int unavailable = 0;
  int late = 0;
  int other = 0;
  int wrong = 0;
};

engine::Task<void> reader(engine::Worker& worker, std::uint64_t seed, Outcome& outcome) {
  ReadBatch batch;
  for (std::uint64_t i = 0; i < 20; ++i) {
    set_reads(batch, {{(seed * 20 + i) * 37 % 1'000'000, 256}, {i * 4000, 700}});
    const ErrorCode error = co_await worker.read(batch);
    outcome.ok += error == ErrorCode::kOk;
    outcome.unavailable += error == ErrorCode::kUnavailable;
    outcome.late += error == ErrorCode::kDeadlineExceeded;
    outcome.other +=
        error != ErrorCode::kOk && error != ErrorCode::kUnavailable && error != ErrorCode::kDeadlineExceeded;
    if (error == ErrorCode::kOk) {
      for (std::uint32_t read = 0; read < batch.count; ++read) {
        outcome.wrong += !testing::has_pattern({batch.views[read], batch.reads[read].length}, batch.reads[read].offset);
      }
      worker.release(batch);
    } else {
      co_return;
    }
  }
}

TEST(TcpTier, ANodeThatRestartsUnderLoad) {
  auto server = start_server();
  const std::uint16_t port = server->port();
  const auto queue = open(port)->open_queue(64);
  engine::Worker worker(*queue, 16);
  Outcome outcome;
  std::atomic<bool> over{false};
  std::jthread restarting([&] {
    for (int i = 0; i < 5; ++i) {
      std::this_thread::sleep_for(20ms);
      server.reset();
      std::this_thread::sleep_for(i % 2 == 0 ? 0ms : 15ms);
      server = start_server(port);
    }
    over = true;
  });
  std::uint64_t given = 0;
  worker.run([&]() -> engine::Task<void> { return over ? engine::Task<void>() : reader(worker, given++, outcome); });
  EXPECT_EQ(outcome.wrong, 0);
  EXPECT_EQ(outcome.other, 0);
  EXPECT_GT(outcome.ok, 0);
  EXPECT_EQ(queue->in_flight(), 0U);
  EXPECT_TRUE(comes_back(*queue));
}

TEST(TcpTier, DeadlinesDoNotWaitForASilentNode) {
  std::atomic<bool> done{false};
  const ScriptedNode node(first_then_well([&](RawSocket& socket) {
    greet(socket);
    while (!done) std::this_thread::sleep_for(1ms);
  }));
  const auto queue = open(node.port(), 600s)->open_queue(64);
  ManualClock clock;
  engine::Worker worker(*queue, 8, PollingBudget::of_process(), TimeSource(clock));
  const testing::PassingTime passing(clock);
  Outcome outcome;
  int left = 8;
  worker.run([&]() -> engine::Query {
    return left-- > 0 ? engine::Query{reader(worker, 1, outcome), clock.after(20ms)} : engine::Query{};
  });
  EXPECT_EQ(outcome.late, 8);
  done = true;
}

}  // namespace
}  // namespace tiervec::rdma
