#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <tiervec/rdma/tier.h>

namespace tiervec::graph_index::testing {

/// A tier of this process whose test decides what goes wrong. It counts what a caller must give back, and copies every
/// read into memory of its own that ends where RecordLayout::kOverread does, as a tier that receives messages would.
class FaultyTier final : public rdma::Tier {
 public:
  explicit FaultyTier(std::vector<std::byte> bytes) : region(std::move(bytes)) {}

  std::vector<std::byte> region;
  bool verified = true;
  bool newest_first = false;                                          // completions in the wrong order
  bool hangs = false;                                                 // nothing completes unless it is cancelled
  std::uint32_t fail_at = std::numeric_limits<std::uint32_t>::max();  // this batch, counted over all queues, and
  std::uint32_t fail_count = 1;                                       // so many in all
  ErrorCode failure = ErrorCode::kUnavailable;
  double latency_us = 0.1;
  double bytes_per_s = 1e10;  // at 10^7 reads a second
  std::uint32_t block_bytes = 64;

  std::atomic<std::uint32_t> batches{0};
  std::atomic<std::int64_t> views{0};           // handed out and not released
  std::atomic<std::int64_t> in_flight{0};       // submitted and not polled
  std::atomic<std::int64_t> most_in_flight{0};  // of a search with one thread

  [[nodiscard]] std::string url() const override { return "faulty:"; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return region.size(); }
  [[nodiscard]] rdma::DeviceProfile profile() const override {
    return {.latency_us = latency_us, .reads_per_s = 1e7, .bytes_per_s = bytes_per_s, .block_bytes = block_bytes};
  }
  [[nodiscard]] bool verified_at_open() const noexcept override { return verified; }

 private:
  class Queue;
  [[nodiscard]] std::unique_ptr<rdma::TierQueue> make_queue(const rdma::QueueLimits& limits) override;
};

class FaultyTier::Queue final : public rdma::TierQueue {
 public:
  Queue(std::shared_ptr<FaultyTier> tier, const rdma::QueueLimits& limits) : tier_(std::move(tier)), limits_(limits) {}

  [[nodiscard]] bool can_submit(std::uint32_t reads) const noexcept override {
    return reads <= limits_.max_reads - used_;
  }
  void submit(rdma::ReadBatch& batch) noexcept override {
    const std::uint32_t number = tier_->batches++;
    batch.error = ErrorCode::kOk;
    if (number >= tier_->fail_at && number - tier_->fail_at < tier_->fail_count) batch.error = tier_->failure;
    used_ += batch.count;
    const std::int64_t submitted = ++tier_->in_flight;
    if (submitted > tier_->most_in_flight) tier_->most_in_flight = submitted;
    pending_.push_back({&batch, {}});
    for (std::uint32_t i = 0; batch.error == ErrorCode::kOk && i < batch.count; ++i) copy(batch, i);
  }
  void flush() noexcept override {}
  std::size_t poll(std::span<rdma::ReadBatch*> done) noexcept override {
    std::size_t count = 0;
    while (count < done.size() && !pending_.empty()) {
      const auto at = tier_->newest_first ? pending_.end() - 1 : pending_.begin();
      rdma::ReadBatch& batch = *at->batch;
      if (tier_->hangs && batch.error == ErrorCode::kOk) break;
      --tier_->in_flight;
      if (batch.error == ErrorCode::kOk) {
        ++tier_->views;
        held_.push_back(std::move(*at));
      } else {
        used_ -= batch.count;
      }
      pending_.erase(at);
      done[count++] = &batch;
    }
    return count;
  }
  void release(rdma::ReadBatch& batch) noexcept override {
    const auto at = std::find_if(held_.begin(), held_.end(), [&](const Pending& p) { return p.batch == &batch; });
    if (at == held_.end()) std::abort();  // released twice, or never handed out
    held_.erase(at);
    --tier_->views;
    used_ -= batch.count;
  }
  void cancel(rdma::ReadBatch& batch) noexcept override {
    if (batch.error == ErrorCode::kOk) batch.error = ErrorCode::kCancelled;
    const auto at = std::find_if(pending_.begin(), pending_.end(), [&](const Pending& p) { return p.batch == &batch; });
    if (at != pending_.end()) std::rotate(pending_.begin(), at, at + 1);
  }
  [[nodiscard]] std::size_t in_flight() const noexcept override { return pending_.size(); }

 private:
  struct Pending {
    rdma::ReadBatch* batch;
    std::vector<std::unique_ptr<std::byte[]>> copies;
  };

  void copy(rdma::ReadBatch& batch, std::uint32_t i) {
    const rdma::Read read = batch.reads[i];
    if (read.length == 0 || read.length > limits_.max_read_bytes || read.offset > tier_->region.size() ||
        read.length > tier_->region.size() - read.offset) {
      batch.error = ErrorCode::kInvalidArgument;
      return;
    }
    // The slot of a message tier: max_read_bytes, whatever was asked for.
    auto slot = std::make_unique<std::byte[]>(limits_.max_read_bytes);
    std::memcpy(slot.get(), tier_->region.data() + read.offset, read.length);
    batch.views[i] = slot.get();
    pending_.back().copies.push_back(std::move(slot));
  }

  std::shared_ptr<FaultyTier> tier_;
  rdma::QueueLimits limits_;
  std::uint32_t used_ = 0;
  std::vector<Pending> pending_;
  std::vector<Pending> held_;
};

inline std::unique_ptr<rdma::TierQueue> FaultyTier::make_queue(const rdma::QueueLimits& limits) {
  return std::make_unique<Queue>(std::static_pointer_cast<FaultyTier>(shared_from_this()), limits);
}

}  // namespace tiervec::graph_index::testing
