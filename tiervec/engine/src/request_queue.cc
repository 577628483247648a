#include <tiervec/engine/request_queue.h>

#include <algorithm>
#include <bit>

namespace tiervec::engine {

namespace {

// Queries of a turn, where no other request waits: fewer looks at the queue, and the last ones are still spread.
constexpr std::uint32_t kMaxTurn = 8;
constexpr std::uint32_t kTurnsLeft = 64;

}  // namespace

void PoolRequest::watch() {
  if (outer_ == nullptr || is_watching_) return;
  outer_->watch(*this);
  is_watching_ = true;
}

void PoolRequest::cancel() noexcept {
  token_.cancel();
  queue_.drop(*this, ErrorCode::kCancelled);
}

void PoolRequest::expire() noexcept {
  queue_.drop(*this, ErrorCode::kDeadlineExceeded);
}

void PoolRequest::wait() noexcept {
  while (!wait_for(std::chrono::hours(1))) continue;
}

bool PoolRequest::wait_for(std::chrono::nanoseconds limit) noexcept {
  const auto until = std::chrono::steady_clock::now() + limit;
  const auto is_complete = [this] { return is_complete_; };
  std::unique_lock lock(mutex_);
  if (deadline != kNever && !is_complete_) {
    const Ticks now = TickClock::now();
    const double left_ns = now >= deadline ? 0.0 : static_cast<double>(deadline - now) / TickClock::ticks_per_ns();
    if (left_ns < static_cast<double>(limit.count())) {
      const auto left = std::chrono::nanoseconds(static_cast<std::int64_t>(left_ns));
      if (completed_.wait_for(lock, left, is_complete)) return true;
      lock.unlock();
      expire();
      lock.lock();
    }
  }
  return completed_.wait_until(lock, until, is_complete);
}

WorkerTime PoolRequest::time() const noexcept {
  unsigned threads = 0;
  for (const std::uint64_t word : workers_) threads += static_cast<unsigned>(std::popcount(word));
  return {.threads = std::max(1U, threads), .cpu_us = cpu_us_.load(), .waiting_us = waiting_us_.load()};
}

// Its owner may end it as soon as it is complete: it waits for that under the lock, so it outlives the notification.
void PoolRequest::complete() noexcept {
  if (listener) listener->search_ended(ticket);
  const std::lock_guard lock(mutex_);
  is_complete_ = true;
  completed_.notify_all();
}

bool RequestQueue::push(PoolRequest& request) {
  if (request.count == 0) {
    request.complete();
    return true;
  }
  request.watch();
  {
    const std::lock_guard lock(mutex_);
    if (waiting() >= limit_) return false;
    append(request);
  }
  if (request.count > 1) {
    arrived_.notify_all();
  } else {
    arrived_.notify_one();
  }
  if (request.token_.cancelled()) drop(request, ErrorCode::kCancelled);  // before it was here
  return true;
}

RequestQueue::Turn RequestQueue::take(std::uint32_t worker) noexcept {
  if (waiting() == 0) return {};
  const std::lock_guard lock(mutex_);
  PoolRequest* const request = first_;
  if (request == nullptr) return {};
  unlink(*request);
  std::uint32_t queries = 1;
  if (request->state.has_failed()) {
    queries = request->count - request->taken_;
  } else if (first_ == nullptr && !request->one_by_one) {
    queries = std::clamp((request->count - request->taken_) / kTurnsLeft, 1U, kMaxTurn);
  }
  const Turn turn{request, request->taken_, request->taken_ + queries};
  request->taken_ = turn.end;
  const std::uint32_t bit = worker % PoolRequest::kMaxCounted;
  request->workers_[bit / 64] |= std::uint64_t{1} << (bit % 64);
  if (turn.end < request->count && !request->one_by_one) append(*request);
  return turn;
}

void RequestQueue::end(PoolRequest& request, std::uint32_t queries) noexcept {
  if (request.one_by_one && request.left_.load(std::memory_order_relaxed) > queries) {
    bool has_more = false;
    {
      const std::lock_guard lock(mutex_);
      has_more = request.taken_ < request.count && !request.is_queued_;
      // It was in the queue before, so it has a place there whatever the limit is.
      if (has_more) append(request);
    }
    if (has_more) arrived_.notify_one();
  }
  if (request.left_.fetch_sub(queries, std::memory_order_acq_rel) == queries) request.complete();
}

void RequestQueue::drop(PoolRequest& request, ErrorCode why) noexcept {
  std::uint32_t dropped = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!request.is_queued_) return;  // workers have all of it, or it is not here yet
    unlink(request);
    dropped = request.count - request.taken_;
    request.taken_ = request.count;
  }
  request.state.fail(why);
  if (request.left_.fetch_sub(dropped, std::memory_order_acq_rel) == dropped) request.complete();
}

void RequestQueue::append(PoolRequest& request) noexcept {
  request.previous_ = last_;
  request.next_ = nullptr;
  (last_ == nullptr ? first_ : last_->next_) = &request;
  last_ = &request;
  request.is_queued_ = true;
  waiting_.store(waiting() + 1, std::memory_order_relaxed);
}

void RequestQueue::unlink(PoolRequest& request) noexcept {
  (request.previous_ == nullptr ? first_ : request.previous_->next_) = request.next_;
  (request.next_ == nullptr ? last_ : request.next_->previous_) = request.previous_;
  request.is_queued_ = false;
  waiting_.store(waiting() - 1, std::memory_order_relaxed);
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
