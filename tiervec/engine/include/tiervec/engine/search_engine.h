#pragma once

// What every index's search shares: worker threads with their queues and query states, kept between searches, and the
// way a search of many queries runs on them.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <tiervec/core/parallel.h>
#include <tiervec/core/process.h>
#include <tiervec/core/status.h>
#include <tiervec/core/tick_clock.h>
#include <tiervec/engine/worker.h>
#include <tiervec/rdma/tier.h>

namespace tiervec::engine {

/// What one query cost.
struct QueryCost {
  float latency_us = 0;
  std::uint32_t reads = 0;
  std::uint32_t rounds = 0;
  std::uint32_t code_distances = 0;
  std::uint32_t hot_records = 0;  // found in a hot set instead of being read
  std::uint64_t bytes = 0;
  std::uint32_t rereads = 0;  // reads, counted above too, that repeated others because a record was damaged
};

/// What all workers of a search took, in microseconds.
struct WorkerTime {
  unsigned threads = 0;
  unsigned threads_refused = 0;  // that the system did not give
  double cpu_us = 0;             // CPU time
  double waiting_us = 0;         // in which no query could go on: the worker asked the tier for reads, and took them in
};

/// Queries to keep in flight on one worker: enough to cover the device's latency with work, within its buffers. For
/// queries of many short steps between reads.
std::uint32_t queries_in_flight(const rdma::DeviceProfile& profile) noexcept;

/// The same for one of so many `threads` of a search whose queries read so many records at once. Fewer on what reads in
/// blocks of 4 KiB, a disk: some reads of all threads keep it busy, and queries that only wait there push what the
/// others use out of the caches. Searches beside this one are not counted.
std::uint32_t queries_in_flight(const rdma::DeviceProfile& profile, unsigned threads,
                                std::uint32_t reads_per_round) noexcept;

/// CPU time of this thread.
double thread_cpu_us() noexcept;

/// What a failed search says; names the tier.
std::string describe_search_error(ErrorCode error, const std::string& url);

/// What the workers of one search share.
struct SearchState {
  std::atomic<std::uint32_t> next{0};            // query to start
  std::atomic<ErrorCode> error{ErrorCode::kOk};  // the first that a query met; no query starts after it

  void fail(ErrorCode why) noexcept {
    ErrorCode none = ErrorCode::kOk;
    error.compare_exchange_strong(none, why);
  }
};

struct SearchCall {
  std::uint32_t count = 0;  // queries
  unsigned threads = 1;
  std::uint32_t in_flight = 1;  // queries on each thread
  std::uint32_t room = 1;       // a context's, for queries in flight
  bool pooled = true;           // contexts are kept for the next search; all pooled ones have the same room
  const CancelToken* cancel = nullptr;
  Ticks deadline = kNever;
};

/// One worker thread's queue, scheduler and query states: a Context has a member `worker`. Thread-safe, and usable in a
/// forked child.
template <class Context>
class SearchEngine {
 public:
  explicit SearchEngine(std::shared_ptr<rdma::Tier> tier) : tier_(std::move(tier)) {}

  /// Runs start(context, state, index) -> Task<void> for every query. make(room) makes a context, prepare(context)
  /// makes room in one. Throws the first query's error after everything in flight has come back.
  template <class Make, class Prepare, class Start>
  WorkerTime run(const SearchCall& call, const Make& make, const Prepare& prepare, const Start& start) {
    SearchState state;
    std::atomic<std::uint64_t> cpu_ns{0};
    std::atomic<Ticks> waiting_ticks{0};
    const unsigned threads = std::clamp<unsigned>(call.threads, 1, std::max(1U, call.count));
    const unsigned worked = parallel_blocks(threads, 1, threads, nullptr, [&](std::size_t, std::size_t, unsigned) {
      const Lease lease(*this, call, make);
      Context& context = *lease;
      const double started = thread_cpu_us();
      const Ticks waited = context.worker.counters().idle_ticks;
      prepare(context);
      context.worker.limit_in_flight(call.in_flight);
      context.worker.run(
          [&]() -> Query {
            const std::uint32_t index = state.next.fetch_add(1, std::memory_order_relaxed);
            if (index >= call.count || state.error.load(std::memory_order_relaxed) != ErrorCode::kOk) {
              return {};
            }
            return {start(context, state, index), call.deadline};
          },
          call.cancel);
      cpu_ns += static_cast<std::uint64_t>((thread_cpu_us() - started) * 1e3);
      waiting_ticks += context.worker.counters().idle_ticks - waited;
    });
    if (const ErrorCode error = state.error.load(); error != ErrorCode::kOk) {
      throw Error(error, describe_search_error(error, tier_->url()));
    }
    if (call.cancel != nullptr && call.cancel->cancelled()) {
      throw Error(ErrorCode::kCancelled, describe_search_error(ErrorCode::kCancelled, tier_->url()));
    }
    return {.threads = worked,
            .threads_refused = threads - worked,
            .cpu_us = static_cast<double>(cpu_ns.load()) * 1e-3,
            .waiting_us = static_cast<double>(waiting_ticks.load()) / TickClock::ticks_per_ns() * 1e-3};
  }

 private:
  /// Contexts of one process: a forked child has none of the parent's threads, rings and connections, and makes its
  /// own.
  struct Pool {
    Pool() {}
    ~Pool() {
      // A thread of the parent may have been changing it at the fork, and will never be done: nobody can tell what is
      // whole, and it stays.
      if (origin.here() || mutex.try_lock()) {
        std::destroy_at(&idle);
      }
    }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    Origin origin;
    std::mutex mutex;
    union {  // destroyed by hand
      std::vector<std::unique_ptr<Context>> idle{};
    };
  };

  /// Takes a context from the pool, or makes one; gives it back.
  class Lease {
   public:
    template <class Make>
    Lease(SearchEngine& engine, const SearchCall& call, const Make& make) : engine_(engine), pooled_(call.pooled) {
      if (pooled_) {
        Pool& pool = engine_.pool_.get();
        const std::lock_guard lock(pool.mutex);
        if (!pool.idle.empty()) {
          context_ = std::move(pool.idle.back());
          pool.idle.pop_back();
        }
      }
      if (!context_) context_ = make(call.room);
    }
    ~Lease() {
      if (pooled_ && context_) {
        Pool& pool = engine_.pool_.get();
        const std::lock_guard lock(pool.mutex);
        pool.idle.push_back(std::move(context_));
      }
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    [[nodiscard]] Context& operator*() const noexcept { return *context_; }

   private:
    SearchEngine& engine_;
    bool pooled_;
    std::unique_ptr<Context> context_;
  };

  std::shared_ptr<rdma::Tier> tier_;
  PerProcess<Pool> pool_;
};

}  // namespace tiervec::engine
