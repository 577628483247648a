#pragma once

// The seam between search code and second-tier memory.
//
//   Tier        one region of bytes somewhere: this process's memory, a mapped file, another machine
//   TierQueue   one worker thread's way to read it: submit batches, flush once, poll completions
//   ReadBatch   up to kMaxReads {offset, length} that complete together: one dependent round
//
//   life of a batch:   idle --submit--> in flight --poll--> done --release--> idle
//                                          `--cancel--> done (kCancelled) at a later poll
//
// Guarantees:
// - No call of TierQueue allocates, locks or throws. Failures arrive as ReadBatch::error at poll.
// - A batch must stay at its address from submit until poll has returned it. Views are valid from then until release.
// - A short read never completes with kOk.
// - A batch with an empty read, a read longer than the queue's limit, or a range outside the region completes with
//   kInvalidArgument and is never issued.
// - A batch that fails holds nothing: release is for kOk only, once a batch.
// - A batch that was not flushed yet may or may not complete.
// - Destroying a queue with batches in flight is allowed: their memory is not touched afterwards.
// - A queue belongs to its process. A child that was forked since may only destroy it, which the parent does not
// notice,
//   and opens queues of its own from the tier; a tier that cannot do that there throws kUnsupported.
// - A queue holds its tier by shared_ptr: the tier goes when the last of both goes.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <tiervec/core/status.h>
#include <tiervec/rdma/device_profile.h>

namespace tiervec::rdma {

struct Read {
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
};

struct ReadBatch {
  static constexpr std::uint32_t kMaxReads = 128;

  // Set by the caller before submit.
  std::uint32_t count = 0;
  Read reads[kMaxReads];
  void* owner = nullptr;      // not looked at by the queue; the scheduler keeps the waiting coroutine here
  bool prefetch = true;       // false: the reader itself brings this process's memory into the caches, as it goes
  std::uint32_t attempt = 0;  // a tier with replicas answers attempt n + 1 from another one than attempt n

  // Set by the queue before poll returns the batch.
  const std::byte* views[kMaxReads] = {};
  ErrorCode error = ErrorCode::kOk;

  // The queue's own bookkeeping (buffer slot, completion time, links of its lists).
  std::uint64_t queue_word = 0;
  ReadBatch* queue_next = nullptr;
  // A replicated tier's, which passes the batch on to the queue of a replica.
  std::uint32_t replica = 0;   // that has it, or had it last
  std::uint32_t failures = 0;  // since every replica was last asked
  std::uint64_t give_up_at = 0;
};

class LoadStoreTarget;

class TierQueue {
 public:
  TierQueue() = default;
  TierQueue(const TierQueue&) = delete;
  TierQueue& operator=(const TierQueue&) = delete;
  virtual ~TierQueue() = default;

  /// True when a batch of `reads` reads fits beside what is in flight now.
  [[nodiscard]] virtual bool can_submit(std::uint32_t reads) const noexcept = 0;
  /// Takes the batch. Requires can_submit(batch.count) and 0 < count <= kMaxReads.
  virtual void submit(ReadBatch& batch) noexcept = 0;
  /// Sends everything submitted since the last flush (one doorbell, one message).
  virtual void flush() noexcept = 0;
  /// Fills `done` with completed batches, never blocks; returns how many.
  virtual std::size_t poll(std::span<ReadBatch*> done) noexcept = 0;
  /// Called when there is nothing else to run. May block until something comes back, for up to 1 ms. Returns whether it
  /// is a wait that blocks; the default is none, since most devices answer sooner than a thread falls asleep.
  virtual bool wait() noexcept { return false; }
  /// Gives the views of a completed batch back.
  virtual void release(ReadBatch& batch) noexcept = 0;
  /// Asks for an early end of a batch in flight; it still comes back from poll exactly once.
  virtual void cancel(ReadBatch& batch) noexcept = 0;
  /// False while the device is known not to answer, for example until a lost connection is back. It is polled for that.
  [[nodiscard]] virtual bool available() const noexcept { return true; }
  /// Batches between submit and poll.
  [[nodiscard]] virtual std::size_t in_flight() const noexcept = 0;
  /// The memory itself, when every read is a load that completes at once; else null. A scheduler may then start its
  /// batches there instead of submitting them: the same checks, views and prefetches, without the calls.
  [[nodiscard]] virtual const LoadStoreTarget* load_store_target() const noexcept { return nullptr; }
};

/// What a queue has to have room for. A tier that copies owns max_reads buffers of max_read_bytes.
struct QueueLimits {
  std::uint32_t max_reads = 0;               // in flight at once, and with views not released
  std::uint32_t max_read_bytes = 64 * 1024;  // a longer read fails with kInvalidArgument, on every tier
};

/// Something a tier counts, for example doorbells, since it was opened.
struct TierCounter {
  std::string name;
  std::uint64_t value = 0;
};

class Tier;

/// What several tiers count together; null ones count nothing.
std::vector<TierCounter> sum_of_counters(std::span<const std::shared_ptr<Tier>> tiers);

class Tier : public std::enable_shared_from_this<Tier> {
 public:
  Tier() = default;
  Tier(const Tier&) = delete;
  Tier& operator=(const Tier&) = delete;
  virtual ~Tier() = default;

  [[nodiscard]] virtual std::string url() const = 0;
  [[nodiscard]] virtual std::uint64_t size_bytes() const noexcept = 0;
  [[nodiscard]] virtual DeviceProfile profile() const = 0;
  /// True when the region's checksum was compared while it was loaded into memory that only this process can write.
  /// False: its bytes may be damaged or replaced under the reader, which checks every record.
  [[nodiscard]] virtual bool verified_at_open() const noexcept { return true; }
  /// The region where it was loaded to, whose checksum the opener compares; empty unless verified_at_open().
  [[nodiscard]] virtual std::span<const std::byte> loaded_bytes() const noexcept { return {}; }
  /// Copies of the region that ReadBatch::attempt chooses from.
  [[nodiscard]] virtual std::uint32_t replicas() const noexcept { return 1; }
  /// What its queues did so far; nothing for a tier that does not count.
  [[nodiscard]] virtual std::vector<TierCounter> counters() const { return {}; }
  /// A queue for one thread; it keeps the tier alive. Throws kInvalidArgument for a limit of 0, kResourceExhausted.
  [[nodiscard]] std::unique_ptr<TierQueue> open_queue(QueueLimits limits);
  [[nodiscard]] std::unique_ptr<TierQueue> open_queue(std::uint32_t max_reads) {
    return open_queue(QueueLimits{.max_reads = max_reads});
  }

 private:
  [[nodiscard]] virtual std::unique_ptr<TierQueue> make_queue(const QueueLimits& limits) = 0;
};

/// Opens a tier for the bytes of `region_path` (dram:, mmap:, emulated: load or map that file).
/// Throws Error: kInvalidArgument for an unknown scheme or profile, kNotFound / kDataLoss for the file.
std::shared_ptr<Tier> open_tier(const std::string& url, const std::string& region_path);

}  // namespace tiervec::rdma
