#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <tiervec/rdma/batch_list.h>
#include <tiervec/rdma/load_store_target.h>
#include <tiervec/rdma/tier.h>

namespace tiervec::rdma {

/// The queue of every tier whose bytes the CPU can load: submit prefetches, the next poll returns.
class LoadStoreQueue final : public TierQueue {
 public:
  /// `tier` owns the memory behind `target`.
  LoadStoreQueue(std::shared_ptr<const Tier> tier, LoadStoreTarget target, std::uint32_t max_reads);

  [[nodiscard]] bool can_submit(std::uint32_t reads) const noexcept override;
  void submit(ReadBatch& batch) noexcept override;
  void flush() noexcept override {}
  std::size_t poll(std::span<ReadBatch*> done) noexcept override;
  void release(ReadBatch&) noexcept override {}
  void cancel(ReadBatch& batch) noexcept override;
  [[nodiscard]] std::size_t in_flight() const noexcept override { return batches_; }
  [[nodiscard]] const LoadStoreTarget* load_store_target() const noexcept override { return &target_; }

 private:
  std::shared_ptr<const Tier> tier_;
  LoadStoreTarget target_;
  std::uint32_t max_reads_;
  std::uint32_t reads_ = 0;
  std::size_t batches_ = 0;
  BatchList list_;
};

}  // namespace tiervec::rdma
