#include "tcp_queue.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "wire.h"

namespace tiervec::rdma {

namespace {

// Cancelled reads may be awaited beside the others until they are this many times the queue's reads. A node that has
// left so many unanswered is given up.
constexpr std::uint32_t kCancelledShare = 3;

// A socket that had nothing is left alone for a moment, small beside any round trip: each look costs a system call and
// takes the lock that the arriving bytes need.
constexpr double kLeftAloneNs = 1000;

std::uint64_t most_awaited_reads(std::uint32_t max_reads) {
  return (std::uint64_t{1} + kCancelledShare) * max_reads + ReadBatch::kMaxReads;
}

std::size_t longest_reply(const QueueLimits& limits, std::uint64_t region_bytes) {
  const std::uint64_t longest_read = std::min<std::uint64_t>(limits.max_read_bytes, region_bytes);
  const std::uint64_t bytes = longest_read * std::min(limits.max_reads, ReadBatch::kMaxReads);
  return wire::kReplyHeaderBytes + std::min(bytes, wire::kMostReplyBytes);
}

}  // namespace

TcpQueue::TcpQueue(std::shared_ptr<const Tier> tier, const NodeAddress& node, const QueueLimits& limits)
    : tier_(std::move(tier)),
      region_bytes_(node.region_bytes),
      longest_read_(std::min<std::uint64_t>(limits.max_read_bytes, node.region_bytes)),
      max_reads_(limits.max_reads),
      time_(node.time),
      timeout_ticks_(static_cast<Ticks>(static_cast<double>(node.timeout.count()) * 1e6 * TickClock::ticks_per_ns())),
      left_alone_ticks_(static_cast<Ticks>(kLeftAloneNs * TickClock::ticks_per_ns())),
      connection_(node),
      ring_(std::bit_ceil(most_awaited_reads(limits.max_reads))),
      requests_(most_awaited_reads(limits.max_reads) * (wire::kRequestHeaderBytes + wire::kReadBytes)),
      received_(longest_reply(limits, node.region_bytes), limits.max_reads) {
  connection_.wait_until_settled();
}

// ---- sending
// ------------------------------------------------------------------------------------------------------------

// 0 for a batch with a read that may not be.
std::uint64_t TcpQueue::bytes_of(const ReadBatch& batch) const noexcept {
  std::uint64_t bytes = 0;
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    const Read read = batch.reads[i];
    // Written so that no sum can overflow; length - 1 wraps for an empty read.
    if (read.length - std::uint32_t{1} >= longest_read_ || read.offset > region_bytes_ - read.length) [[unlikely]] {
      return 0;
    }
    bytes += read.length;
  }
  return bytes <= wire::kMostReplyBytes ? bytes : 0;
}

void TcpQueue::submit(ReadBatch& batch) noexcept {
  reads_ += batch.count;
  ++batches_;
  const std::uint64_t bytes = bytes_of(batch);
  if (bytes == 0) [[unlikely]] {
    end_early(batch, ErrorCode::kInvalidArgument);
    return;
  }
  if (!connection_.promising()) [[unlikely]] {
    end_early(batch, ErrorCode::kUnavailable);
    return;
  }
  const std::size_t needed = wire::kRequestHeaderBytes + batch.count * wire::kReadBytes;
  if (requests_.size() - requests_end_ < needed) [[unlikely]] {
    std::memmove(requests_.data(), &requests_[requests_begin_], requests_end_ - requests_begin_);
    requests_end_ -= std::exchange(requests_begin_, 0);
  }
  requests_end_ += wire::encode_request(&requests_[requests_end_], static_cast<std::uint32_t>(last_),
                                        std::span(batch.reads, batch.count));
  awaited(last_) = {&batch, batch.count, static_cast<std::uint32_t>(bytes), kNever};
  batch.queue_word = kAwaited | last_++;
}

void TcpQueue::end_early(ReadBatch& batch, ErrorCode error) noexcept {
  batch.error = error;
  batch.queue_word = 0;
  early_.push(batch);
}

void TcpQueue::flush() noexcept {
  if (flushed_ == last_) {
    return;
  }
  const Ticks now = time_.now();
  while (flushed_ != last_) {
    awaited(flushed_++).flushed_at = now;
  }
  if (connection_.up()) {
    send_requests();
  }
}

void TcpQueue::send_requests() noexcept {
  const std::ptrdiff_t sent = connection_.send(std::span(&requests_[requests_begin_], requests_end_ - requests_begin_));
  if (sent < 0) [[unlikely]] {
    lose_connection(NodeConnection::Loss::kClosedByNode);
    return;
  }
  requests_begin_ += static_cast<std::size_t>(sent);
  if (requests_begin_ == requests_end_) {
    requests_begin_ = requests_end_ = 0;
  }
}

// ---- receiving
// ----------------------------------------------------------------------------------------------------------

std::size_t TcpQueue::poll(std::span<ReadBatch*> done) noexcept {
  if (!connection_.up()) [[unlikely]] {
    reconnect();
  }
  if (requests_begin_ != requests_end_ && connection_.up()) [[unlikely]] {
    send_requests();  // the socket had no room for all of them, or there was no connection
  }
  std::size_t count = take_early(done);
  if (count < done.size() && connection_.up()) {
    std::size_t arrived = take_arrived(done.subspan(count));
    if (arrived == 0 && receive()) {
      arrived = take_arrived(done.subspan(count));
    }
    count += arrived;
    if (count < done.size()) {
      count += take_early(done.subspan(count));  // when the connection was lost just now
    }
  }
  batches_ -= count;
  return count;
}

