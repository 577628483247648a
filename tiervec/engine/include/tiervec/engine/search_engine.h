#pragma once

// What every index's search shares: worker threads with their queues and query states, kept between searches, and the
// way a search of many queries runs on them.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <tiervec/core/parallel.h>
#include <tiervec/core/process.h>
#include <tiervec/core/status.h>
#include <tiervec/core/tick_clock.h>
#include <tiervec/engine/pending_search.h>
#include <tiervec/engine/search_pool.h>
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
  std::uint32_t rescans = 0;  // 1: its filtered search found too little, and it looked at every matching row
};

/// Queries to keep in flight on one worker: enough to cover the device's latency with work, within its buffers. For
/// queries of many short steps between reads.
std::uint32_t queries_in_flight(const rdma::DeviceProfile& profile) noexcept;

/// The same for one of so many `threads` of a search whose queries read so many records at once. Fewer on what reads in
/// blocks of 4 KiB, a disk: some reads of all threads keep it busy, and queries that only wait there push what the
/// others use out of the caches. Searches beside this one are not counted.
std::uint32_t queries_in_flight(const rdma::DeviceProfile& profile, unsigned threads,
                                std::uint32_t reads_per_round) noexcept;

/// What a failed search says; names the tier.
std::string describe_search_error(ErrorCode error, const std::string& url);

/// The answer of a request whose filter admits nothing: no neighbours, at no cost.
template <class Request>
WorkerTime answer_nothing(const Request& request) {
  const std::size_t room = std::size_t{request.count} * request.parameters.k;
  std::fill_n(request.ids, room, std::int64_t{-1});
  std::fill_n(request.distances, room, std::numeric_limits<float>::infinity());
  std::fill_n(request.costs, request.count, QueryCost{});
  return {.threads = 1};
}

struct SearchCall {
  std::uint32_t count = 0;  // queries
  unsigned threads = 1;
  std::uint32_t in_flight = 1;  // queries on each thread
  std::uint32_t room = 1;       // a context's, for queries in flight; the same in all calls
  bool on_caller = false;       // a lone query has to run on the thread of its caller
  bool one_by_one = false;      // a thread runs one query at a time; submitted, its queries run one after another
  const CancelToken* cancel = nullptr;
  Ticks deadline = kNever;
};

/// What every search of an open index shares. A Context is one worker thread's queue, scheduler and query states, and
/// has a member `worker`. Thread-safe, and usable in a forked child.
///
///   on the caller's thread   a lone query, while fewer searches run than there may be threads
///   on threads of its own    a batch
///   in the pool              other lone queries, and all that is submitted: workers run the queries of all callers
///                            together (search_pool.h)
template <class Context>
class SearchEngine {
 public:
  /// `max_waiting` searches may wait for a worker of the pool.
  explicit SearchEngine(std::shared_ptr<rdma::Tier> tier, std::uint32_t max_waiting = kMaxWaiting)
      : tier_(std::move(tier)), max_waiting_(max_waiting) {}

  /// Runs start(context, state, index) -> Task<void> for every query. make(room) makes a context. Throws the first
  /// query's error after everything in flight has come back; kResourceExhausted at once when too many wait.
  template <class Make, class Start>
  WorkerTime run(const SearchCall& call, const Make& make, const Start& start) {
    Shared& shared = shared_.get();
    SearchState state;
    const unsigned threads = std::clamp<unsigned>(call.threads, 1, std::max(1U, call.count));
    const bool is_lone = call.count == 1 && !call.one_by_one && !call.on_caller;
    const Running running(shared.running, threads);
    WorkerTime time;
    if (!is_lone || running.others < call.threads) {
      time = run_here(threads, call, make, start, state);
    } else if (!run_in_pool(shared, call, make, start, state, time)) {
      time = run_here(threads, call, make, start, state);
      ++time.threads_refused;
    }
    check_end(state, call.cancel);
    return time;
  }

