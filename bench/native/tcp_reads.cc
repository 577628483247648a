// Reads of a `tcp://` tier against a raw loopback socket that moves the same bytes in the same frames.
//
//   tier   random reads, one worker, from a RegionServer: a process of its own, on the other core; a byte of each read
//          is compared
//   raw    requests and replies of the same sizes; the node sends its memory from the front to the back, whatever was
//          asked for, and nobody looks at what arrives
//   hot    the same, but the node sends one buffer again and again, which stays in its cache
//
// All keep the same number of requests on the way. They run in turn; figures are medians and spreads of the repeats.
// CPU time is of both sides, for each read.
//
//   cmake --preset release && cmake --build --preset release --target tiervec_rdma
//   g++ -std=c++20 -O3 -Itiervec/core/include -Irdma/include bench/native/tcp_reads.cc
//     build/release/libtiervec_rdma.a build/release/libtiervec_base.a -pthread -o tcp_reads    (one line)
//   tcp_reads [--read-bytes 256] [--batch 64] [--in-flight 16] [--seconds 0.5] [--repeats 7] [--region-mib 256]

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <tiervec/core/parse_number.h>
#include <tiervec/core/tick_clock.h>
#include <tiervec/rdma/region_server.h>
#include <tiervec/rdma/tcp_tier.h>

#include "../../rdma/src/tcp/socket.h"
#include "../../rdma/src/tcp/wire.h"

namespace {

using namespace tiervec;
using namespace tiervec::rdma;

struct Settings {
  std::uint32_t read_bytes = 256;
  std::uint32_t batch = 64;
  std::uint32_t in_flight = 16;  // batches
  double seconds = 0.5;
  int repeats = 7;
  std::uint64_t region_mib = 256;
};

/// One run: reads/s, and microseconds of CPU time for a read on either side.
struct Figures {
  double reads_per_s = 0;
  double client_cpu_us = 0;
  double node_cpu_us = 0;
};

double thread_cpu_s() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

// The client on the first core this process may use, the node on the last.
void pin(bool client) {
  cpu_set_t allowed;
  ::sched_getaffinity(0, sizeof allowed, &allowed);
  int chosen = -1;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed) && (chosen < 0 || !client)) {
      chosen = cpu;
    }
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(chosen, &one);
  ::sched_setaffinity(0, sizeof one, &one);
}

std::byte pattern(std::uint64_t offset) {
  return static_cast<std::byte>((offset * 0x9e3779b97f4a7c15ULL) >> 56U);
}

void write_all(int descriptor, const void* data, std::size_t bytes) {
  const auto* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t sent = ::send(descriptor, at, bytes, MSG_NOSIGNAL);
    if (sent < 0) fail("send");
    at += sent;
    bytes -= static_cast<std::size_t>(sent);
  }
}

// ---- the node: a child that serves until its standard input ends, and then says what CPU time it took
// ------------------

struct Node {
  pid_t pid = -1;
  std::uint16_t port = 0;
  int control = -1;

  double cpu_s() const {
    const char ask = 'c';
    double answer = 0;
    if (::write(control, &ask, 1) != 1 || ::read(control, &answer, sizeof answer) != sizeof answer) fail("node");
    return answer;
  }
};

/// Forks a child that runs `start`, which returns its port and a function that tells its CPU time.
template <class Start>
Node fork_node(const Start& start) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) fail("socketpair");
  Node node;
  node.pid = ::fork();
  if (node.pid == 0) {
    ::close(pair[0]);
    pin(false);
    start(pair[1]);
    ::_exit(0);
  }
  ::close(pair[1]);
  node.control = pair[0];
  if (::read(node.control, &node.port, sizeof node.port) != sizeof node.port) fail("node did not start");
  return node;
}

void end_node(const Node& node) {
  ::shutdown(node.control, SHUT_RDWR);  // the other child may hold a copy of it
  ::close(node.control);
  ::waitpid(node.pid, nullptr, 0);
}

