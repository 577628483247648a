#include <tiervec/rdma/measure.h>

#include <algorithm>
#include <barrier>
#include <exception>
#include <memory>
#include <numeric>
#include <optional>

#include <tiervec/core/thread.h>
#include <tiervec/core/tick_clock.h>

#include "random_reads.h"

namespace tiervec::rdma {

namespace {

constexpr std::uint32_t kLineBytes = 64;
constexpr std::uint32_t kReadsPerBatch = 16;

// The compiler must believe that someone wants the sum of what was read.
void keep(std::uint64_t value) noexcept {
  asm volatile("" : : "r"(value) : "memory");
}

std::uint64_t load_lines(const std::byte* view, std::uint32_t length) noexcept {
  std::uint64_t sum = 0;
  for (std::uint32_t at = 0; at < length; at += kLineBytes) {
    sum += std::to_integer<std::uint64_t>(view[at]);
  }
  return sum;
}

[[noreturn]] void fail(const Tier& tier, const ReadBatch& batch) {
  throw Error(batch.error, "measuring " + tier.url() + ": a read of " + std::to_string(batch.reads[0].length) +
                               " bytes at " + std::to_string(batch.reads[0].offset) + " failed");
}

// Waits until what was loaded before has arrived, so that the clock is read after it.
Ticks now_after(std::uint64_t loaded) noexcept {
  keep(loaded);
#if defined(__x86_64__)
  _mm_lfence();
#endif
  return TickClock::now();
}

// The least of many: other programs make a look dearer, never cheaper.
double clock_cost_ticks() {
  Ticks least = kNever;
  for (int i = 0; i < 1000; ++i) {
    const Ticks start = now_after(0);
    least = std::min(least, now_after(0) - start);
  }
  return static_cast<double>(least);
}

Ticks ticks_of(double seconds) noexcept {
  return static_cast<Ticks>(seconds * 1e9 * TickClock::ticks_per_ns());
}

/// One thread's closed loop: `batches` batches always in flight, each submitted again when it has come back.
class ReadLoop {
 public:
  ReadLoop(Tier& tier, const ThroughputRequest& request, std::uint32_t thread)
      : tier_(tier),
        offsets_(tier, request.read_bytes, request.seed + thread * 0x632be59bd9b4e019ULL),
        batch_reads_(std::clamp(request.reads_in_flight, 1U, kReadsPerBatch)),
        batches_(std::max(1U, request.reads_in_flight / batch_reads_)),
        queue_(tier.open_queue(static_cast<std::uint32_t>(batches_.size()) * batch_reads_)) {}

  /// Runs from `start`, which is about now, to `end`, or until the first read is back, but not beyond `latest`: on a
  /// busy machine a thread may sleep through a short run. Returns reads/s. Never sleeps, as workers on a disk do: one
  /// thread with nothing else to do gets more out of it when it looks all the time.
  double run(Ticks start, Ticks end, Ticks latest) {
    Ticks now = start;
    std::uint64_t reads = 0;
    for (ReadBatch& batch : batches_) {
      submit(batch);
    }
    while (now < end || (reads == 0 && now < latest)) {
      queue_->flush();
      reads += collect(true);
      now = TickClock::now();
    }
    const double elapsed_s = static_cast<double>(now - start) / TickClock::ticks_per_ns() * 1e-9;
    while (queue_->in_flight() > 0) {
      queue_->flush();
      (void)collect(false);
    }
    return static_cast<double>(reads) / elapsed_s;
  }

 private:
  void submit(ReadBatch& batch) noexcept {
    batch.count = batch_reads_;
    for (std::uint32_t i = 0; i < batch_reads_; ++i) {
      batch.reads[i] = offsets_.next();
    }
    queue_->submit(batch);
  }

  std::uint64_t collect(bool submit_again) {
    ReadBatch* done[16];
    const std::size_t count = queue_->poll(done);
    for (std::size_t i = 0; i < count; ++i) {
      ReadBatch& batch = *done[i];
      if (batch.error != ErrorCode::kOk) {
        fail(tier_, batch);
      }
      std::uint64_t sum = 0;
      for (std::uint32_t read = 0; read < batch.count; ++read) {
        sum += load_lines(batch.views[read], batch.reads[read].length);
      }
      keep(sum);
      queue_->release(batch);
      if (submit_again) {
        submit(batch);
      }
    }
    return count * batch_reads_;
  }

