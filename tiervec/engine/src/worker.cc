#include <tiervec/engine/worker.h>

#include <algorithm>
#include <cassert>
#include <chrono>

#include <tiervec/core/idle_step.h>

namespace tiervec::engine {

namespace {

constexpr std::uint32_t kDoneAtOnce = 16;  // batches polled for in a turn, or one a query

}  // namespace

Worker::Worker(rdma::TierQueue& queue, std::uint32_t in_flight, PollingBudget& budget, TimeSource time)
    : queue_(queue),
      budget_(budget),
      time_(time),
      target_(queue.load_store_target()),
      waiting_(in_flight),
      in_flight_(in_flight),
      slots_(in_flight),
      done_(std::max(in_flight, kDoneAtOnce)) {
  if (in_flight == 0) {
    throw Error(ErrorCode::kInvalidArgument, "a worker needs at least 1 query in flight, got 0");
  }
  end_of_turn_.resume = std::noop_coroutine();
  free_.reserve(in_flight);
  for (Slot& slot : slots_) {
    free_.push_back(&slot);
  }
  std::reverse(free_.begin(), free_.end());
}

Worker::~Worker() {
  assert(running_ == 0);
}

void Worker::limit_in_flight(std::uint32_t in_flight) noexcept {
  in_flight_ = std::clamp<std::uint32_t>(in_flight, 1, static_cast<std::uint32_t>(slots_.size()));
}

void Worker::begin_run() {
  assert(running_ == 0 && none_ready());
  admitting_ = true;
  next_deadline_ = kNever;
  idle_since_ = kNever;
  idle_turns_ = 0;
}

void Worker::start(Query query) {
  Slot& slot = *free_.back();
  free_.pop_back();
  slot.task = std::move(query.task);
  slot.root = slot.task.handle();
  slot.resume = slot.root;
  slot.batches = {};
  slot.submitted = false;
  slot.stop = ErrorCode::kOk;
  slot.reads_allowed = rdma::ReadBatch::kMaxReads;
  slot.deadline = query.deadline;
  slot.cancel = query.cancel;
  watched_ += slot.cancel != nullptr ? 1U : 0U;
  next_deadline_ = std::min(next_deadline_, slot.deadline);
  ++running_;
  push_ready(slot);
  // A cancel from here on is seen by its count.
  if (slot.cancel != nullptr && slot.cancel->cancelled()) stop(slot, ErrorCode::kCancelled);
}

void Worker::finish(Slot& slot) noexcept {
  try {
    slot.root.promise().take();
  } catch (...) {
    if (!asks_again_) fail_run(std::current_exception());
  }
  leave(slot);
}

// Nothing of it is in flight: it is not in the ready list, and it read nothing since it last was.
void Worker::drop_foreign(Slot& slot) noexcept {
  leave(slot);
  if (asks_again_) return;
  fail_run(std::make_exception_ptr(
      Error(ErrorCode::kInternal, "a query waits for something that its worker does not know and cannot resume")));
}

void Worker::leave(Slot& slot) noexcept {
  slot.task.reset();
  slot.root = nullptr;
  slot.resume = nullptr;
  watched_ -= slot.cancel != nullptr ? 1U : 0U;
  slot.cancel = nullptr;
  --running_;
  free_.push_back(&slot);
}

void Worker::fail_run(std::exception_ptr error) noexcept {
  if (!first_error_) {
    first_error_ = std::move(error);
  }
  stop_all(ErrorCode::kCancelled);
}

void Worker::admit_waiting() noexcept {
  while (!waiting_.empty()) {
    Slot& slot = *waiting_.front();
    if (!queue_.can_submit(slot.reads)) {
      return;
    }
    waiting_.pop();
    submit(slot);
  }
}

void Worker::expire(Ticks now) noexcept {
  next_deadline_ = kNever;
  for (Slot& slot : slots_) {
    if (!slot.root || slot.stop != ErrorCode::kOk) {
      continue;
    }
    if (slot.deadline <= now) {
      stop(slot, ErrorCode::kDeadlineExceeded);
    } else {
      next_deadline_ = std::min(next_deadline_, slot.deadline);
    }
  }
}

void Worker::stop_cancelled() noexcept {
  for (Slot& slot : slots_) {
    if (slot.cancel != nullptr && slot.stop == ErrorCode::kOk && slot.cancel->cancelled()) {
      stop(slot, ErrorCode::kCancelled);
    }
  }
}

void Worker::stop_all(ErrorCode why) noexcept {
  admitting_ = false;
  next_deadline_ = kNever;
  for (Slot& slot : slots_) {
    if (slot.root && slot.stop == ErrorCode::kOk) {
      stop(slot, why);
    }
  }
}

void Worker::stop(Slot& slot, ErrorCode why) noexcept {
  slot.stop = why;
  slot.reads_allowed = 0;
  if (slot.batches.empty()) {
    return;
  }
  if (slot.submitted) {
    for (rdma::ReadBatch& batch : slot.batches) {
      if (batch.owner != nullptr) {  // else it has come back
        queue_.cancel(batch);
      }
    }
  } else {
    fail_waiting(slot, why);
  }
}

void Worker::fail_waiting(Slot& slot, ErrorCode why) noexcept {
  for (std::uint32_t left = waiting_.size(); left > 0; --left) {
    if (Slot* other = waiting_.pop(); other != &slot) {
      waiting_.push(other);
    }
  }
  for (rdma::ReadBatch& batch : slot.batches) batch.error = why;
  slot.batches = {};
  push_ready(slot);
}

/// Returns the first error, and gives back what came without one.
ErrorCode Worker::end_failed_round(std::span<rdma::ReadBatch> batches) noexcept {
  ErrorCode error = ErrorCode::kOk;
  for (const rdma::ReadBatch& batch : batches) {
    if (error == ErrorCode::kOk) error = batch.error;
  }
  for (rdma::ReadBatch& batch : batches) {
    release(batch);
    batch.error = error;
  }
  return error;
}

void Worker::wait_for_tier() {
  if (idle_since_ == kNever) {
    idle_since_ = time_.now();
    idle_turns_ = 0;
  }
  if (queue_.in_flight() == 0) {
    if (waiting_.empty()) {
      drop_all();
      throw Error(ErrorCode::kInternal, "the queue of a tier has lost a batch");
    }
    // Nothing will come back and make room: the batch is larger than the queue, or views were not released.
    fail_waiting(*waiting_.front(), ErrorCode::kResourceExhausted);
    return;
  }
  if (queue_.wait()) return;
  const auto waited = std::chrono::nanoseconds(
      static_cast<std::int64_t>(static_cast<double>(time_.now() - idle_since_) / TickClock::ticks_per_ns()));
  const IdleStep step = idle_step(++idle_turns_, waited, budget_.is_exceeded());
  counters_.sleeps += step.kind == IdleStep::Kind::kSleep ? 1U : 0U;
  take(step);
}

void Worker::drop_all() noexcept {
  for (Slot& slot : slots_) {
    if (slot.root) leave(slot);
  }
}

void Worker::end_idle() noexcept {
  counters_.idle_ticks += time_.now() - idle_since_;
  idle_since_ = kNever;
}

}  // namespace tiervec::engine
