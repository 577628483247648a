#pragma once

#include <tiervec/rdma/tier.h>

namespace tiervec::rdma {

/// Batches in the order they were submitted, linked through ReadBatch::queue_next.
class BatchList {
 public:
  [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }
  [[nodiscard]] ReadBatch* front() const noexcept { return head_; }
  void push(ReadBatch& batch) noexcept {
    batch.queue_next = nullptr;
    (head_ == nullptr ? head_ : tail_->queue_next) = &batch;
    tail_ = &batch;
  }
  ReadBatch& pop() noexcept {
    ReadBatch& batch = *head_;
    head_ = batch.queue_next;
    return batch;
  }
  /// Appends all of `other` and leaves it empty.
  void append(BatchList& other) noexcept {
    if (other.head_ != nullptr) {
      (head_ == nullptr ? head_ : tail_->queue_next) = other.head_;
      tail_ = other.tail_;
      other.head_ = nullptr;
    }
  }
  /// Takes `batch` out from anywhere; false when it is not here.
  bool remove(const ReadBatch& batch) noexcept {
    ReadBatch* before = nullptr;
    for (ReadBatch* at = head_; at != nullptr; before = at, at = at->queue_next) {
      if (at == &batch) {
        (before == nullptr ? head_ : before->queue_next) = at->queue_next;
        if (tail_ == at) {
          tail_ = before;
        }
        return true;
      }
    }
    return false;
  }

 private:
  ReadBatch* head_ = nullptr;
  ReadBatch* tail_ = nullptr;  // means nothing while head_ is null
};

}  // namespace tiervec::rdma
