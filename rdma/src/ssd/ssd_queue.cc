#include "ssd_queue.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

#include "sectors.h"

namespace tiervec::rdma::ssd {

namespace {

constexpr std::size_t kLandedAtOnce = 64;
constexpr std::size_t kLookedAtBehind = 64;  // by who unpacks the last record of a view

}  // namespace

SsdQueue::SsdQueue(SsdQueueSetup setup, const QueueLimits& limits, const MakeReader& make_reader)
    : setup_(std::move(setup)),
      max_reads_(limits.max_reads),
      longest_read_(std::min<std::uint64_t>(limits.max_read_bytes, setup_.region_bytes)),
      slot_bytes_(most_covering(limits.max_read_bytes)),
      memory_(max_reads_ * slot_bytes_ + kLookedAtBehind),
      slots_(max_reads_),
      free_(max_reads_) {
  assert(setup_.depth >= ReadBatch::kMaxReads);
  for (free_count_ = 0; free_count_ < max_reads_; ++free_count_) {
    free_[free_count_] = max_reads_ - 1 - free_count_;
  }
  reader_ = make_reader({memory_.as<std::byte>(), max_reads_ * slot_bytes_}, setup_.depth);
}

bool SsdQueue::valid(const ReadBatch& batch) const noexcept {
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    const Read read = batch.reads[i];
    // Written so that no sum can overflow; length - 1 wraps for an empty read.
    if (read.length - std::uint32_t{1} >= longest_read_ || read.offset > setup_.region_bytes - read.length)
        [[unlikely]] {
      return false;
    }
  }
  return true;
}

std::uint32_t SsdQueue::slot_of(const std::byte* view) const noexcept {
  return static_cast<std::uint32_t>(static_cast<std::size_t>(view - memory_.as<std::byte>()) / slot_bytes_);
}

void SsdQueue::submit(ReadBatch& batch) noexcept {
  assert(can_submit(batch.count));
  ++batches_;
  room_taken_ += batch.count;
  batch.error = ErrorCode::kOk;
  if (!valid(batch)) [[unlikely]] {
    batch.queue_word = 0;
    finish(batch, ErrorCode::kInvalidArgument);
    return;
  }
  batch.queue_word = batch.count;
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    const std::uint32_t slot = free_[--free_count_];
    const SectorRange range = covering(batch.reads[i]);
    slots_[slot] = {&batch, range.skip + batch.reads[i].length};
    batch.views[i] = memory_.as<std::byte>() + slot * slot_bytes_ + range.skip;
  }
  unsent_.push(batch);
}

void SsdQueue::flush() noexcept {
  std::uint64_t reads = 0;
  std::uint64_t bytes = 0;
  while (!unsent_.empty() && with_device_ + unsent_.front()->count <= setup_.depth) {
    ReadBatch& batch = unsent_.pop();
    start(batch);
    reads += batch.count;
    for (std::uint32_t i = 0; i < batch.count; ++i) {
      bytes += covering(batch.reads[i]).bytes;
    }
  }
  if (reads > 0) {
    reader_->send();
    setup_.counters->reads.fetch_add(reads, std::memory_order_relaxed);
    setup_.counters->sectors.fetch_add(bytes / kSectorBytes, std::memory_order_relaxed);
    setup_.counters->flushes.fetch_add(1, std::memory_order_relaxed);
  }
}

void SsdQueue::start(ReadBatch& batch) noexcept {
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    const SectorRange range = covering(batch.reads[i]);
    const std::uint32_t slot = slot_of(batch.views[i]);
    reader_->add({range.offset, range.bytes, memory_.as<std::byte>() + slot * slot_bytes_, slot});
  }
  with_device_ += batch.count;
}

std::size_t SsdQueue::poll(std::span<ReadBatch*> done) noexcept {
  if (with_device_ > 0) {
    std::array<Landed, kLandedAtOnce> landed;
    std::size_t got = 0;
    do {
      got = reader_->poll(landed);
      for (std::size_t i = 0; i < got; ++i) {
        land(landed[i]);
      }
    } while (got == landed.size());
    if (!unsent_.empty()) [[unlikely]] {
      flush();
    }
  }
  std::size_t count = 0;
  while (count < done.size() && !finished_.empty()) {
    ReadBatch& batch = finished_.pop();
    if (batch.error != ErrorCode::kOk) [[unlikely]] {
      room_taken_ -= batch.count;
    }
    done[count++] = &batch;
  }
  batches_ -= count;
  return count;
}

bool SsdQueue::wait() noexcept {
  return with_device_ > 0 && finished_.empty() && reader_->wait();
}

/// The last sectors of a file may be partly behind its end: what counts is what was asked for.
void SsdQueue::land(Landed landed) noexcept {
  const Slot& slot = slots_[landed.slot];
  ReadBatch& batch = *slot.batch;
  --with_device_;
  if (landed.result < static_cast<std::int32_t>(slot.wanted_bytes) && batch.error == ErrorCode::kOk) [[unlikely]] {
    batch.error = landed.result < 0 ? ErrorCode::kUnavailable : ErrorCode::kDataLoss;
  }
  if (--batch.queue_word == 0) {
    if (batch.error != ErrorCode::kOk) [[unlikely]] {
      return_slots(batch);
    }
    finish(batch, batch.error);
  }
}

void SsdQueue::finish(ReadBatch& batch, ErrorCode error) noexcept {
  batch.error = error;
  finished_.push(batch);
}

void SsdQueue::return_slots(const ReadBatch& batch) noexcept {
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    free_[free_count_++] = slot_of(batch.views[i]);
  }
}

void SsdQueue::release(ReadBatch& batch) noexcept {
  return_slots(batch);
  room_taken_ -= batch.count;
}

void SsdQueue::cancel(ReadBatch& batch) noexcept {
  if (batch.queue_word == 0) {
    return;  // finished already
  }
  if (unsent_.remove(batch)) {
    batch.queue_word = 0;
    return_slots(batch);
    finish(batch, ErrorCode::kCancelled);
  } else if (batch.error == ErrorCode::kOk) {
    batch.error = ErrorCode::kCancelled;  // comes back when its reads have landed
  }
}

}  // namespace tiervec::rdma::ssd
