// What the async core costs per read step, on a region that fits the first level cache: all that is left is overhead.
//
//   plain     the loop's own work: next offset, load, sum
//   queue     the same through TierQueue (submit, flush, poll, release), no coroutine
//   read      the same through Worker::read, `n` queries in flight
//   yield     the same with Worker::yield instead of a read
//
// CPU time of the thread, median and spread of interleaved repeats. Overhead of read = read - plain.
//
//   async_overhead [repeats]

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include <tiervec/core/parse_number.h>
#include <tiervec/engine/worker.h>
#include <tiervec/rdma/dram_tier.h>

namespace {

using namespace tiervec;
using namespace tiervec::engine;
using namespace tiervec::rdma;

constexpr std::uint64_t kRegionBytes = 16 * 1024;
constexpr std::uint32_t kReadBytes = 64;
constexpr std::uint32_t kSteps = 64;
constexpr std::uint32_t kQueries = 10'000;

struct Offsets {
  std::uint64_t state;
  std::uint64_t next() noexcept {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (state >> 40U) % (kRegionBytes / kReadBytes) * kReadBytes;
  }
};

std::uint64_t first_word(const std::byte* view) noexcept {
  return std::to_integer<std::uint64_t>(*view);
}

Task<void> read_query(Worker& worker, std::uint64_t seed, std::uint64_t& sum) {
  Offsets offsets{seed};
  ReadBatch batch;
  batch.count = 1;
  std::uint64_t own = 0;
  for (std::uint32_t i = 0; i < kSteps; ++i) {
    batch.reads[0] = {offsets.next(), kReadBytes};
    if (co_await worker.read(batch) != ErrorCode::kOk) {
      std::abort();
    }
    own += first_word(batch.views[0]);
    worker.release(batch);
  }
  sum += own;
}

Task<void> yield_query(Worker& worker, const std::byte* data, std::uint64_t seed, std::uint64_t& sum) {
  Offsets offsets{seed};
  std::uint64_t own = 0;
  for (std::uint32_t i = 0; i < kSteps; ++i) {
    const std::byte* view = data + offsets.next();
    co_await worker.yield();
    own += first_word(view);
  }
  sum += own;
}

std::uint64_t run_plain(const std::byte* data) {
  std::uint64_t sum = 0;
  for (std::uint32_t query = 0; query < kQueries; ++query) {
    Offsets offsets{query};
    for (std::uint32_t i = 0; i < kSteps; ++i) {
      sum += first_word(data + offsets.next());
    }
  }
  return sum;
}

std::uint64_t run_queue(TierQueue& queue) {
  std::uint64_t sum = 0;
  ReadBatch batch;
  batch.count = 1;
  ReadBatch* done[1];
  for (std::uint32_t query = 0; query < kQueries; ++query) {
    Offsets offsets{query};
    for (std::uint32_t i = 0; i < kSteps; ++i) {
      batch.reads[0] = {offsets.next(), kReadBytes};
      queue.submit(batch);
      queue.flush();
      while (queue.poll(done) == 0) {
      }
      sum += first_word(done[0]->views[0]);
      queue.release(batch);
    }
  }
  return sum;
}

template <class MakeQuery>
std::uint64_t run_worker(Worker& worker, const MakeQuery& make_query) {
  std::uint64_t sum = 0;
  std::uint32_t query = 0;
  worker.run([&]() -> Task<void> { return query < kQueries ? make_query(query++, sum) : Task<void>{}; });
  return sum;
}

double cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

struct Variant {
  std::string name;
  std::vector<double> ns_per_step;

  template <class Run>
  void measure(std::uint64_t expected, const Run& run) {
    const double start = cpu_ns();
    const std::uint64_t sum = run();
    ns_per_step.push_back((cpu_ns() - start) / (static_cast<double>(kQueries) * kSteps));
    if (sum != expected) {
      std::fprintf(stderr, "%s read wrong bytes\n", name.c_str());
      std::abort();
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  const int repeats = argc > 1 ? std::max(5, parse_number<int>(argv[1]).value_or(0)) : 15;
  std::vector<std::byte> bytes(kRegionBytes);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(i * 167 / 64);
  }
  const auto tier = DramTier::from_bytes(bytes);
  const std::uint64_t expected = run_plain(bytes.data());
  std::vector<Variant> variants{{"plain", {}}, {"queue", {}}};
  const std::vector<std::uint32_t> depths{1, 8, 32};
  for (const char* kind : {"read", "yield"}) {
    for (const std::uint32_t depth : depths) {
      variants.push_back({kind + std::string(" n=") + std::to_string(depth), {}});
    }
  }
  for (int repeat = 0; repeat < repeats; ++repeat) {
    auto variant = variants.begin();
    (variant++)->measure(expected, [&] { return run_plain(bytes.data()); });
    const auto queue = tier->open_queue(1024);
    (variant++)->measure(expected, [&] { return run_queue(*queue); });
    for (const std::uint32_t depth : depths) {
      Worker worker(*queue, depth);
      (variant++)->measure(expected, [&] {
        return run_worker(worker,
                          [&](std::uint64_t seed, std::uint64_t& sum) { return read_query(worker, seed, sum); });
      });
    }
    for (const std::uint32_t depth : depths) {
      Worker worker(*queue, depth);
      (variant++)->measure(expected, [&] {
        return run_worker(worker, [&](std::uint64_t seed, std::uint64_t& sum) {
          return yield_query(worker, bytes.data(), seed, sum);
        });
      });
    }
  }
  std::printf("%-12s %10s %10s %10s   ns of CPU per step, %d repeats\n", "variant", "median", "min", "max", repeats);
  for (Variant& variant : variants) {
    std::vector<double>& ns = variant.ns_per_step;
    std::sort(ns.begin(), ns.end());
    std::printf("%-12s %10.2f %10.2f %10.2f\n", variant.name.c_str(), ns[ns.size() / 2], ns.front(), ns.back());
  }
  return 0;
}