std::size_t TcpQueue::take_early(std::span<ReadBatch*> done) noexcept {
  std::size_t count = 0;
  while (count < done.size() && !early_.empty()) {
    ReadBatch& batch = early_.pop();
    reads_ -= batch.count;
    done[count++] = &batch;
  }
  return count;
}

// Also looks when nothing is awaited: a node that has gone is noticed before the next read is sent to it.
bool TcpQueue::receive() noexcept {
  Ticks now = time_.now();
  if (now < look_again_at_) {
    return false;
  }
  const std::size_t message_bytes = nothing_awaited() ? 1 : wire::kReplyHeaderBytes + awaited(first_).bytes;
  const std::ptrdiff_t got = connection_.receive(received_.room(message_bytes));
  if (got > 0) [[likely]] {
    received_.add_received(static_cast<std::size_t>(got));
    last_received_ = now;
    if (nothing_awaited()) [[unlikely]] {
      lose_connection(NodeConnection::Loss::kNoAnswer);  // whatever that was, it is no answer
    }
    return true;
  }
  if (got < 0) [[unlikely]] {
    lose_connection(NodeConnection::Loss::kClosedByNode);
    return false;
  }
  now = time_.now();
  look_again_at_ = now + left_alone_ticks_;
  if (!nothing_awaited() && awaited(first_).flushed_at != kNever) {
    const Ticks since = std::max(awaited(first_).flushed_at, last_received_);
    if (now > since && now - since > timeout_ticks_) [[unlikely]] {
      lose_connection(NodeConnection::Loss::kNoAnswer);
    }
  }
  return false;
}

std::size_t TcpQueue::take_arrived(std::span<ReadBatch*> done) noexcept {
  std::size_t count = 0;
  while (count < done.size() && !nothing_awaited()) {
    const std::span<const std::byte> arrived = received_.arrived();
    const Awaited next = awaited(first_);
    wire::ReplyHeader header;
    const wire::Parsed parsed = wire::parse(arrived, header);
    if (parsed == wire::Parsed::kPart) {
      break;
    }
    const bool ok = header.outcome == wire::Outcome::kOk;
    if (parsed == wire::Parsed::kGarbage || header.batch_id != static_cast<std::uint32_t>(first_) ||
        (ok && header.bytes != next.bytes)) [[unlikely]] {
      lose_connection(NodeConnection::Loss::kNoAnswer);
      break;
    }
    if (arrived.size() < wire::kReplyHeaderBytes + header.bytes) {
      break;
    }
    received_.consume(wire::kReplyHeaderBytes + header.bytes);
    ++first_;
    flushed_ = std::max(flushed_, first_);
    if (next.batch == nullptr) [[unlikely]] {
      cancelled_reads_ -= next.reads;
    } else {
      if (ok) [[likely]] {
        complete(*next.batch, arrived.data() + wire::kReplyHeaderBytes);
      } else {
        next.batch->error = ErrorCode::kInvalidArgument;
        next.batch->queue_word = 0;
        reads_ -= next.reads;
      }
      done[count++] = next.batch;
    }
  }
  return count;
}

void TcpQueue::complete(ReadBatch& batch, const std::byte* bytes) noexcept {
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    batch.views[i] = bytes;
    bytes += batch.reads[i].length;
  }
  batch.error = ErrorCode::kOk;
  batch.queue_word = received_.hold();
}

void TcpQueue::release(ReadBatch& batch) noexcept {
  reads_ -= batch.count;
  received_.drop(static_cast<std::uint32_t>(batch.queue_word));
}

void TcpQueue::cancel(ReadBatch& batch) noexcept {
  if ((batch.queue_word & kAwaited) == 0) {
    return;  // done already, and waits for poll
  }
  Awaited& place = awaited(batch.queue_word & ~kAwaited);
  place.batch = nullptr;
  cancelled_reads_ += place.reads;
  end_early(batch, ErrorCode::kCancelled);
  if (cancelled_reads_ > kCancelledShare * max_reads_) {
    lose_connection(NodeConnection::Loss::kNoAnswer);
  }
}

// ---- the connection
// -----------------------------------------------------------------------------------------------------

void TcpQueue::reconnect() noexcept {
  connection_.advance(time_.now());
  if (connection_.up()) {
    last_received_ = time_.now();
    look_again_at_ = 0;
  } else if (!connection_.promising()) {
    fail_awaited();
  }
}

void TcpQueue::lose_connection(NodeConnection::Loss loss) noexcept {
  connection_.drop(loss, time_.now());
  fail_awaited();
}

void TcpQueue::fail_awaited() noexcept {
  for (; first_ != last_; ++first_) {
    if (ReadBatch* const batch = awaited(first_).batch; batch != nullptr) {
      end_early(*batch, ErrorCode::kUnavailable);
    }
  }
  flushed_ = last_;
  cancelled_reads_ = 0;
  requests_begin_ = requests_end_ = 0;
  received_.discard_arrived();
}

}  // namespace tiervec::rdma
