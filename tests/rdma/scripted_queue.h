#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <tiervec/rdma/tier.h>

namespace tiervec::rdma::testing {

/// A tier queue whose test decides what completes when. It checks its caller: no batch twice, none beyond capacity, no
/// release of what was not handed out.
class ScriptedQueue final : public TierQueue {
 public:
  explicit ScriptedQueue(std::uint32_t capacity) : capacity_(capacity) {}

  bool complete_all = false;      // every flushed batch completes at the next poll
  bool cancel_completes = true;   // a cancelled batch completes by itself
  bool complete_in_wait = false;  // and only there
  bool wait_blocks = false;       // what wait() says of itself
  std::function<void()> in_wait;  // what happens meanwhile, such as time passing
  bool needs_release = false;     // views of completed batches count against the capacity
  ErrorCode result = ErrorCode::kOk;
  std::uint32_t submits = 0;
  std::uint32_t flushes = 0;
  std::uint32_t polls = 0;
  std::uint32_t cancels = 0;
  std::uint32_t releases = 0;
  std::uint32_t waits = 0;
  std::uint32_t wrong_calls = 0;
  std::vector<ReadBatch*> unflushed;
  std::vector<ReadBatch*> sent;
  std::vector<ReadBatch*> completed;
  std::vector<std::uint64_t> submitted_offsets;

  [[nodiscard]] bool can_submit(std::uint32_t reads) const noexcept override { return reads <= capacity_ - used_; }
  void submit(ReadBatch& batch) noexcept override {
    const bool known = contains(unflushed, &batch) || contains(sent, &batch) || contains(completed, &batch);
    wrong_calls += known || !can_submit(batch.count) || batch.count == 0 || batch.count > ReadBatch::kMaxReads;
    ++submits;
    used_ += batch.count;
    unflushed.push_back(&batch);
    submitted_offsets.push_back(batch.reads[0].offset);
  }
  void flush() noexcept override {
    ++flushes;
    sent.insert(sent.end(), unflushed.begin(), unflushed.end());
    unflushed.clear();
  }
  std::size_t poll(std::span<ReadBatch*> done) noexcept override {
    ++polls;
    if (complete_all) {
      while (!sent.empty()) {
        complete(*sent.front(), result);
      }
    }
    const std::size_t count = std::min(done.size(), completed.size());
    for (std::size_t i = 0; i < count; ++i) {
      done[i] = completed[i];
      if (!needs_release || done[i]->error != ErrorCode::kOk) {
        used_ -= done[i]->count;
      }
    }
    completed.erase(completed.begin(), completed.begin() + static_cast<std::ptrdiff_t>(count));
    return count;
  }
  bool wait() noexcept override {
    ++waits;
    wrong_calls += !unflushed.empty() || !completed.empty();
    if (in_wait) in_wait();
    if (complete_in_wait && !sent.empty()) complete(*sent.front(), result);
    return wait_blocks;
  }
  void release(ReadBatch& batch) noexcept override {
    ++releases;
    wrong_calls += batch.error != ErrorCode::kOk;
    if (needs_release) {
      used_ -= batch.count;
    }
  }
  void cancel(ReadBatch& batch) noexcept override {
    ++cancels;
    if (cancel_completes && !contains(completed, &batch)) {
      complete(batch, ErrorCode::kCancelled);
    }
  }
  [[nodiscard]] std::size_t in_flight() const noexcept override {
    return unflushed.size() + sent.size() + completed.size();
  }

  /// Ends a batch in flight; the next poll returns it.
  void complete(ReadBatch& batch, ErrorCode error) {
    std::erase(unflushed, &batch);
    std::erase(sent, &batch);
    batch.error = error;
    completed.push_back(&batch);
  }

 private:
  static bool contains(const std::vector<ReadBatch*>& batches, const ReadBatch* batch) {
    return std::find(batches.begin(), batches.end(), batch) != batches.end();
  }

  std::uint32_t capacity_;
  std::uint32_t used_ = 0;
};

}  // namespace tiervec::rdma::testing
