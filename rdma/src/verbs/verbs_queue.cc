#include "verbs_queue.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <utility>

namespace tiervec::rdma::verbs {

namespace {

constexpr std::uint32_t kLineBytes = 64;
constexpr std::size_t kCompletionsAtOnce = 16;
constexpr std::uint32_t kFullDoorbell = 16;  // reads that are worth one

constexpr std::chrono::milliseconds kLookEvery{1};   // at the connection, while nothing arrives
constexpr std::chrono::milliseconds kLasting{1000};  // a connection that was up for as long did not fail at once
constexpr double kFirstBackoffMs = 10;
constexpr double kLastBackoffMs = 1000;

std::uint32_t whole_lines(std::uint32_t bytes) noexcept {
  return (bytes + kLineBytes - 1) / kLineBytes * kLineBytes;
}

Ticks ticks_of(std::chrono::nanoseconds duration) {
  return static_cast<Ticks>(static_cast<double>(duration.count()) * TickClock::ticks_per_ns());
}

}  // namespace

VerbsQueue::VerbsQueue(std::shared_ptr<const Tier> tier, const VerbsLibrary& library, const Endpoint& endpoint,
                       CounterLedger& ledger, const QueueLimits& limits)
    : tier_(std::move(tier)),
      library_(library),
      endpoint_(endpoint),
      counters_(ledger),
      max_reads_(limits.max_reads),
      max_read_bytes_(limits.max_read_bytes),
      size_bytes_(endpoint.size_bytes),
      buffer_bytes_(whole_lines(limits.max_read_bytes)),
      timeout_(ticks_of(endpoint.timeout)),
      busy_reads_(reads_in_flight(tier_->profile())),
      jitter_(static_cast<std::minstd_rand::result_type>(TickClock::now())) {
  const std::uint32_t buffers = 2 * max_reads_;
  memory_ = HugeBuffer(std::size_t{buffers} * buffer_bytes_);
  free_.resize(buffers);
  for (free_count_ = 0; free_count_ < buffers; ++free_count_) {
    free_[free_count_] = buffers - 1 - free_count_;
  }
  requests_.resize(buffers);
  pieces_.resize(buffers);
  for (std::uint32_t i = 0; i < buffers; ++i) {
    requests_[i].pieces = &pieces_[i];
    requests_[i].piece_count = 1;
    requests_[i].opcode = abi::kOpRead;
    requests_[i].next = i + 1 < buffers ? &requests_[i + 1] : nullptr;
  }
  flights_.resize(std::bit_ceil(buffers));
  flight_mask_ = flights_.size() - 1;
  posted_buffers_.resize(std::bit_ceil(buffers));
  posted_mask_ = posted_buffers_.size() - 1;

  look_after_connection();
  if (connection_->wait()) {
    connection_up();
  } else if (connection_->failure_code() == ErrorCode::kResourceExhausted) {
    throw connection_->failure("a queue of tier " + tier_->url());
  } else {
    drop_connection(ErrorCode::kUnavailable);
  }
}

bool VerbsQueue::valid(const ReadBatch& batch) const noexcept {
  const std::uint64_t longest = std::min<std::uint64_t>(size_bytes_, max_read_bytes_);
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    const Read read = batch.reads[i];
    // Written so that no sum can overflow; length - 1 wraps for an empty read.
    if (read.length - std::uint32_t{1} >= longest || read.offset > size_bytes_ - read.length) [[unlikely]] {
      return false;
    }
  }
  return true;
}

void VerbsQueue::submit(ReadBatch& batch) noexcept {
  assert(can_submit(batch.count));
  ++batches_;
  room_taken_ += batch.count;
  if (!valid(batch)) [[unlikely]] {
    fail_early(batch, ErrorCode::kInvalidArgument);
  } else if (!up_) [[unlikely]] {
    fail_early(batch, ErrorCode::kUnavailable);
  } else if (batch.count > depth_) [[unlikely]] {  // it would never fit the queue pair
    fail_early(batch, ErrorCode::kResourceExhausted);
  } else {
    batch.error = ErrorCode::kOk;
    take_buffers(batch);
    unsent_reads_ += batch.count;
    unsent_.push(batch);
  }
}