  /// The same for a caller that does not wait: workers of the pool do all of it. `start` is copied, and may use what
  /// lives as long as the search that is returned. `listener` hears of its end, with the ticket, perhaps before this
  /// returns; null: nobody. Throws kResourceExhausted at once when too many wait or there is no thread.
  template <class Make, class Start>
  [[nodiscard]] std::unique_ptr<PendingSearch> submit(const SearchCall& call, const Make& make, const Start& start,
                                                      std::shared_ptr<SearchListener> listener, std::uint64_t ticket) {
    Shared& shared = shared_.get();
    const unsigned wanted = std::clamp<unsigned>(call.threads, 1, std::max(1U, call.count));
    auto pending = std::make_unique<Submitted<Start>>(*this, shared, call, start);
    pending->its_request().listener = std::move(listener);
    pending->its_request().ticket = ticket;
    SearchPool<Context>& pool = pool_of(shared);
    const unsigned workers = pool.ready(call.threads, wanted, [&] { return Lease(*this, call.room, make).take(); });
    if (workers == 0) {
      throw Error(ErrorCode::kResourceExhausted,
                  "a search needs a thread and the system gives no more; raise the limit of processes (ulimit -u, or "
                  "the container's pids.max)");
    }
    pending->threads_refused = wanted - std::min(wanted, workers);
    pending->push(pool);
    return pending;
  }

  /// Workers of the pool that live, in this process.
  [[nodiscard]] std::size_t pool_workers() {
    Shared& shared = shared_.get();
    const std::lock_guard lock(shared.pool_mutex);
    return shared.pool == nullptr ? 0 : shared.pool->workers();
  }

 private:
  /// What belongs to one process: a forked child has none of the parent's threads, rings and connections, and makes its
  /// own.
  struct Shared {
    Shared() {}
    ~Shared() {
      // Threads of the parent may have been changing these at the fork, or sleeping on them, and will never be done:
      // nobody can tell what is whole, and it stays.
      if (!origin.here()) [[maybe_unused]]
        const auto* const left = pool.release();
      if (origin.here() || mutex.try_lock()) std::destroy_at(&idle);
    }
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;

    Origin origin;
    std::atomic<unsigned> running{0};  // threads of calls, one for a lone query wherever it runs or waits
    std::mutex mutex;
    union {  // destroyed by hand
      std::vector<std::unique_ptr<Context>> idle{};
    };
    std::mutex pool_mutex;
    std::unique_ptr<SearchPool<Context>> pool;  // once a lone query found all threads busy
  };

  /// Counts the threads of a call while it runs.
  struct Running {
    Running(std::atomic<unsigned>& all, unsigned threads)
        : running(all), count(threads), others(all.fetch_add(threads)) {}
    ~Running() { running.fetch_sub(count); }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

    std::atomic<unsigned>& running;
    const unsigned count;
    const unsigned others;
  };

