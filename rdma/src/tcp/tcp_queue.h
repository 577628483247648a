#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <tiervec/core/tick_clock.h>
#include <tiervec/rdma/batch_list.h>
#include <tiervec/rdma/tier.h>

#include "node_connection.h"
#include "receive_buffer.h"

namespace tiervec::rdma {

/// A queue with a connection of its own. submit writes a request behind the others, flush sends them all, poll receives
/// what there is and points the views into it.
///
/// Replies come in the order of the requests, so what is awaited is a ring. A batch that was cancelled leaves its place
/// there empty until its reply has passed. ReadBatch::queue_word is kAwaited and the batch's place in the ring, or
/// after poll the chunk its views are in.
class TcpQueue final : public TierQueue {
 public:
  /// `node` is part of `tier`. Connects, but does not fail when that fails.
  TcpQueue(std::shared_ptr<const Tier> tier, const NodeAddress& node, const QueueLimits& limits);

  [[nodiscard]] bool can_submit(std::uint32_t reads) const noexcept override { return reads <= max_reads_ - reads_; }
  void submit(ReadBatch& batch) noexcept override;
  void flush() noexcept override;
  std::size_t poll(std::span<ReadBatch*> done) noexcept override;
  void release(ReadBatch& batch) noexcept override;
  void cancel(ReadBatch& batch) noexcept override;
  [[nodiscard]] std::size_t in_flight() const noexcept override { return batches_; }
  [[nodiscard]] bool available() const noexcept override { return connection_.up(); }

  [[nodiscard]] const NodeConnection& connection() const noexcept { return connection_; }

 private:
  static constexpr std::uint64_t kAwaited = std::uint64_t{1} << 63U;

  struct Awaited {
    ReadBatch* batch = nullptr;  // null: cancelled
    std::uint32_t reads = 0;
    std::uint32_t bytes = 0;  // of the reply, without its header
    Ticks flushed_at = kNever;
  };

  [[nodiscard]] Awaited& awaited(std::uint64_t place) noexcept { return ring_[place & (ring_.size() - 1)]; }
  [[nodiscard]] bool nothing_awaited() const noexcept { return first_ == last_; }
  [[nodiscard]] std::uint64_t bytes_of(const ReadBatch& batch) const noexcept;
  void end_early(ReadBatch& batch, ErrorCode error) noexcept;
  void send_requests() noexcept;
  void reconnect() noexcept;
  [[nodiscard]] bool receive() noexcept;
  [[nodiscard]] std::size_t take_early(std::span<ReadBatch*> done) noexcept;
  [[nodiscard]] std::size_t take_arrived(std::span<ReadBatch*> done) noexcept;
  void complete(ReadBatch& batch, const std::byte* bytes) noexcept;
  void lose_connection(NodeConnection::Loss loss) noexcept;
  void fail_awaited() noexcept;

  std::shared_ptr<const Tier> tier_;
  const std::uint64_t region_bytes_;
  const std::uint64_t longest_read_;
  const std::uint32_t max_reads_;
  const TimeSource time_;
  const Ticks timeout_ticks_;
  const Ticks left_alone_ticks_;
  std::uint32_t reads_ = 0;  // in flight, and with views not released
  std::size_t batches_ = 0;

  NodeConnection connection_;
  Ticks last_received_ = 0;
  Ticks look_again_at_ = 0;  // for bytes that have arrived

  std::vector<Awaited> ring_;
  std::uint64_t first_ = 0;    // place of the next reply
  std::uint64_t flushed_ = 0;  // places before it may be late
  std::uint64_t last_ = 0;
  std::uint32_t cancelled_reads_ = 0;  // in the ring
  BatchList early_;                    // done without a reply: refused, cancelled, failed

  std::vector<std::byte> requests_;  // as they go out
  std::size_t requests_begin_ = 0;
  std::size_t requests_end_ = 0;

  ReceiveBuffer received_;
};

}  // namespace tiervec::rdma
