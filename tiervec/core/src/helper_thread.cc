#include <tiervec/core/helper_thread.h>

#include <chrono>
#include <ctime>
#include <utility>

#include <pthread.h>

#ifdef TIERVEC_X86
#include <immintrin.h>
#endif

namespace tiervec {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

constexpr unsigned kLooksPerTime = 32;  // looks for a part between two looks at the clock

void pause_briefly() noexcept {
#ifdef TIERVEC_X86
  _mm_pause();
#endif
}

}  // namespace

HelperThread::HelperThread() : thread_("a second thread for lone queries", [this] { run(); }) {
  pthread_getcpuclockid(thread_.native_handle(), &cpu_clock_);
}

HelperThread::~HelperThread() {
  if (!thread_.joinable()) return;  // a forked process has no such thread
  state_.store(kStop, std::memory_order_release);
  wake();
  thread_.join();
}

void HelperThread::begin_call() noexcept {
  followed_soon_ = Clock::now() - last_end_ < kPolling;
}

void HelperThread::end_call() noexcept {
  if (followed_soon_ && asleep_.load(std::memory_order_relaxed)) wake();
  last_end_ = Clock::now();
}

void HelperThread::wake() noexcept {
  wakes_.fetch_add(1, std::memory_order_release);
  wakes_.notify_one();
}

void HelperThread::sleep() noexcept {
  const std::uint32_t seen = wakes_.load(std::memory_order_acquire);
  asleep_.store(true, std::memory_order_relaxed);
  if (state_.load(std::memory_order_acquire) == kNone) wakes_.wait(seen, std::memory_order_acquire);
  asleep_.store(false, std::memory_order_relaxed);
}

HelperThread::Time HelperThread::take_time() noexcept {
  Time time;
  time.waiting_ns = static_cast<double>(waiting_ns_.exchange(0, std::memory_order_relaxed));
  timespec now{};
  if (!thread_.joinable() || clock_gettime(cpu_clock_, &now) != 0) return time;
  const double cpu_ns = static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
  time.cpu_ns = cpu_ns - std::exchange(taken_cpu_ns_, cpu_ns);
  return time;
}

void HelperThread::offer(const Part& part) noexcept {
  part_ = part;
  state_.store(kOffered, std::memory_order_release);
}

bool HelperThread::take_back() noexcept {
  std::uint32_t expected = kOffered;
  if (state_.compare_exchange_strong(expected, kNone, std::memory_order_acquire)) return true;
  for (unsigned looks = 0; state_.load(std::memory_order_acquire) != kNone; ++looks) {
    if (looks % 1024 == 1023) {
      std::this_thread::yield();  // it may wait for this processor
    } else {
      pause_briefly();
    }
  }
  return false;
}

bool HelperThread::wait_for_part() noexcept {
  auto since = Clock::now();
  const auto add_waiting = [&](Clock::time_point now) {
    waiting_ns_.fetch_add(static_cast<std::uint64_t>(nanoseconds(now - since).count()), std::memory_order_relaxed);
  };
  for (unsigned looks = 1;; ++looks) {
    std::uint32_t seen = state_.load(std::memory_order_relaxed);
    if (seen == kStop) return false;
    if (seen == kOffered && state_.compare_exchange_strong(seen, kTaken, std::memory_order_acquire)) {
      add_waiting(Clock::now());
      return true;
    }
    if (looks % kLooksPerTime != 0) {
      pause_briefly();
    } else if (const auto now = Clock::now(); now - since > kPolling) {
      add_waiting(now);
      sleep();
      since = Clock::now();
    }
  }
}

void HelperThread::run() noexcept {
  while (wait_for_part()) {
    part_.run(part_.work);
    state_.store(kNone, std::memory_order_release);
  }
}

}  // namespace tiervec
