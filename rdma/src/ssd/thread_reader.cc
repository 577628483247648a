#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <thread>
#include <vector>

#include <tiervec/core/status.h>
#include <tiervec/core/thread.h>

#include "sector_reader.h"

namespace tiervec::rdma::ssd {

namespace {

constexpr std::uint32_t kMostThreads = 16;
constexpr std::uint64_t kStop = std::uint64_t{1} << 63U;

/// Reads by pread in a pool of threads. Two rings of fixed size and no lock: reads to do, written by the owner and
/// claimed by the threads in order; reads that landed, written by the threads and taken by the owner.
class ThreadReader final : public SectorReader {
 public:
  explicit ThreadReader(const ReaderSetup& setup)
      : descriptor_(setup.descriptor),
        mask_(std::bit_ceil(setup.depth) - 1),
        reads_(mask_ + std::size_t{1}),
        landed_(mask_ + std::size_t{1}) {
    try {
      const std::uint32_t threads = std::min(setup.depth, kMostThreads);
      for (std::uint32_t i = 0; i < threads; ++i) {
        threads_.emplace_back("a queue of ssd:", [this] { work(); });
      }
    } catch (...) {
      stop();
      throw;
    }
  }
  ~ThreadReader() override { stop(); }

  void add(const SectorRead& read) noexcept override { reads_[added_++ & mask_].store(read); }

  void send() noexcept override {
    if (sent_.load(std::memory_order_relaxed) != added_) {
      sent_.store(added_, std::memory_order_release);
      sent_.notify_all();
    }
  }

  std::size_t poll(std::span<Landed> landed) noexcept override {
    std::size_t count = 0;
    while (count < landed.size()) {
      Entry& entry = landed_[taken_ & mask_];
      if (entry.turn.load(std::memory_order_acquire) != taken_ + 1) {
        break;
      }
      landed[count++] = entry.landed;
      ++taken_;
    }
    if (count == 0 && taken_ != added_) {
      std::this_thread::yield();  // a poller must not keep a reading thread from its core
    }
    return count;
  }

 private:
  /// A place of the ring of reads to do. A thread may look at it while the owner writes the next read there.
  class ReadPlace {
   public:
    void store(const SectorRead& read) noexcept {
      offset_.store(read.offset, std::memory_order_relaxed);
      bytes_.store(read.bytes, std::memory_order_relaxed);
      to_.store(read.to, std::memory_order_relaxed);
      slot_.store(read.slot, std::memory_order_relaxed);
    }
    [[nodiscard]] SectorRead load() const noexcept {
      return {offset_.load(std::memory_order_relaxed), bytes_.load(std::memory_order_relaxed),
              to_.load(std::memory_order_relaxed), slot_.load(std::memory_order_relaxed)};
    }

   private:
    std::atomic<std::uint64_t> offset_{0};
    std::atomic<std::uint32_t> bytes_{0};
    std::atomic<std::byte*> to_{nullptr};
    std::atomic<std::uint32_t> slot_{0};
  };

  /// A place of the ring of landed reads; `turn` is one more than the number of the read that it holds.
  struct Entry {
    std::atomic<std::uint64_t> turn{0};
    Landed landed;
  };

  void work() noexcept {
    for (;;) {
      std::uint64_t next = claimed_.load(std::memory_order_relaxed);
      const std::uint64_t sent = sent_.load(std::memory_order_acquire);
      if ((sent & kStop) != 0) {
        return;
      }
      if (next == sent) {
        sent_.wait(sent, std::memory_order_acquire);
        continue;
      }
      if (next > sent) {
        continue;  // `sent` is from before others were sent and claimed
      }
      // Before the claim: until then its place is not written again, and later it may be at any time. What is torn is
      // not claimed.
      const SectorRead read = reads_[next & mask_].load();
      if (!claimed_.compare_exchange_weak(next, next + 1, std::memory_order_acq_rel)) {
        continue;  // another thread has it
      }
      const std::int32_t result = read_now(read);
      // Of all that landed so far, one was sent after the owner had taken what was in this place before: hence acq_rel.
      const std::uint64_t place = landing_.fetch_add(1, std::memory_order_acq_rel);
      Entry& entry = landed_[place & mask_];
      entry.landed = {read.slot, result};
      entry.turn.store(place + 1, std::memory_order_release);
    }
  }

  [[nodiscard]] std::int32_t read_now(const SectorRead& read) const noexcept {
    for (;;) {
      const ssize_t got = ::pread(descriptor_, read.to, read.bytes, static_cast<off_t>(read.offset));
      if (got >= 0) {
        return static_cast<std::int32_t>(got);
      }
      if (errno != EINTR) {
        return -errno;
      }
    }
  }

  void stop() noexcept {
    sent_.fetch_or(kStop, std::memory_order_release);
    sent_.notify_all();
    threads_.clear();  // joins
  }

  const int descriptor_;
  const std::uint64_t mask_;
  std::vector<ReadPlace> reads_;
  std::vector<Entry> landed_;
  std::uint64_t added_ = 0;                // of the owner
  std::uint64_t taken_ = 0;                // of the owner
  std::atomic<std::uint64_t> sent_{0};     // reads before it may be claimed
  std::atomic<std::uint64_t> claimed_{0};  // reads before it have been
  std::atomic<std::uint64_t> landing_{0};
  std::vector<Thread> threads_;
};

}  // namespace

std::unique_ptr<SectorReader> make_thread_reader(const ReaderSetup& setup) {
  return std::make_unique<ThreadReader>(setup);
}

}  // namespace tiervec::rdma::ssd
