#include <tiervec/engine/request_queue.h>

#include <chrono>

namespace tiervec::engine {

namespace {

// How often a caller whose request no worker has taken looks at its token: a token wakes nobody.
constexpr std::chrono::milliseconds kLook{20};

}  // namespace

// Under the lock, so that the caller, who needs it to see the end, outlives the notification.
void PoolRequest::complete() noexcept {
  const std::lock_guard lock(mutex_);
  is_complete_ = true;
  completed_.notify_one();
}

bool RequestQueue::push(PoolRequest& request) noexcept {
  const std::lock_guard lock(mutex_);
  if (waiting() >= limit_) return false;
  (first_ == nullptr ? first_ : last_->next_) = &request;
  last_ = &request;
  waiting_.store(waiting() + 1, std::memory_order_relaxed);
  if (sleeping() > 0) arrived_.notify_one();
  return true;
}

void RequestQueue::wait(PoolRequest& request) noexcept {
  std::unique_lock lock(request.mutex_);
  while (!request.completed_.wait_for(lock, kLook, [&] { return request.is_complete_; })) {
    const bool is_cancelled = request.cancel != nullptr && request.cancel->cancelled();
    if (!is_cancelled && TickClock::now() < request.deadline) continue;
    lock.unlock();
    if (remove(request)) {
      request.state.fail(is_cancelled ? ErrorCode::kCancelled : ErrorCode::kDeadlineExceeded);
      return;
    }
    lock.lock();  // a worker has it, and stops it
  }
}

PoolRequest* RequestQueue::pop() noexcept {
  if (waiting() == 0) return nullptr;
  const std::lock_guard lock(mutex_);
  PoolRequest* const request = first_;
  if (request == nullptr) return nullptr;
  first_ = request->next_;
  waiting_.store(waiting() - 1, std::memory_order_relaxed);
  return request;
}

bool RequestQueue::remove(PoolRequest& request) noexcept {
  const std::lock_guard lock(mutex_);
  PoolRequest* before = nullptr;
  for (PoolRequest* at = first_; at != nullptr; before = at, at = at->next_) {
    if (at != &request) continue;
    (before == nullptr ? first_ : before->next_) = request.next_;
    if (last_ == &request) last_ = before;
    waiting_.store(waiting() - 1, std::memory_order_relaxed);
    return true;
  }
  return false;
}

bool RequestQueue::wait_for_request() noexcept {
  std::unique_lock lock(mutex_);
  sleeping_.store(sleeping() + 1, std::memory_order_relaxed);
  arrived_.wait(lock, [&] { return first_ != nullptr || stopped_; });
  sleeping_.store(sleeping() - 1, std::memory_order_relaxed);
  return !stopped_;
}

void RequestQueue::stop() noexcept {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  arrived_.notify_all();
}

}  // namespace tiervec::engine
