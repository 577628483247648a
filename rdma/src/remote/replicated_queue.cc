#include "replicated_queue.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

namespace tiervec::rdma {

namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();       // ReadBatch::replica: in no queue
constexpr std::uint32_t kCancelled = std::numeric_limits<std::uint32_t>::max();  // ReadBatch::failures: do not try on
constexpr std::uint32_t kPollsOfIdle =
    64;  // a replica without batches is polled every so often: it may be reconnecting

Ticks ticks(std::chrono::nanoseconds time) {
  return static_cast<Ticks>(static_cast<double>(time.count()) * TickClock::ticks_per_ns());
}

}  // namespace

ReplicatedQueue::ReplicatedQueue(std::shared_ptr<const Tier> tier, std::atomic<std::uint64_t>& passed_on,
                                 std::vector<std::unique_ptr<TierQueue>> queues, std::uint32_t home,
                                 std::uint32_t max_reads, TimeSource time)
    : tier_(std::move(tier)),
      passed_on_(passed_on),
      replicas_(queues.size()),
      home_(home),
      max_reads_(max_reads),
      time_(time),
      first_distrust_(ticks(10ms)),
      longest_distrust_(ticks(1s)),
      patience_(ticks(1s)),
      in_use_(home) {
  for (std::size_t i = 0; i < queues.size(); ++i) {
    replicas_[i].queue = std::move(queues[i]);
  }
}

bool ReplicatedQueue::available() const noexcept {
  return std::any_of(replicas_.begin(), replicas_.end(),
                     [](const Replica& replica) { return replica.queue->available(); });
}

void ReplicatedQueue::submit(ReadBatch& batch) noexcept {
  reads_ += batch.count;
  ++batches_;
  batch.failures = 0;
  batch.give_up_at = 0;
  // A later attempt reads the same batch again: it still knows who answered.
  send(batch, batch.attempt == 0 || batch.replica >= replicas_.size() ? in_use_ : next(batch.replica));
}

void ReplicatedQueue::send(ReadBatch& batch, std::uint32_t replica) noexcept {
  batch.replica = replica;
  batch.error = ErrorCode::kOk;
  Replica& to = replicas_[replica];
  ++to.batches;
  to.unflushed = true;
  to.queue->submit(batch);  // has room: every replica's queue has as much as this one
}

void ReplicatedQueue::flush() noexcept {
  for (Replica& replica : replicas_) {
    if (replica.unflushed) {
      replica.unflushed = false;
      replica.queue->flush();
    }
  }
}

std::size_t ReplicatedQueue::poll(std::span<ReadBatch*> done) noexcept {
  const bool idle_too = ++polls_ % kPollsOfIdle == 0;
  std::size_t count = 0;
  for (std::uint32_t i = 0; i < replicas_.size(); ++i) {
    if (replicas_[i].batches > 0 || idle_too) {
      count += poll_replica(i, done.subspan(count));
    }
  }
  if (degraded_) [[unlikely]] {
    look_after(time_.now());
    flush();  // what was sent on
  }
  while (count < done.size() && !done_.empty()) {
    ReadBatch& batch = done_.pop();
    reads_ -= batch.count;  // it failed: its views hold nothing
    done[count++] = &batch;
  }
  batches_ -= count;
  return count;
}

/// Moves those that end here to the front of `done`; returns how many. The others are on their way to another replica.
std::size_t ReplicatedQueue::poll_replica(std::uint32_t replica, std::span<ReadBatch*> done) noexcept {
  Replica& from = replicas_[replica];
  const std::size_t polled = from.queue->poll(done);
  from.batches -= static_cast<std::uint32_t>(polled);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < polled; ++i) {
    ReadBatch& batch = *done[i];
    if (batch.error == ErrorCode::kOk) [[likely]] {
      done[kept++] = &batch;
      continue;
    }
    if (ends_here(batch, from)) {
      reads_ -= batch.count;
      done[kept++] = &batch;
    }
  }
  if (kept > 0 && (from.distrust_for > 0 || outage_since_ != kNever) &&
      std::any_of(done.begin(), done.begin() + static_cast<std::ptrdiff_t>(kept),
                  [](const ReadBatch* batch) { return batch->error == ErrorCode::kOk; })) [[unlikely]] {
    from.distrust_for = 0;
    outage_since_ = kNever;
  }
  return kept;
}

