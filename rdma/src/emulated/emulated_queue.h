#pragma once

#include <memory>

#include <tiervec/rdma/batch_list.h>
#include <tiervec/rdma/emulated_tier.h>
#include <tiervec/rdma/load_store_target.h>

#include "service_times.h"

namespace tiervec::rdma {

/// A batch is on one of three lists: not flushed, with the device (in the order of arrival), or done early (bad range,
/// cancelled). ReadBatch::queue_word is the ticks of work up to and including the batch in its flush, as a double;
/// from the flush on, the tick of its arrival.
class EmulatedQueue final : public TierQueue {
 public:
  EmulatedQueue(std::shared_ptr<const EmulatedTier> tier, DeviceServer& server, LoadStoreTarget target,
                std::uint32_t max_reads, TimeSource time);

  [[nodiscard]] bool can_submit(std::uint32_t reads) const noexcept override { return reads <= max_reads_ - reads_; }
  void submit(ReadBatch& batch) noexcept override;
  void flush() noexcept override;
  std::size_t poll(std::span<ReadBatch*> done) noexcept override;
  void release(ReadBatch&) noexcept override {}
  void cancel(ReadBatch& batch) noexcept override;
  [[nodiscard]] std::size_t in_flight() const noexcept override { return batches_; }

 private:
  void work_of_unsent() noexcept;

  std::shared_ptr<const EmulatedTier> tier_;
  DeviceServer& server_;  // part of *tier_
  LoadStoreTarget target_;
  ServiceTimes times_;
  const TimeSource time_;
  std::uint32_t max_reads_;
  std::uint32_t reads_ = 0;
  std::size_t batches_ = 0;
  BatchList unsent_;
  BatchList sent_;
  BatchList early_;
  double work_ = 0;   // ticks of the unsent batches
  double carry_ = 0;  // the fraction of a tick that past flushes left
};

}  // namespace tiervec::rdma
