#include "emulated_queue.h"

#include <bit>
#include <utility>

namespace tiervec::rdma {

EmulatedQueue::EmulatedQueue(std::shared_ptr<const EmulatedTier> tier, DeviceServer& server, LoadStoreTarget target,
                             std::uint32_t max_reads, TimeSource time)
    : tier_(std::move(tier)),
      server_(server),
      target_(target),
      times_(tier_->profile()),
      time_(time),
      max_reads_(max_reads) {}

void EmulatedQueue::submit(ReadBatch& batch) noexcept {
  reads_ += batch.count;
  ++batches_;
  // Prefetches too: what a NIC or a drive delivers by DMA also lands in the cache (DDIO), before the query looks at it.
  batch.error = target_.start(batch);
  if (batch.error != ErrorCode::kOk) {
    early_.push(batch);
    return;
  }
  work_ += times_.of(batch);
  batch.queue_word = std::bit_cast<std::uint64_t>(work_);
  unsent_.push(batch);
}

void EmulatedQueue::flush() noexcept {
  if (unsent_.empty()) {
    return;
  }
  carry_ += work_;
  const auto whole = static_cast<Ticks>(carry_);
  carry_ -= static_cast<double>(whole);
  work_ = 0;
  const Ticks start = server_.reserve(time_.now(), whole);
  for (ReadBatch* batch = unsent_.front(); batch != nullptr; batch = batch->queue_next) {
    batch->queue_word = start + static_cast<Ticks>(times_.until_arrival(std::bit_cast<double>(batch->queue_word)));
  }
  sent_.append(unsent_);
}

std::size_t EmulatedQueue::poll(std::span<ReadBatch*> done) noexcept {
  std::size_t count = 0;
  const auto take = [&](BatchList& list) {
    ReadBatch& batch = list.pop();
    reads_ -= batch.count;
    done[count++] = &batch;
  };
  while (count < done.size() && !early_.empty()) {
    take(early_);
  }
  if (count < done.size() && !sent_.empty()) {
    const Ticks now = time_.now();
    while (count < done.size() && !sent_.empty() && sent_.front()->queue_word <= now) {
      take(sent_);
    }
  }
  batches_ -= count;
  return count;
}

// The device may have done the work already, so its time is not given back; what was not flushed costs nothing.
void EmulatedQueue::cancel(ReadBatch& batch) noexcept {
  if (unsent_.remove(batch)) {
    work_of_unsent();
  } else if (!sent_.remove(batch)) {
    return;  // failed already, or not in flight
  }
  batch.error = ErrorCode::kCancelled;
  early_.push(batch);
}

void EmulatedQueue::work_of_unsent() noexcept {
  work_ = 0;
  for (ReadBatch* batch = unsent_.front(); batch != nullptr; batch = batch->queue_next) {
    work_ += times_.of(*batch);
    batch->queue_word = std::bit_cast<std::uint64_t>(work_);
  }
}

}  // namespace tiervec::rdma
