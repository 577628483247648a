#include <tiervec/rdma/load_store_queue.h>

#include <utility>

namespace tiervec::rdma {

LoadStoreQueue::LoadStoreQueue(std::shared_ptr<const Tier> tier, LoadStoreTarget target, std::uint32_t max_reads)
    : tier_(std::move(tier)), target_(target), max_reads_(max_reads) {}

bool LoadStoreQueue::can_submit(std::uint32_t reads) const noexcept {
  return reads <= max_reads_ - reads_;
}

void LoadStoreQueue::submit(ReadBatch& batch) noexcept {
  batch.error = target_.start(batch);
  reads_ += batch.count;
  ++batches_;
  list_.push(batch);
}

std::size_t LoadStoreQueue::poll(std::span<ReadBatch*> done) noexcept {
  std::size_t count = 0;
  while (count < done.size() && !list_.empty()) {
    ReadBatch& batch = list_.pop();
    reads_ -= batch.count;
    done[count++] = &batch;
  }
  batches_ -= count;
  return count;
}

void LoadStoreQueue::cancel(ReadBatch& batch) noexcept {
  if (batch.error == ErrorCode::kOk) {
    batch.error = ErrorCode::kCancelled;
  }
}

}  // namespace tiervec::rdma
