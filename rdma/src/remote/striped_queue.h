#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <tiervec/rdma/batch_list.h>
#include <tiervec/rdma/tier.h>

#include "lazy_pool.h"

namespace tiervec::rdma {

/// ReadBatch::queue_word of a batch points at its Round, from submit until it is released or has failed; 0: it failed.
class StripedQueue final : public TierQueue {
 public:
  StripedQueue(std::shared_ptr<const Tier> tier, std::vector<std::unique_ptr<TierQueue>> stripes, QueueLimits limits);

  [[nodiscard]] bool can_submit(std::uint32_t reads) const noexcept override {
    return reads <= limits_.max_reads - reads_;
  }
  void submit(ReadBatch& batch) noexcept override;
  void flush() noexcept override;
  std::size_t poll(std::span<ReadBatch*> done) noexcept override;
  void release(ReadBatch& batch) noexcept override;
  void cancel(ReadBatch& batch) noexcept override;
  [[nodiscard]] std::size_t in_flight() const noexcept override { return batches_; }
  [[nodiscard]] bool available() const noexcept override;

 private:
  struct Round;

  /// What one batch reads of one stripe.
  struct Part {
    ReadBatch batch;
    std::uint8_t read_of[ReadBatch::kMaxReads];  // which read of the whole batch
    bool completes[ReadBatch::kMaxReads];        // the second half of a read across a border
    Round* round;
    Part* next;  // of the round
    std::uint32_t stripe;
    bool in_flight;
  };

  /// A read across a border.
  struct Joint {
    std::byte* buffer = nullptr;  // its own from the first use on
    std::uint32_t read = 0;
    Joint* next = nullptr;  // of the round
  };

  /// A whole batch, between submit and release.
  struct Round {
    ReadBatch* batch;
    Part* parts;
    Joint* joints;
    std::uint32_t waiting;  // parts in flight
    ErrorCode error;
  };

  [[nodiscard]] bool valid(const ReadBatch& batch) const noexcept;
  void add_read(Round& round, std::uint32_t read, std::uint64_t offset, std::uint32_t length, bool completes) noexcept;
  [[nodiscard]] Part& part_on(Round& round, std::uint32_t stripe) noexcept;
  [[nodiscard]] Joint& take_joint(Round& round) noexcept;
  void take_part(Part& part) noexcept;
  void cancel_parts(Round& round) noexcept;
  void finish(Round& round) noexcept;
  void set_views(Round& round) noexcept;
  void free(Round& round) noexcept;

  std::shared_ptr<const Tier> tier_;
  std::vector<std::unique_ptr<TierQueue>> stripes_;  // null: holds nothing
  std::vector<std::uint32_t> in_stripe_;             // parts in flight on each
  std::vector<Part*> part_of_stripe_;                // of the batch that is being submitted
  const QueueLimits limits_;
  const std::uint64_t size_bytes_;
  std::uint32_t reads_ = 0;
  std::size_t batches_ = 0;
  std::uint32_t polls_ = 0;
  BatchList done_;
  LazyPool<Part> parts_;
  LazyPool<Joint> joints_;
  LazyPool<Round> rounds_;
  std::unique_ptr<std::byte[]> buffers_;  // one of max_read_bytes for each joint
  std::uint32_t buffers_used_ = 0;
};

}  // namespace tiervec::rdma
