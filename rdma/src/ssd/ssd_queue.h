#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include <tiervec/core/huge_buffer.h>
#include <tiervec/rdma/batch_list.h>
#include <tiervec/rdma/tier.h>

#include "sector_reader.h"

namespace tiervec::rdma::ssd {

/// What all queues of a tier did.
struct SsdCounters {
  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> sectors{0};
  std::atomic<std::uint64_t> flushes{0};  // system calls that sent reads, with io_uring
};

/// Makes the reader of a queue's buffers with room for so many reads.
using MakeReader = std::function<std::unique_ptr<SectorReader>(std::span<std::byte> buffers, std::uint32_t depth)>;

struct SsdQueueSetup {
  std::shared_ptr<const Tier> tier;  // owns file and counters
  SsdCounters* counters = nullptr;
  std::uint64_t region_bytes = 0;
  std::uint32_t depth = ReadBatch::kMaxReads;  // reads with the device at once, at least kMaxReads; the rest waits here
};

/// Reads of one thread. A slot of the queue's own memory for each read, as large as its sectors can be.
///
///   submit: slots for all reads -> unsent_ -- flush, within depth --> with the device -- poll: all landed -->
///   finished_
///
/// ReadBatch::queue_word counts the reads of a batch that have not landed.
class SsdQueue final : public TierQueue {
 public:
  /// Throws what `make_reader` throws, and kResourceExhausted.
  SsdQueue(SsdQueueSetup setup, const QueueLimits& limits, const MakeReader& make_reader);

  [[nodiscard]] bool can_submit(std::uint32_t reads) const noexcept override {
    return reads <= max_reads_ - room_taken_;
  }
  void submit(ReadBatch& batch) noexcept override;
  void flush() noexcept override;
  std::size_t poll(std::span<ReadBatch*> done) noexcept override;
  bool wait() noexcept override;
  void release(ReadBatch& batch) noexcept override;
  void cancel(ReadBatch& batch) noexcept override;
  [[nodiscard]] std::size_t in_flight() const noexcept override { return batches_; }

 private:
  /// Where one read goes to, and what it has to bring.
  struct Slot {
    ReadBatch* batch = nullptr;
    std::uint32_t wanted_bytes = 0;
  };

  [[nodiscard]] bool valid(const ReadBatch& batch) const noexcept;
  [[nodiscard]] std::uint32_t slot_of(const std::byte* view) const noexcept;
  void start(ReadBatch& batch) noexcept;
  void land(Landed landed) noexcept;
  void finish(ReadBatch& batch, ErrorCode error) noexcept;
  void return_slots(const ReadBatch& batch) noexcept;

  const SsdQueueSetup setup_;
  const std::uint32_t max_reads_;
  const std::uint64_t longest_read_;
  const std::uint64_t slot_bytes_;
  std::uint32_t room_taken_ = 0;   // reads in flight, and with views not released
  std::uint32_t with_device_ = 0;  // reads
  std::size_t batches_ = 0;
  BatchList unsent_;
  BatchList finished_;

  HugeBuffer memory_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  std::uint32_t free_count_ = 0;
  std::unique_ptr<SectorReader> reader_;  // goes first: it reads into the memory
};

}  // namespace tiervec::rdma::ssd