void VerbsQueue::take_buffers(ReadBatch& batch) noexcept {
  const auto* memory = memory_.as<std::byte>();
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    batch.views[i] = memory + std::size_t{free_[--free_count_]} * buffer_bytes_;
  }
}

void VerbsQueue::return_buffers(const ReadBatch& batch) noexcept {
  const auto* memory = memory_.as<std::byte>();
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    free_[free_count_++] =
        static_cast<std::uint32_t>(static_cast<std::size_t>(batch.views[i] - memory) / buffer_bytes_);
  }
}

void VerbsQueue::flush() noexcept {
  flush_due_ = !unsent_.empty();
  if (!flush_due_ || (unsent_reads_ < kFullDoorbell && reads_posted() >= busy_reads_)) {
    return;
  }
  std::uint32_t count = 0;
  const Ticks now = TickClock::now();
  while (!unsent_.empty() && reads_posted() + unsent_.front()->count <= depth_) {
    ReadBatch& batch = unsent_.pop();
    prepare(batch, count);
    count += batch.count;
    batch.queue_word = next_flight_;
    flight(next_flight_++) = {&batch, batch.count, now};
  }
  flush_due_ = !unsent_.empty();
  unsent_reads_ -= count;
  if (count == 0) {
    return;
  }
  abi::SendRequest& last = requests_[count - 1];
  abi::SendRequest* const rest = std::exchange(last.next, nullptr);
  const bool posted = connection_->post(requests_.front());
  last.next = rest;
  if (!posted) [[unlikely]] {
    drop_connection(ErrorCode::kUnavailable);
    return;
  }
  counters_->reads.add(count);
  counters_->doorbells.add(1);
}

void VerbsQueue::prepare(const ReadBatch& batch, std::uint32_t first) noexcept {
  const auto* memory = memory_.as<std::byte>();
  const std::uint64_t remote = connection_->remote_address();
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    const std::byte* view = batch.views[i];
    abi::Piece& piece = pieces_[first + i];
    piece.address = reinterpret_cast<std::uintptr_t>(view);
    piece.bytes = batch.reads[i].length;
    abi::SendRequest& request = requests_[first + i];
    request.remote_address = remote + batch.reads[i].offset;
    request.flags = 0;
    posted_buffers_[next_posted_++ & posted_mask_] =
        static_cast<std::uint32_t>(static_cast<std::size_t>(view - memory) / buffer_bytes_);
  }
  abi::SendRequest& last = requests_[first + batch.count - 1];
  last.flags = abi::kSignaled;
  last.id = next_flight_;
}

std::size_t VerbsQueue::poll(std::span<ReadBatch*> done) noexcept {
  std::size_t count = 0;
  if (up_ && first_flight_ != next_flight_) {
    count = take_completions(done);
    if (flush_due_) {
      flush();
    }
  }
  if (count == 0 || !up_) {
    look_after_connection();
  }
  if (!early_.empty()) [[unlikely]] {
    count += take_early(done.subspan(count));
  }
  batches_ -= count;
  return count;
}

std::size_t VerbsQueue::take_completions(std::span<ReadBatch*> done) noexcept {
  std::array<abi::Completion, kCompletionsAtOnce> completions;
  std::size_t count = 0;
  // A completion ends one flight, so at most as many batches come back as completions are asked for.
  while (count < done.size() && first_flight_ != next_flight_) {
    const std::size_t wanted = std::min(completions.size(), done.size() - count);
    const int got = connection_->poll({completions.data(), wanted});
    if (got < 0) [[unlikely]] {
      drop_connection(ErrorCode::kUnavailable);
      break;
    }
    counters_->completions.add(static_cast<std::uint64_t>(got));
    for (int i = 0; i < got; ++i) {
      const abi::Completion& completion = completions[static_cast<std::size_t>(i)];
      if (completion.status != abi::CompletionStatus::kSuccess) [[unlikely]] {
        drop_connection(error_of(completion.status));
        return count;
      }
      assert(completion.id == first_flight_);
      Flight& landed = flight(first_flight_++);
      ReadBatch* batch = landed.batch;
      land(landed);
      if (batch != nullptr) [[likely]] {
        done[count++] = batch;
      }
    }
    if (static_cast<std::size_t>(got) < wanted) {
      break;
    }
  }
  return count;
}