void answer_control(int control, const std::function<double()>& cpu_s) {
  char ask = 0;
  while (::read(control, &ask, 1) == 1) {
    const double answer = cpu_s();
    if (::write(control, &answer, sizeof answer) != sizeof answer) return;
  }
}

Node start_tier_node(const Attachment& attachment) {
  return fork_node([&](int control) {
    auto memory = std::make_shared<NodeMemory>(attachment.size_bytes, false);
    for (std::uint64_t i = 0; i < attachment.size_bytes; ++i) {
      memory->data()[i] = pattern(i);
    }
    RegionServer server("127.0.0.1", 0);
    server.serve(attachment.region_id, attachment.token, std::move(memory), 0, attachment.size_bytes);
    const std::uint16_t port = server.port();
    write_all(control, &port, sizeof port);
    answer_control(control, [&] { return server.stats().cpu_seconds; });
  });
}

double process_cpu_s() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

/// Answers every request_bytes received with reply_bytes of `memory`; blocking, as simple as it gets.
void serve_raw(const Descriptor& listening, std::size_t request_bytes, std::size_t reply_bytes,
               const NodeMemory& memory) {
  constexpr std::size_t kAtOnce = 256 * 1024;
  std::vector<char> input(64 * 1024);
  std::size_t at = 0;
  for (;;) {
    const int client = ::accept(listening.number(), nullptr, nullptr);
    if (client < 0) continue;
    const Descriptor socket(client);
    set_socket_options(socket);
    std::size_t owed = 0;
    for (;;) {
      const ssize_t got = ::recv(client, input.data(), input.size(), 0);
      if (got <= 0) break;
      owed += static_cast<std::size_t>(got);
      while (owed >= request_bytes) {
        const std::size_t replies = std::clamp<std::size_t>(kAtOnce / reply_bytes, 1, owed / request_bytes);
        std::size_t left = replies * reply_bytes;
        while (left > 0) {
          at = memory.size_bytes() - at < left ? 0 : at;
          const ssize_t sent = ::send(client, memory.data() + at, left, MSG_NOSIGNAL);
          if (sent <= 0) break;
          at += static_cast<std::size_t>(sent);
          left -= static_cast<std::size_t>(sent);
        }
        if (left > 0) break;
        owed -= replies * request_bytes;
      }
    }
  }
}

Node start_raw_node(std::size_t request_bytes, std::size_t reply_bytes, std::uint64_t memory_bytes) {
  return fork_node([&](int control) {
    NodeMemory memory(memory_bytes, false);
    std::memset(memory.data(), 1, memory_bytes);
    const Descriptor listening = listen_at("127.0.0.1", 0);
    (void)::fcntl(listening.number(), F_SETFL, 0);  // blocking
    const std::uint16_t port = bound_port(listening);
    write_all(control, &port, sizeof port);
    std::thread serving([&] { serve_raw(listening, request_bytes, reply_bytes, memory); });
    answer_control(control, process_cpu_s);
    ::_exit(0);
  });
}

// ---- the two clients
// ----------------------------------------------------------------------------------------------------

struct Offsets {
  std::uint64_t state = 1;
  std::uint64_t places;
  std::uint32_t read_bytes;
  Read next() noexcept {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return {((state >> 32U) * places >> 32U) * read_bytes, read_bytes};
  }
};