  template <class Make, class Start>
  WorkerTime run_here(unsigned threads, const SearchCall& call, const Make& make, const Start& start,
                      SearchState& state) {
    std::atomic<std::uint64_t> cpu_ns{0};
    std::atomic<Ticks> waiting_ticks{0};
    const unsigned worked = parallel_blocks(threads, 1, threads, nullptr, [&](std::size_t, std::size_t, unsigned) {
      const Lease lease(*this, call.one_by_one ? 0 : call.room, make);
      Context& context = *lease;
      const double started = thread_cpu_us();
      const Ticks waited = context.worker.counters().idle_ticks;
      context.worker.limit_in_flight(call.one_by_one ? 1 : call.in_flight);
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
    return {.threads = worked,
            .threads_refused = threads - worked,
            .cpu_us = static_cast<double>(cpu_ns.load()) * 1e-3,
            .waiting_us = static_cast<double>(waiting_ticks.load()) / TickClock::ticks_per_ns() * 1e-3};
  }

  SearchPool<Context>& pool_of(Shared& shared) {
    const std::lock_guard lock(shared.pool_mutex);
    if (!shared.pool) shared.pool = std::make_unique<SearchPool<Context>>(max_waiting_);
    return *shared.pool;
  }

  void check_end(const SearchState& state, const CancelToken* cancel) const {
    ErrorCode error = state.error.load();
    if (error == ErrorCode::kOk && cancel != nullptr && cancel->cancelled()) error = ErrorCode::kCancelled;
    if (error != ErrorCode::kOk) throw Error(error, describe_search_error(error, tier_->url()));
  }

  template <class Start>
  struct Begin {
    Start start;
    SearchState& state;
    [[nodiscard]] static Task<void> begin(const void* self, void* context, std::uint32_t index) {
      const auto& begin = *static_cast<const Begin*>(self);
      return begin.start(*static_cast<Context*>(context), begin.state, index);
    }
    void give_to(PoolRequest& request, const SearchCall& call) const noexcept {
      request.begin = begin;
      request.search = this;
      request.in_flight = call.in_flight;
      request.one_by_one = call.one_by_one;
    }
  };

  /// False: the system gives no thread for it.
  template <class Make, class Start>
  bool run_in_pool(Shared& shared, const SearchCall& call, const Make& make, const Start& start, SearchState& state,
                   WorkerTime& time) {
    SearchPool<Context>& pool = pool_of(shared);
    if (pool.ready(call.threads, 1, [&] { return Lease(*this, call.room, make).take(); }) == 0) return false;
    const Begin<const Start&> begin{start, state};
    PoolRequest request(pool.queue(), state, call.count, call.cancel, call.deadline);
    begin.give_to(request, call);
    pool.push(request);
    request.wait();
    time = request.time();
    return true;
  }

  template <class Start>
  class Submitted final : public PendingSearch {
   public:
    Submitted(SearchEngine& engine, Shared& shared, const SearchCall& call, const Start& start)
        : engine_(engine),
          cancel_(call.cancel),
          work_(new Work{engine.pool_of(shared).queue(), shared.running, call, start}) {}
    ~Submitted() override {
      // In a child its request may be linked into lists that were being changed: it stays.
      if (!here()) {
        [[maybe_unused]] const Work* const left = work_.release();
        return;
      }
      if (!is_pushed_) return;
      work_->request.cancel();
      work_->request.wait();
    }

    void cancel() noexcept override {
      if (here()) work_->request.cancel();
    }
    void expire() noexcept override {
      if (here()) work_->request.expire();
    }
    bool wait_for(std::chrono::nanoseconds limit) noexcept override {
      return !here() || work_->request.wait_for(limit);
    }
    WorkerTime finish() override {
      if (!here()) throw Error(ErrorCode::kUnsupported, "this search belongs to the process that was forked");
      work_->request.wait();
      engine_.check_end(work_->state, &work_->request.token());
      engine_.check_end(work_->state, cancel_);
      WorkerTime time = work_->request.time();
      time.threads_refused = threads_refused;
      return time;
    }

    [[nodiscard]] PoolRequest& its_request() noexcept { return work_->request; }
    void push(SearchPool<Context>& pool) {
      pool.push(work_->request);
      is_pushed_ = true;
    }

    unsigned threads_refused = 0;

   private:
    struct Work {
      Work(RequestQueue& queue, std::atomic<unsigned>& running_threads, const SearchCall& call, const Start& start)
          : begin{start, state},
            request(queue, state, call.count, call.cancel, call.deadline),
            running(running_threads, std::clamp<unsigned>(call.threads, 1, std::max(1U, call.count))) {
        begin.give_to(request, call);
      }
      SearchState state;
      const Begin<Start> begin;
      PoolRequest request;
      const Running running;
    };

    SearchEngine& engine_;
    const CancelToken* const cancel_;
    std::unique_ptr<Work> work_;
    bool is_pushed_ = false;
  };

  /// Takes a context that is kept, or makes one; gives it back.
  class Lease {
   public:
    /// Without room it is one for a single query at a time, which is not kept.
    template <class Make>
    Lease(SearchEngine& engine, std::uint32_t room, const Make& make) : engine_(engine), pooled_(room > 0) {
      if (pooled_) {
        Shared& shared = engine_.shared_.get();
        const std::lock_guard lock(shared.mutex);
        if (!shared.idle.empty()) {
          context_ = std::move(shared.idle.back());
          shared.idle.pop_back();
        }
      }
      if (!context_) context_ = make(pooled_ ? room : 1);
    }
    ~Lease() {
      if (pooled_ && context_) {
        Shared& shared = engine_.shared_.get();
        const std::lock_guard lock(shared.mutex);
        shared.idle.push_back(std::move(context_));
      }
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    [[nodiscard]] Context& operator*() const noexcept { return *context_; }
    [[nodiscard]] std::unique_ptr<Context> take() noexcept { return std::move(context_); }

   private:
    SearchEngine& engine_;
    bool pooled_;
    std::unique_ptr<Context> context_;
  };

  std::shared_ptr<rdma::Tier> tier_;
  const std::uint32_t max_waiting_;
  PerProcess<Shared> shared_;
};

}  // namespace tiervec::engine
