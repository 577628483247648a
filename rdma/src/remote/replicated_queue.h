#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include <tiervec/core/tick_clock.h>
#include <tiervec/rdma/batch_list.h>
#include <tiervec/rdma/tier.h>

namespace tiervec::rdma {

/// Passes batches on as they are. A batch in flight is in exactly one place: the queue of ReadBatch::replica, held_, or
/// done_. ReadBatch::replica of the latter two is none.
class ReplicatedQueue final : public TierQueue {
 public:
  /// `passed_on` is part of `tier`.
  ReplicatedQueue(std::shared_ptr<const Tier> tier, std::atomic<std::uint64_t>& passed_on,
                  std::vector<std::unique_ptr<TierQueue>> queues, std::uint32_t home, std::uint32_t max_reads,
                  TimeSource time);

  [[nodiscard]] bool can_submit(std::uint32_t reads) const noexcept override { return reads <= max_reads_ - reads_; }
  void submit(ReadBatch& batch) noexcept override;
  void flush() noexcept override;
  std::size_t poll(std::span<ReadBatch*> done) noexcept override;
  void release(ReadBatch& batch) noexcept override;
  void cancel(ReadBatch& batch) noexcept override;
  [[nodiscard]] std::size_t in_flight() const noexcept override { return batches_; }
  [[nodiscard]] bool available() const noexcept override;

 private:
  struct Replica {
    std::unique_ptr<TierQueue> queue;
    bool trusted = true;
    bool unflushed = false;
    std::uint32_t batches = 0;  // in its queue
    Ticks trust_again_at = 0;
    Ticks distrust_for = 0;  // after its next failure; 0: it answered since
  };

  void send(ReadBatch& batch, std::uint32_t replica) noexcept;
  [[nodiscard]] std::size_t poll_replica(std::uint32_t replica, std::span<ReadBatch*> done) noexcept;
  [[nodiscard]] bool ends_here(ReadBatch& batch, Replica& from) noexcept;
  void distrust(Replica& replica) noexcept;
  void choose_replica() noexcept;
  void look_after(Ticks now) noexcept;
  void serve_held(Ticks now) noexcept;
  void end(ReadBatch& batch, ErrorCode error) noexcept;
  [[nodiscard]] std::uint32_t next(std::uint32_t replica) const noexcept {
    return replica + 1 == replicas_.size() ? 0 : replica + 1;
  }

  std::shared_ptr<const Tier> tier_;
  std::atomic<std::uint64_t>& passed_on_;
  std::vector<Replica> replicas_;
  const std::uint32_t home_;
  const std::uint32_t max_reads_;
  const TimeSource time_;
  const Ticks first_distrust_;
  const Ticks longest_distrust_;
  const Ticks patience_;
  std::uint32_t in_use_;
  std::uint32_t reads_ = 0;
  std::size_t batches_ = 0;
  std::uint32_t polls_ = 0;
  bool degraded_ = false;        // a replica is distrusted, or a batch is held
  Ticks outage_since_ = kNever;  // since when no replica is trusted and none has answered
  Ticks ask_held_at_ = 0;
  BatchList held_;
  BatchList done_;
};

}  // namespace tiervec::rdma
