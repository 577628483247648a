#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <vector>

#include <tiervec/core/status.h>
#include <tiervec/core/thread.h>

namespace tiervec {

/// How long work on a control path is watched and stopped from another thread. Counts items, not seconds.
struct WorkMonitor {
  std::atomic<bool> cancelled{false};
  std::atomic<std::size_t> done{0};
  std::atomic<std::size_t> total{0};
  std::atomic<unsigned> threads_refused{0};  // that the system did not give; the others did their work
};

/// 0 means as many as this process may use: the lesser of the CPUs it may run on and its CPU quota (process_limits.h).
unsigned resolve_threads(unsigned threads);

/// Runs body(begin, end, worker) over [0, count) in blocks, on `threads` threads; blocks are taken in order. With one
/// thread it runs in the caller's. When the system gives fewer threads, those that there are do all the work. Returns
/// how many worked, at least 1. The first exception is rethrown after all threads have stopped; a cancelled monitor
/// ends the loop with Error(kCancelled) within one block.
template <class Body>
unsigned parallel_blocks(std::size_t count, std::size_t block, unsigned threads, WorkMonitor* monitor, Body&& body) {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  std::mutex error_mutex;
  unsigned workers = 1;
  const auto work = [&](unsigned worker) {
    try {
      while (!failed.load(std::memory_order_relaxed)) {
        if (monitor != nullptr && monitor->cancelled.load(std::memory_order_relaxed)) {
          throw Error(ErrorCode::kCancelled, "stopped by request");
        }
        const std::size_t begin = next.fetch_add(block, std::memory_order_relaxed);
        if (begin >= count) {
          return;
        }
        const std::size_t end = begin + block < count ? begin + block : count;
        body(begin, end, worker);
        if (monitor != nullptr) {
          monitor->done.fetch_add(end - begin, std::memory_order_relaxed);
        }
      }
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      if (!error) {
        error = std::current_exception();
      }
      failed.store(true, std::memory_order_relaxed);
    }
  };
  {
    std::vector<Thread> pool;
    pool.reserve(threads);
    try {
      for (; workers < threads; ++workers) {
        pool.emplace_back("parallel work", [&work, worker = workers] { work(worker); });
      }
    } catch (const Error&) {
      if (monitor != nullptr) monitor->threads_refused = threads - workers;
    }
    work(0);
  }
  if (error) {
    std::rethrow_exception(error);
  }
  return workers;
}

}  // namespace tiervec
