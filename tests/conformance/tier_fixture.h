#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

#include <tiervec/rdma/tier.h>

#include "conformance/tier_cases.h"

namespace tiervec::rdma::conformance {

// No multiple of a page, a sector or a line: the last read of a region ends in the middle of each.
inline constexpr std::uint64_t kRegionBytes = (1U << 20U) + 4096 * 3 + 37;

/// Byte `offset` of every region of these tests: depends on all bits of the offset, so that no two places look alike.
inline std::byte region_byte(std::uint64_t offset) {
  std::uint64_t mixed = offset * 0x9e3779b97f4a7c15ULL;
  mixed ^= mixed >> 29U;
  mixed *= 0xbf58476d1ce4e5b9ULL;
  return static_cast<std::byte>(mixed >> 56U);
}

/// Where the views of a batch differ from the region, or "" when they do not.
inline std::string view_error(const ReadBatch& batch) {
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    const Read read = batch.reads[i];
    for (std::uint32_t at = 0; at < read.length; ++at) {
      if (batch.views[i][at] != region_byte(read.offset + at)) {
        return "read " + std::to_string(i) + " of " + std::to_string(read.length) + " bytes at " +
               std::to_string(read.offset) + " is wrong at byte " + std::to_string(at);
      }
    }
  }
  return "";
}

inline void set_reads(ReadBatch& batch, const std::vector<Read>& reads) {
  batch.count = static_cast<std::uint32_t>(reads.size());
  std::copy(reads.begin(), reads.end(), batch.reads);
}

inline void set_random_reads(ReadBatch& batch, std::mt19937_64& random, std::uint32_t count, std::uint32_t longest) {
  batch.count = count;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto length = static_cast<std::uint32_t>(1 + random() % longest);
    batch.reads[i] = {random() % (kRegionBytes - length + 1), length};
  }
}

/// Polls until `count` batches are back; fewer after 60 s, which fails the test that compares.
inline std::vector<ReadBatch*> wait_for(TierQueue& queue, std::size_t count, std::size_t at_once = 16) {
  std::vector<ReadBatch*> all;
  std::vector<ReadBatch*> done(at_once);
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (all.size() < count && std::chrono::steady_clock::now() < give_up) {
    queue.flush();
    const std::size_t got = queue.poll(done);
    for (std::size_t i = 0; i < got; ++i) {
      all.push_back(done.at(i));
    }
  }
  return all;
}

/// Runs one batch alone on the queue and returns its error; checks the views of a good one and releases it.
inline ErrorCode read_now(TierQueue& queue, ReadBatch& batch) {
  queue.submit(batch);
  const std::vector<ReadBatch*> done = wait_for(queue, 1);
  EXPECT_EQ(done, std::vector<ReadBatch*>{&batch});
  if (batch.error == ErrorCode::kOk) {
    EXPECT_EQ(view_error(batch), "");
    queue.release(batch);
  }
  return batch.error;
}

/// A region file with the pattern, and the tier of the test's parameter opened on it.
class TierTest : public ::testing::TestWithParam<TierCase> {
 protected:
  static void SetUpTestSuite() {
    folder() = std::filesystem::temp_directory_path() / ("tiervec-conformance-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder());
    std::vector<char> bytes(kRegionBytes);
    for (std::uint64_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<char>(region_byte(i));
    }
    std::ofstream(region_path(), std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(folder()); }

  static std::filesystem::path& folder() {
    static std::filesystem::path path;
    return path;
  }
  static std::string region_path() { return (folder() / "region").string(); }

  void SetUp() override {
    if (!GetParam().skip.empty()) {
      GTEST_SKIP() << GetParam().skip;
    }
    tier_ = GetParam().open(region_path());
  }

  std::shared_ptr<Tier> tier_;
};

inline std::string case_name(const ::testing::TestParamInfo<TierCase>& info) {
  return info.param.name;
}

}  // namespace tiervec::rdma::conformance

#define TIERVEC_ON_EVERY_TIER(suite) \
  INSTANTIATE_TEST_SUITE_P(Tiers, suite, ::testing::ValuesIn(tier_cases()), case_name)