Figures run_tier(Tier& tier, const Node& node, const Settings& settings) {
  const auto queue =
      tier.open_queue({.max_reads = settings.batch * settings.in_flight, .max_read_bytes = settings.read_bytes});
  std::vector<ReadBatch> batches(settings.in_flight);
  Offsets offsets{.places = tier.size_bytes() / settings.read_bytes, .read_bytes = settings.read_bytes};
  const auto submit = [&](ReadBatch& batch) {
    batch.count = settings.batch;
    for (std::uint32_t i = 0; i < batch.count; ++i) batch.reads[i] = offsets.next();
    queue->submit(batch);
  };
  const double node_cpu = node.cpu_s();
  const double client_cpu = thread_cpu_s();
  const Ticks start = TickClock::now();
  const Ticks end = TickClock::after(std::chrono::nanoseconds(static_cast<std::int64_t>(settings.seconds * 1e9)));
  std::uint64_t reads = 0;
  std::uint64_t wrong = 0;
  for (ReadBatch& batch : batches) submit(batch);
  std::vector<ReadBatch*> done(settings.in_flight);
  Ticks now = start;
  while (now < end) {
    queue->flush();
    const std::size_t count = queue->poll(done);
    for (std::size_t i = 0; i < count; ++i) {
      ReadBatch& batch = *done[i];
      if (batch.error != ErrorCode::kOk) {
        std::fprintf(stderr, "a batch failed: %s\n", error_code_name(batch.error));
        std::exit(1);
      }
      for (std::uint32_t read = 0; read < batch.count; ++read) {  // one byte of each, another one every time
        const std::uint32_t at = (static_cast<std::uint32_t>(reads) + read * 37) % settings.read_bytes;
        wrong += batch.views[read][at] != pattern(batch.reads[read].offset + at);
      }
      reads += batch.count;
      queue->release(batch);
      submit(batch);
    }
    now = TickClock::now();
  }
  if (wrong > 0) {
    std::fprintf(stderr, "%llu wrong bytes\n", static_cast<unsigned long long>(wrong));
    std::exit(1);
  }
  const double elapsed = static_cast<double>(now - start) / TickClock::ticks_per_ns() * 1e-9;
  const auto total = static_cast<double>(reads);
  return {total / elapsed, (thread_cpu_s() - client_cpu) / total * 1e6, (node.cpu_s() - node_cpu) / total * 1e6};
}

Figures run_raw(const Node& node, const Settings& settings, std::size_t request_bytes, std::size_t reply_bytes) {
  Descriptor socket = start_connect(resolve("127.0.0.1", node.port, false).front());
  while (connect_outcome(socket) == ConnectOutcome::kPending) {
  }
  std::vector<char> requests(request_bytes * settings.in_flight, 'r');
  std::vector<char> input(128 * 1024 + reply_bytes);
  const double node_cpu = node.cpu_s();
  const double client_cpu = thread_cpu_s();
  const Ticks start = TickClock::now();
  const Ticks end = TickClock::after(std::chrono::nanoseconds(static_cast<std::int64_t>(settings.seconds * 1e9)));
  std::uint64_t replies = 0;
  std::size_t received = 0;
  std::size_t due = settings.in_flight;  // requests to send
  Ticks now = start;
  while (now < end) {
    if (due > 0) write_all(socket.number(), requests.data(), due * request_bytes);
    due = 0;
    const ssize_t got = ::recv(socket.number(), input.data(), input.size(), MSG_DONTWAIT);
    if (got > 0) {
      received += static_cast<std::size_t>(got);
      due = received / reply_bytes;
      received %= reply_bytes;
      replies += due;
    }
    now = TickClock::now();
  }
  const double elapsed = static_cast<double>(now - start) / TickClock::ticks_per_ns() * 1e-9;
  const auto total = static_cast<double>(replies * settings.batch);
  return {total / elapsed, (thread_cpu_s() - client_cpu) / total * 1e6, (node.cpu_s() - node_cpu) / total * 1e6};
}

// ---- the report
// ---------------------------------------------------------------------------------------------------------

struct Spread {
  double median, low, high;
};

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

void print(const char* name, const std::vector<Figures>& runs) {
  const auto column = [&](double Figures::* field) {
    std::vector<double> values;
    for (const Figures& run : runs) values.push_back(run.*field);
    return spread_of(values);
  };
  const Spread rate = column(&Figures::reads_per_s);
  const Spread client = column(&Figures::client_cpu_us);
  const Spread server = column(&Figures::node_cpu_us);
  std::printf(
      "%-5s %6.2f (%.2f to %.2f) M reads/s   CPU a read: client %.0f (%.0f to %.0f) ns, node %.0f (%.0f to %.0f) ns\n",
      name, rate.median * 1e-6, rate.low * 1e-6, rate.high * 1e-6, client.median * 1e3, client.low * 1e3,
      client.high * 1e3, server.median * 1e3, server.low * 1e3, server.high * 1e3);
}

