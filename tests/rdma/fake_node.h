#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <tiervec/rdma/tier.h>

namespace tiervec::rdma::testing {

/// A memory node in this process, whose test makes it die, hang, come back and lie, from any thread. Its queues copy
/// what they read, as those of a network do, and allocate nothing once they are open.
class FakeNode final : public Tier {
 public:
  explicit FakeNode(std::vector<std::byte> bytes, std::string url = "fake:")
      : bytes_(std::move(bytes)), url_(std::move(url)) {}

  /// What was sent is lost, what comes fails.
  void die() {
    up_ = false;
    ++lives_;
  }
  /// The next connection works; what was sent to the last life is lost.
  void restart() {
    ++lives_;
    hangs_ = false;
    up_ = true;
  }
  /// Nothing is answered, until die (the time-out) or restart.
  void hang() { hangs_ = true; }
  /// Flips a bit in this byte of every answer that holds it.
  void harm(std::uint64_t offset) { harmed_ = offset; }

  std::atomic<std::uint64_t> batches{0};   // that came here
  std::atomic<std::uint64_t> answered{0};  // well
  std::atomic<std::int64_t> views{0};      // handed out and not released
  std::atomic<std::uint64_t> polls{0};
  std::atomic<std::uint64_t> wrong_calls{0};  // batches beyond the queue's room
  bool shows_availability = true;             // false: a tier that does not know

  [[nodiscard]] std::string url() const override { return url_; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return bytes_.size(); }
  [[nodiscard]] DeviceProfile profile() const override {
    return {.latency_us = 10, .reads_per_s = 1e6, .bytes_per_s = 1e9, .source = "given"};
  }
  [[nodiscard]] bool verified_at_open() const noexcept override { return false; }

 private:
  class Queue;
  [[nodiscard]] std::unique_ptr<TierQueue> make_queue(const QueueLimits& limits) override;

  std::vector<std::byte> bytes_;
  std::string url_;
  std::atomic<bool> up_{true};
  std::atomic<bool> hangs_{false};
  std::atomic<std::uint64_t> lives_{0};
  std::atomic<std::uint64_t> harmed_{~std::uint64_t{0}};
};

class FakeNode::Queue final : public TierQueue {
 public:
  Queue(std::shared_ptr<FakeNode> node, const QueueLimits& limits)
      : node_(std::move(node)), limits_(limits), buffers_(std::size_t{limits.max_reads} * limits.max_read_bytes) {
    for (std::uint32_t i = 0; i < limits.max_reads; ++i) {
      free_.push_back(buffers_.data() + std::size_t{i} * limits.max_read_bytes);
    }
    entries_.reserve(limits.max_reads);
  }
  ~Queue() override { node_->views -= held_; }

  [[nodiscard]] bool can_submit(std::uint32_t reads) const noexcept override {
    return reads <= limits_.max_reads - used_;
  }
  void submit(ReadBatch& batch) noexcept override {
    node_->wrong_calls += !can_submit(batch.count) || batch.count == 0 || batch.count > ReadBatch::kMaxReads;
    ++node_->batches;
    used_ += batch.count;
    entries_.push_back(
        {&batch, node_->lives_.load(), valid(batch) ? ErrorCode::kOk : ErrorCode::kInvalidArgument, false});
  }
  void flush() noexcept override {
    for (Entry& entry : entries_) {
      entry.sent = true;
    }
  }
  std::size_t poll(std::span<ReadBatch*> done) noexcept override {
    ++node_->polls;
    std::size_t count = 0;
    for (std::size_t i = 0; i < entries_.size() && count < done.size();) {
      Entry& entry = entries_[i];
      if (entry.error == ErrorCode::kOk && (!node_->up_ || entry.life != node_->lives_)) {
        entry.error = ErrorCode::kUnavailable;
      }
      if (entry.error == ErrorCode::kOk && (node_->hangs_ || !entry.sent)) {
        ++i;
        continue;
      }
      ReadBatch& batch = *entry.batch;
      batch.error = entry.error;
      entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(i));
      if (batch.error == ErrorCode::kOk) {
        answer(batch);
      } else {
        used_ -= batch.count;
      }
      done[count++] = &batch;
    }
    return count;
  }
  void release(ReadBatch& batch) noexcept override {
    for (std::uint32_t i = 0; i < batch.count; ++i) {
      free_.push_back(const_cast<std::byte*>(batch.views[i]));
    }
    used_ -= batch.count;
    node_->views -= batch.count;
    held_ -= batch.count;
  }
  void cancel(ReadBatch& batch) noexcept override {
    for (Entry& entry : entries_) {
      if (entry.batch == &batch && entry.error == ErrorCode::kOk) {
        entry.error = ErrorCode::kCancelled;
      }
    }
  }
  [[nodiscard]] std::size_t in_flight() const noexcept override { return entries_.size(); }
  [[nodiscard]] bool available() const noexcept override { return !node_->shows_availability || node_->up_; }

 private:
  struct Entry {
    ReadBatch* batch;
    std::uint64_t life;
    ErrorCode error;
    bool sent;
  };

  [[nodiscard]] bool valid(const ReadBatch& batch) const noexcept {
    const std::uint64_t size = node_->bytes_.size();
    return std::all_of(batch.reads, batch.reads + batch.count, [&](const Read& read) {
      return read.length > 0 && read.length <= limits_.max_read_bytes && read.length <= size &&
             read.offset <= size - read.length;
    });
  }
  void answer(ReadBatch& batch) noexcept {
    ++node_->answered;
    node_->views += batch.count;
    held_ += batch.count;
    for (std::uint32_t i = 0; i < batch.count; ++i) {
      const Read read = batch.reads[i];
      std::byte* const buffer = free_.back();
      free_.pop_back();
      std::memcpy(buffer, node_->bytes_.data() + read.offset, read.length);
      const std::uint64_t harmed = node_->harmed_;
      if (harmed >= read.offset && harmed - read.offset < read.length) {
        buffer[harmed - read.offset] ^= std::byte{16};
      }
      batch.views[i] = buffer;
    }
  }

  std::shared_ptr<FakeNode> node_;
  QueueLimits limits_;
  std::vector<std::byte> buffers_;
  std::vector<std::byte*> free_;
  std::vector<Entry> entries_;
  std::uint32_t used_ = 0;
  std::int64_t held_ = 0;
};

inline std::unique_ptr<TierQueue> FakeNode::make_queue(const QueueLimits& limits) {
  return std::make_unique<Queue>(std::static_pointer_cast<FakeNode>(shared_from_this()), limits);
}

}  // namespace tiervec::rdma::testing
