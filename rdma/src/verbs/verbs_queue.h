#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include <tiervec/core/huge_buffer.h>
#include <tiervec/rdma/batch_list.h>
#include <tiervec/rdma/tier.h>

#include "queue_counters.h"
#include "verbs_connection.h"

namespace tiervec::rdma::verbs {

/// Reads of one thread through one connection.
///
///   submit: a buffer for each read -> unsent_ -- flush: one list --> flights_ (in the order posted) --> poll
///
/// The queue pair completes in order, and the last read of each batch is signalled: one completion for each flight. A
/// cancelled flight goes on without its batch, until the device has written what it was asked for; there are twice as
/// many buffers as reads, so that this takes nobody's room.
///
/// A flush of few reads is held back while the device is busy anyway, that is while it has as many reads as its profile
/// says it works on at once: they would only wait there instead of here, for a doorbell of their own. They are sent
/// when enough have come together, or when the device has room; polling finds out.
///
/// When the connection fails, what was sent and not completed fails with it, and poll makes a new one. Making one
/// allocates; that is the only time when the queue does.
class VerbsQueue final : public TierQueue {
 public:
  /// Waits for the first connection; a node that is down is no error. Throws kResourceExhausted when its buffers cannot
  /// be registered. `endpoint` and `ledger` belong to `tier`.
  VerbsQueue(std::shared_ptr<const Tier> tier, const VerbsLibrary& library, const Endpoint& endpoint,
             CounterLedger& ledger, const QueueLimits& limits);

  [[nodiscard]] bool can_submit(std::uint32_t reads) const noexcept override {
    return reads <= max_reads_ - room_taken_ && reads <= free_count_;
  }
  void submit(ReadBatch& batch) noexcept override;
  void flush() noexcept override;
  std::size_t poll(std::span<ReadBatch*> done) noexcept override;
  void release(ReadBatch& batch) noexcept override;
  void cancel(ReadBatch& batch) noexcept override;
  [[nodiscard]] bool available() const noexcept override { return up_; }
  [[nodiscard]] std::size_t in_flight() const noexcept override { return batches_; }

 private:
  /// The reads of one batch that were posted together.
  struct Flight {
    ReadBatch* batch = nullptr;  // null: cancelled
    std::uint32_t reads = 0;
    Ticks posted_at = 0;
  };

  [[nodiscard]] bool valid(const ReadBatch& batch) const noexcept;
  void take_buffers(ReadBatch& batch) noexcept;
  void return_buffers(const ReadBatch& batch) noexcept;
  [[nodiscard]] std::uint32_t reads_posted() const noexcept {
    return static_cast<std::uint32_t>(next_posted_ - first_posted_);
  }
  void prepare(const ReadBatch& batch, std::uint32_t first) noexcept;
  void fail_early(ReadBatch& batch, ErrorCode error) noexcept;
  void land(Flight& flight) noexcept;
  std::size_t take_completions(std::span<ReadBatch*> done) noexcept;
  std::size_t take_early(std::span<ReadBatch*> done) noexcept;
  void look_after_connection() noexcept;
  void connection_up() noexcept;
  void drop_connection(ErrorCode error) noexcept;

  [[nodiscard]] Flight& flight(std::uint64_t number) noexcept { return flights_[number & flight_mask_]; }

  std::shared_ptr<const Tier> tier_;
  const VerbsLibrary& library_;
  const Endpoint& endpoint_;
  LedgerEntry counters_;
  const std::uint32_t max_reads_;
  const std::uint32_t max_read_bytes_;
  const std::uint64_t size_bytes_;
  const std::uint32_t buffer_bytes_;
  const Ticks timeout_;
  const std::uint32_t busy_reads_;  // with the device, from which on it has no use for more

  HugeBuffer memory_;
  std::vector<std::uint32_t> free_;  // numbers of buffers, a stack
  std::uint32_t free_count_ = 0;

  std::vector<abi::SendRequest> requests_;  // [i] posts with piece [i]; each links to the next
  std::vector<abi::Piece> pieces_;

  // Numbered as they are posted; the number of the last read's flight is its id.
  std::vector<Flight> flights_;
  std::uint64_t flight_mask_ = 0;
  std::uint64_t first_flight_ = 0;
  std::uint64_t next_flight_ = 0;
  std::vector<std::uint32_t> posted_buffers_;  // of the flights' reads, in the same order
  std::uint64_t posted_mask_ = 0;
  std::uint64_t first_posted_ = 0;
  std::uint64_t next_posted_ = 0;

  std::uint32_t room_taken_ = 0;  // reads between submit and release
  std::size_t batches_ = 0;       // between submit and poll
  bool flush_due_ = false;        // the last flush left batches: held back, or no room in the queue pair
  std::uint32_t unsent_reads_ = 0;
  BatchList unsent_;
  BatchList early_;  // failed or cancelled: due to be returned by poll

  std::unique_ptr<VerbsConnection> connection_;  // null: none, and none is being made
  bool up_ = false;
  std::uint32_t depth_ = 0;
  Ticks up_since_ = 0;
  Ticks next_look_ = 0;    // at the connection
  Ticks retry_at_ = 0;     // no attempt to connect before
  double backoff_ms_ = 0;  // of the next failure
  std::minstd_rand jitter_;
};

}  // namespace tiervec::rdma::verbs