/// What to do with a batch that failed: false when it goes on elsewhere.
bool ReplicatedQueue::ends_here(ReadBatch& batch, Replica& from) noexcept {
  if (batch.failures == kCancelled) {
    if (batch.error == ErrorCode::kUnavailable) {
      batch.error = ErrorCode::kCancelled;
    }
    return true;
  }
  if (batch.error != ErrorCode::kUnavailable) {
    return true;
  }
  distrust(from);
  if (++batch.failures < replicas_.size()) {
    passed_on_.fetch_add(1, std::memory_order_relaxed);
    send(batch, next(batch.replica));
    return false;
  }
  const Ticks now = time_.now();
  if (batch.give_up_at == 0) {
    batch.give_up_at = (outage_since_ == kNever ? now : outage_since_) + patience_;
  }
  if (now >= batch.give_up_at) {
    return true;
  }
  batch.replica = kNone;
  if (held_.empty()) {
    ask_held_at_ = now + first_distrust_;
  }
  held_.push(batch);
  degraded_ = true;
  return false;
}

void ReplicatedQueue::distrust(Replica& replica) noexcept {
  if (!replica.trusted) {
    return;  // the rest of the batches that were under way when it failed
  }
  const Ticks now = time_.now();
  replica.trusted = false;
  replica.distrust_for =
      replica.distrust_for == 0 ? first_distrust_ : std::min(2 * replica.distrust_for, longest_distrust_);
  replica.trust_again_at = now + replica.distrust_for;
  degraded_ = true;
  choose_replica();
  if (outage_since_ == kNever && !replicas_[in_use_].trusted) {
    outage_since_ = now;
  }
}

/// The first trusted one from home on; when there is none, the next one may be no worse.
void ReplicatedQueue::choose_replica() noexcept {
  std::uint32_t candidate = home_;
  for (std::size_t i = 0; i < replicas_.size(); ++i, candidate = next(candidate)) {
    if (replicas_[candidate].trusted) {
      in_use_ = candidate;
      return;
    }
  }
  in_use_ = next(in_use_);
}

void ReplicatedQueue::look_after(Ticks now) noexcept {
  bool all_trusted = true;
  bool changed = false;
  for (Replica& replica : replicas_) {
    if (!replica.trusted && now >= replica.trust_again_at && replica.queue->available()) {
      replica.trusted = true;
      changed = true;
    }
    all_trusted = all_trusted && replica.trusted;
  }
  if (changed) {
    choose_replica();
  }
  if (!held_.empty() && now >= ask_held_at_) {
    serve_held(now);
  }
  degraded_ = !all_trusted || !held_.empty();
}

void ReplicatedQueue::serve_held(Ticks now) noexcept {
  ask_held_at_ = now + first_distrust_;
  const bool ask = available();
  BatchList held;
  held.append(held_);
  while (!held.empty()) {
    ReadBatch& batch = held.pop();
    if (now >= batch.give_up_at) {
      end(batch, ErrorCode::kUnavailable);
    } else if (ask) {
      batch.failures = 0;
      send(batch, in_use_);
    } else {
      held_.push(batch);
    }
  }
}

void ReplicatedQueue::end(ReadBatch& batch, ErrorCode error) noexcept {
  batch.replica = kNone;
  batch.error = error;
  done_.push(batch);
}

void ReplicatedQueue::release(ReadBatch& batch) noexcept {
  reads_ -= batch.count;
  replicas_[batch.replica].queue->release(batch);
}

void ReplicatedQueue::cancel(ReadBatch& batch) noexcept {
  batch.failures = kCancelled;
  if (batch.replica != kNone) {
    replicas_[batch.replica].queue->cancel(batch);
  } else if (held_.remove(batch)) {
    end(batch, ErrorCode::kCancelled);
  }
}

}  // namespace tiervec::rdma