void print_ratio(const char* under, const std::vector<Figures>& tier, const std::vector<Figures>& raw) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < tier.size(); ++i) ratios.push_back(tier[i].reads_per_s / raw[i].reads_per_s);
  const Spread ratio = spread_of(ratios);
  std::printf("tier / %s: %.2f (%.2f to %.2f)\n", under, ratio.median, ratio.low, ratio.high);
}

Settings parse(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view key = argv[i];
    const double value = parse_number<double>(argv[i + 1]).value_or(-1);
    if (value < 0) {
      std::fprintf(stderr, "%s wants a number, not %s\n", argv[i], argv[i + 1]);
      std::exit(2);
    }
    if (key == "--read-bytes")
      settings.read_bytes = static_cast<std::uint32_t>(value);
    else if (key == "--batch")
      settings.batch = static_cast<std::uint32_t>(value);
    else if (key == "--in-flight")
      settings.in_flight = static_cast<std::uint32_t>(value);
    else if (key == "--seconds")
      settings.seconds = value;
    else if (key == "--repeats")
      settings.repeats = std::max(1, static_cast<int>(value));
    else if (key == "--region-mib")
      settings.region_mib = static_cast<std::uint64_t>(value);
    else {
      std::fprintf(stderr, "unknown option %s\n", argv[i]);
      std::exit(2);
    }
  }
  if (settings.batch == 0 || settings.batch > ReadBatch::kMaxReads || settings.read_bytes == 0) {
    std::fprintf(stderr, "--batch is 1 to %u, --read-bytes at least 1\n", ReadBatch::kMaxReads);
    std::exit(2);
  }
  return settings;
}

}  // namespace

int main(int argc, char** argv) {
  const Settings settings = parse(argc, argv);
  Attachment attachment{.transport = "tcp",
                        .host = "127.0.0.1",
                        .region_id = 7,
                        .size_bytes = settings.region_mib << 20U,
                        .token = {std::byte{1}, std::byte{2}}};
  const std::size_t request_bytes = wire::kRequestHeaderBytes + settings.batch * wire::kReadBytes;
  const std::size_t reply_bytes = wire::kReplyHeaderBytes + std::size_t{settings.batch} * settings.read_bytes;
  const Node tier_node = start_tier_node(attachment);
  const Node raw_node = start_raw_node(request_bytes, reply_bytes, attachment.size_bytes);
  const Node hot_node = start_raw_node(request_bytes, reply_bytes, std::max<std::size_t>(reply_bytes, 256 * 1024));
  pin(true);
  attachment.port = tier_node.port;
  try {
    const std::shared_ptr<Tier> tier = open_tcp_tier("tcp://127.0.0.1:1/bench", attachment);
    std::vector<Figures> tier_runs;
    std::vector<Figures> raw_runs;
    std::vector<Figures> hot_runs;
    for (int repeat = -1; repeat < settings.repeats; ++repeat) {
      const Figures raw = run_raw(raw_node, settings, request_bytes, reply_bytes);
      const Figures measured = run_tier(*tier, tier_node, settings);
      const Figures hot = run_raw(hot_node, settings, request_bytes, reply_bytes);
      if (repeat >= 0) {  // the first one warms up
        raw_runs.push_back(raw);
        tier_runs.push_back(measured);
        hot_runs.push_back(hot);
      }
    }
    std::printf("%u B reads, %u a batch, %u batches in flight, one worker, region of %llu MiB, %d repeats of %.2g s\n",
                settings.read_bytes, settings.batch, settings.in_flight,
                static_cast<unsigned long long>(settings.region_mib), settings.repeats, settings.seconds);
    print("tier", tier_runs);
    print("raw", raw_runs);
    print("hot", hot_runs);
    print_ratio("raw", tier_runs, raw_runs);
    print_ratio("hot", tier_runs, hot_runs);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  end_node(tier_node);
  end_node(raw_node);
  end_node(hot_node);
  return 0;
}