/// The device has written all reads of the flight, or never will. Buffers of a batch stay with its views.
void VerbsQueue::land(Flight& flight) noexcept {
  if (flight.batch == nullptr) [[unlikely]] {
    for (std::uint32_t i = 0; i < flight.reads; ++i) {
      free_[free_count_++] = posted_buffers_[(first_posted_ + i) & posted_mask_];
    }
  }
  first_posted_ += flight.reads;
  flight.batch = nullptr;
}

std::size_t VerbsQueue::take_early(std::span<ReadBatch*> done) noexcept {
  std::size_t count = 0;
  while (count < done.size() && !early_.empty()) {
    ReadBatch& batch = early_.pop();
    room_taken_ -= batch.count;
    done[count++] = &batch;
  }
  return count;
}

void VerbsQueue::release(ReadBatch& batch) noexcept {
  return_buffers(batch);
  room_taken_ -= batch.count;
}

void VerbsQueue::cancel(ReadBatch& batch) noexcept {
  if (unsent_.remove(batch)) {
    unsent_reads_ -= batch.count;
    return_buffers(batch);
  } else if (batch.queue_word - first_flight_ < next_flight_ - first_flight_ &&
             flight(batch.queue_word).batch == &batch) {
    flight(batch.queue_word).batch = nullptr;
  } else {
    return;  // failed already, or not in flight
  }
  fail_early(batch, ErrorCode::kCancelled);
}

void VerbsQueue::fail_early(ReadBatch& batch, ErrorCode error) noexcept {
  batch.error = error;
  early_.push(batch);
}

/// Asks at most once a kLookEvery: the connection manager is a system call away.
void VerbsQueue::look_after_connection() noexcept {
  const Ticks now = TickClock::now();
  if (now < next_look_) {
    return;
  }
  next_look_ = now + ticks_of(kLookEvery);
  if (!connection_) {
    if (now >= retry_at_) {
      const std::span buffers(memory_.as<std::byte>(), memory_.bytes());
      connection_ = std::make_unique<VerbsConnection>(library_, endpoint_, buffers, 2 * max_reads_);
    }
    return;
  }
  const bool is_silent = first_flight_ != next_flight_ && now - flight(first_flight_).posted_at > timeout_;
  if (!connection_->progress() || is_silent) {
    drop_connection(ErrorCode::kUnavailable);
  } else if (!up_ && connection_->up()) {
    connection_up();
  }
}

void VerbsQueue::connection_up() noexcept {
  for (std::size_t i = 0; i < requests_.size(); ++i) {
    pieces_[i].local_key = connection_->local_key();
    requests_[i].remote_key = connection_->remote_key();
  }
  depth_ = connection_->depth();
  up_ = true;
  up_since_ = TickClock::now();
  counters_->connections.add(1);
}

/// Ends what was sent and what was about to be. The first attempt to connect again is made at once when the connection
/// had lasted, so that a node that restarts costs little more than its reads.
void VerbsQueue::drop_connection(ErrorCode error) noexcept {
  connection_.reset();  // from here on no device writes into the buffers
  for (; first_flight_ != next_flight_; ++first_flight_) {
    Flight& lost = flight(first_flight_);
    if (ReadBatch* batch = std::exchange(lost.batch, nullptr); batch != nullptr) {  // its buffers go with the flight
      fail_early(*batch, error);
    }
    land(lost);
  }
  while (!unsent_.empty()) {
    ReadBatch& batch = unsent_.pop();
    return_buffers(batch);
    fail_early(batch, error);
  }
  unsent_reads_ = 0;
  flush_due_ = false;
  const Ticks now = TickClock::now();
  const bool lasted = std::exchange(up_, false) && now - up_since_ > ticks_of(kLasting);
  backoff_ms_ = lasted ? 0 : std::clamp(backoff_ms_ * 2, kFirstBackoffMs, kLastBackoffMs);
  // Between half of it and all of it, so that the queues of many workers do not knock together.
  const double wait_ms = backoff_ms_ * std::uniform_real_distribution<>(0.5, 1)(jitter_);
  retry_at_ = now + static_cast<Ticks>(wait_ms * 1e6 * TickClock::ticks_per_ns());
}

}  // namespace tiervec::rdma::verbs
