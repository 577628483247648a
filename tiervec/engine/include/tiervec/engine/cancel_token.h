#pragma once

// Stops searches from any thread, at once: those that run look at it, those that wait for a worker watch it.

#include <atomic>
#include <cstdint>
#include <mutex>

#include <tiervec/core/process.h>

namespace tiervec::engine {

/// Set once, from any thread; every worker that runs with it stops within a turn of its loop, which may wait for a
/// millisecond. In a forked child it stops what runs there, and nothing of the parent's.
class CancelToken {
 public:
  /// Hears of the cancel, on the thread that cancels, at most once.
  class Watcher {
   public:
    Watcher() = default;
    Watcher(const Watcher&) = delete;
    Watcher& operator=(const Watcher&) = delete;

    virtual ~Watcher() = default;

   protected:
    virtual void cancelled() noexcept = 0;

   private:
    friend class CancelToken;
    Watcher* previous_ = nullptr;
    Watcher* next_ = nullptr;
  };

  CancelToken() = default;
  ~CancelToken() { delete watchers_.load(std::memory_order_acquire); }
  CancelToken(const CancelToken&) = delete;
  CancelToken& operator=(const CancelToken&) = delete;

  /// Returns when all watchers have heard of it.
  void cancel() noexcept;
  [[nodiscard]] bool cancelled() const noexcept { return cancelled_.load(std::memory_order_relaxed); }

  /// The watcher is told at once when the token is cancelled already. It stays until unwatch, which waits for a cancel
  /// that is telling it.
  void watch(Watcher& watcher) const;
  void unwatch(Watcher& watcher) const noexcept;

  /// Changes with every cancel of any token: while it stays the same, no token has to be looked at.
  [[nodiscard]] static std::uint64_t cancels() noexcept { return cancels_.load(std::memory_order_acquire); }

 private:
  struct Watchers {
    Origin origin;
    std::mutex mutex;
    Watcher* first = nullptr;
  };

  [[nodiscard]] Watchers& watchers() const;

  static inline std::atomic<std::uint64_t> cancels_{0};
  std::atomic<bool> cancelled_{false};
  mutable std::atomic<Watchers*> watchers_{nullptr};  // made by the first watch of this process
};

}  // namespace tiervec::engine
