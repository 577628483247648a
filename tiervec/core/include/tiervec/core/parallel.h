#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include <tiervec/core/status.h>

namespace tiervec {

/// How long work on a control path is watched and stopped from another thread. Counts items, not seconds.
struct WorkMonitor {
  std::atomic<bool> cancelled{false};
  std::atomic<std::size_t> done{0};
  std::atomic<std::size_t> total{0};
};

/// 0 means as many as this process may use: the lesser of the CPUs it may run on and its CPU quota (process_limits.h).
unsigned resolve_threads(unsigned threads);

/// Runs body(begin, end, worker) over [0, count) in blocks, on `threads` threads; blocks are taken in order. With one
/// thread it runs in the caller's. The first exception is rethrown after all threads have stopped; a cancelled monitor
/// ends the loop with Error(kCancelled) within one block.
template <class Body>
void parallel_blocks(std::size_t count, std::size_t block, unsigned threads, WorkMonitor* monitor, Body&& body) {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  std::mutex error_mutex;
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
    std::vector<std::jthread> pool;
    for (unsigned worker = 1; worker < threads; ++worker) {
      pool.emplace_back(work, worker);
    }
    work(0);
  }
  if (error) {
    std::rethrow_exception(error);
  }
}

}  // namespace tiervec