  Tier& tier_;
  RandomReads offsets_;
  std::uint32_t batch_reads_;
  std::vector<ReadBatch> batches_;
  std::unique_ptr<TierQueue> queue_;  // goes first: batches may be in flight when a failure is thrown
};

/// Threads that measure in one common window: rates of threads that ran one after the other would add up to more than
/// the device gives.
class ThroughputRun {
 public:
  ThroughputRun(Tier& tier, const ThroughputRequest& request)
      : tier_(tier),
        request_(request),
        length_(ticks_of(request.seconds)),
        patience_(ticks_of(request.patience_s)),
        rates_(request.threads),
        failures_(request.threads),
        warm_(request.threads, SetStart{start_}) {}

  /// Reads/s of all threads, or the first failure.
  double run() {
    {
      std::vector<Thread> threads;
      threads.reserve(request_.threads);
      for (std::uint32_t thread = 0; thread < request_.threads; ++thread) {
        try {
          threads.emplace_back("a measurement", [this, thread] { measure(thread); });
        } catch (...) {
          failures_[thread] = std::current_exception();  // no more threads: the others must not wait for this one
          warm_.arrive_and_drop();
        }
      }
    }
    for (const std::exception_ptr& failure : failures_) {
      if (failure) {
        std::rethrow_exception(failure);
      }
    }
    return std::accumulate(rates_.begin(), rates_.end(), 0.0);
  }

 private:
  struct SetStart {
    Ticks& start;
    void operator()() noexcept { start = TickClock::now(); }
  };

  void measure(std::uint32_t thread) noexcept {
    std::optional<ReadLoop> loop;
    try {
      loop.emplace(tier_, request_, thread);
      const Ticks now = TickClock::now();
      (void)loop->run(now, now + length_ / 5, 0);
    } catch (...) {
      failures_[thread] = std::current_exception();
      warm_.arrive_and_drop();
      return;
    }
    warm_.arrive_and_wait();
    try {
      rates_[thread] = loop->run(start_, start_ + length_, start_ + patience_);
    } catch (...) {
      failures_[thread] = std::current_exception();
    }
  }

  Tier& tier_;
  const ThroughputRequest& request_;
  Ticks length_;
  Ticks patience_;
  std::vector<double> rates_;
  std::vector<std::exception_ptr> failures_;
  Ticks start_ = 0;  // written when all are warm, before any goes on
  std::barrier<SetStart> warm_;
};

}  // namespace

std::vector<double> measure_latency_ns(Tier& tier, std::uint32_t read_bytes, std::uint32_t reads, std::uint64_t seed) {
  RandomReads offsets(tier, read_bytes, seed);
  const std::unique_ptr<TierQueue> queue = tier.open_queue(1);
  const double clock_cost = clock_cost_ticks();
  std::vector<double> latencies_ns(reads);
  ReadBatch batch;
  batch.count = 1;
  ReadBatch* done[1];
  for (double& latency_ns : latencies_ns) {
    batch.reads[0] = offsets.next();
    const Ticks start = now_after(0);
    queue->submit(batch);
    queue->flush();
    while (queue->poll(done) == 0) {
      queue->wait();
    }
    if (batch.error != ErrorCode::kOk) {
      fail(tier, batch);
    }
    const Ticks end = now_after(load_lines(batch.views[0], read_bytes));
    queue->release(batch);
    latency_ns = std::max(0.0, (static_cast<double>(end - start) - clock_cost) / TickClock::ticks_per_ns());
  }
  std::sort(latencies_ns.begin(), latencies_ns.end());
  return latencies_ns;
}

double measure_reads_per_s(Tier& tier, const ThroughputRequest& request) {
  if (request.threads == 0 || !(request.seconds > 0)) {
    throw Error(ErrorCode::kInvalidArgument, "a measurement needs at least 1 thread and more than 0 seconds");
  }
  return ThroughputRun(tier, request).run();
}

void take_measured(DeviceProfile& profile, double latency_us, double reads_per_s, double bytes_per_s) {
  if (!(reads_per_s > 0 && bytes_per_s > 0)) {
    profile.note += profile.note.empty() ? "" : "; ";
    profile.note +=
        "the device was not measured, because no read came back in time: it is too slow, or the machine busy";
    return;
  }
  profile.latency_us = latency_us;
  profile.reads_per_s = reads_per_s;
  profile.bytes_per_s = bytes_per_s;
  profile.source = "measured";
}

}  // namespace tiervec::rdma
