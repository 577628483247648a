#pragma once

// Reads of a region whose bytes are known, on tiers that are made of others.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/engine/task.h>
#include <tiervec/engine/worker.h>
#include <tiervec/rdma/tier.h>

namespace tiervec::rdma::testing {

inline std::byte byte_at(std::uint64_t offset) {
  std::uint64_t mixed = offset * 0x9e3779b97f4a7c15ULL;
  mixed ^= mixed >> 29U;
  mixed *= 0xbf58476d1ce4e5b9ULL;
  return static_cast<std::byte>(mixed >> 56U);
}

inline std::vector<std::byte> region_of(std::uint64_t bytes) {
  std::vector<std::byte> region(bytes);
  for (std::uint64_t i = 0; i < bytes; ++i) {
    region[i] = byte_at(i);
  }
  return region;
}

inline bool views_are_right(const ReadBatch& batch) {
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    for (std::uint32_t at = 0; at < batch.reads[i].length; ++at) {
      if (batch.views[i][at] != byte_at(batch.reads[i].offset + at)) {
        return false;
      }
    }
  }
  return true;
}

inline void set_reads(ReadBatch& batch, std::initializer_list<Read> reads) {
  batch.count = static_cast<std::uint32_t>(reads.size());
  std::copy(reads.begin(), reads.end(), batch.reads);
}

/// Polls until `count` batches are back, fewer after a minute.
inline std::vector<ReadBatch*> wait_for(TierQueue& queue, std::size_t count) {
  std::vector<ReadBatch*> all;
  ReadBatch* done[8];
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (all.size() < count && std::chrono::steady_clock::now() < give_up) {
    const std::size_t got = queue.poll(done);
    all.insert(all.end(), done, done + got);
    if (got == 0) {
      std::this_thread::yield();
    }
  }
  return all;
}

/// Runs one batch alone; checks the views of a good one and releases it.
inline ErrorCode read_now(TierQueue& queue, ReadBatch& batch) {
  queue.submit(batch);
  queue.flush();
  EXPECT_EQ(wait_for(queue, 1), std::vector<ReadBatch*>{&batch});
  if (batch.error == ErrorCode::kOk) {
    EXPECT_TRUE(views_are_right(batch));
    queue.release(batch);
  }
  return batch.error;
}

struct WalkOutcome {
  std::uint64_t good = 0;
  std::uint64_t wrong = 0;  // kOk with other bytes
  std::uint64_t failed = 0;
};

/// A search's pattern of reads: where to go next depends on the bytes read. Ends at the first failure.
inline engine::Task<void> walk(engine::Worker& worker, std::uint64_t region_bytes, std::uint64_t seed, int rounds,
                               WalkOutcome& outcome) {
  ReadBatch batch;
  std::uint64_t place = seed;
  for (int round = 0; round < rounds; ++round) {
    batch.count = 3;
    for (std::uint32_t i = 0; i < batch.count; ++i) {
      place = place * 6364136223846793005ULL + 1442695040888963407ULL;
      batch.reads[i] = {(place >> 20U) % (region_bytes - 200), 200};
    }
    const ErrorCode error = co_await worker.read(batch);
    if (error != ErrorCode::kOk) {
      ++outcome.failed;
      co_return;
    }
    ++(views_are_right(batch) ? outcome.good : outcome.wrong);
    place += std::to_integer<std::uint64_t>(batch.views[2][199]);
    worker.release(batch);
  }
}

}  // namespace tiervec::rdma::testing
