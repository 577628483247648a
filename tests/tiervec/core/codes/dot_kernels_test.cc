// The distance kernels of a DotCode against the portable one, over every size of row that they treat differently.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/core/codes/dot_code.h>
#include <tiervec/core/half.h>

#include "tiervec/core/simd_levels.h"

namespace tiervec::codes {
namespace {

DotDistancesFn kernel_of(SimdLevel level) {
#ifdef TIERVEC_X86
  if (level == SimdLevel::kAvx512) return dot_distances_avx512;
  if (level == SimdLevel::kAvx2) return dot_distances_avx2;
#endif
  (void)level;
  return dot_distances_portable;
}

/// Rows of random fields with a query of random planes. Everything is as long as it has to be and no longer.
class RandomRows {
 public:
  RandomRows(std::uint32_t row_bytes, std::uint32_t count, unsigned seed) : count_(count), random_(seed) {
    shape_.row_bytes = row_bytes;
    shape_.chunk_bytes = row_bytes <= 32 ? 32 : 64;
    const std::uint32_t code_bytes = row_bytes - kFactorBytes;
    shape_.chunks = (code_bytes + shape_.chunk_bytes - 1) / shape_.chunk_bytes;
    masks_.resize(std::size_t{shape_.chunks} * kPlanes * shape_.chunk_bytes);
    planes_.resize(masks_.size());
    for (std::uint32_t byte = 0; byte < code_bytes; ++byte) cut(byte);
    shape_.masks = masks_.data();
    query_ = {.offset = 3.5F, .dot_shift = -117.25F, .dot_scale = 0.01F, .addend_scale = 0.25F};
    rows_.resize(std::size_t{row_bytes} * count);
    for (auto& byte : rows_) byte = static_cast<std::uint8_t>(random_());
    std::uniform_real_distribution<float> factor(0.0F, 4.0F);
    for (std::uint32_t row = 0; row < count; ++row) {
      const std::uint16_t factors[2] = {float_to_half(factor(random_)), float_to_half(factor(random_))};
      std::memcpy(&rows_[std::size_t{row} * row_bytes + code_bytes], factors, sizeof factors);
    }
  }

  [[nodiscard]] std::vector<float> distances(DotDistancesFn kernel, const std::vector<std::uint32_t>* ids,
                                             std::uint32_t count) const {
    std::vector<float> out((count + 15) / 16 * 16);
    kernel(shape_, query_, planes_.data(), rows_.data(), ids == nullptr ? nullptr : ids->data(), count, out.data());
    out.resize(count);
    return out;
  }

  [[nodiscard]] std::vector<std::uint32_t> random_ids(std::uint32_t count) {
    std::vector<std::uint32_t> ids(count);
    for (auto& id : ids) id = static_cast<std::uint32_t>(random_() % count_);
    ids[0] = count_ - 1;  // the last row ends where the memory does
    return ids;
  }

  /// Only whole numbers are added, so the portable kernel is exact but for its last line.
  [[nodiscard]] double tolerance() const { return 1e-5 * (3.5 + 16.0 * 0.01 * 127 * 255 * shape_.row_bytes / 4); }

 private:
  // One of the five ways to cut a byte.
  void cut(std::uint32_t byte) {
    static constexpr std::uint8_t kCuts[5][kPlanes] = {
        {255, 0, 0, 0}, {63, 0, 0, 3}, {15, 0, 15, 0}, {15, 0, 3, 3}, {3, 3, 3, 3}};
    const std::uint8_t* const masks = kCuts[random_() % 5];
    for (std::uint32_t plane = 0; plane < kPlanes; ++plane) {
      const std::size_t at =
          (std::size_t{byte / shape_.chunk_bytes} * kPlanes + plane) * shape_.chunk_bytes + byte % shape_.chunk_bytes;
      masks_[at] = masks[plane];
      if (masks[plane] != 0) planes_[at] = static_cast<std::int8_t>(static_cast<int>(random_() % 255) - 127);
    }
  }

  std::uint32_t count_;
  std::mt19937 random_;
  DotRowShape shape_;
  DotQuery query_;
  std::vector<std::uint8_t> masks_;
  std::vector<std::int8_t> planes_;
  std::vector<std::uint8_t> rows_;
};

class DotKernelsTest : public ::testing::TestWithParam<SimdLevel> {};

TEST_P(DotKernelsTest, AgreeWithThePortableOneForEveryRowSize) {
  for (std::uint32_t row_bytes = 8; row_bytes <= 200; ++row_bytes) {
    RandomRows rows(row_bytes, 37, row_bytes);
    for (const std::uint32_t count : {1U, 3U, 16U, 17U, 37U}) {
      const std::vector<std::uint32_t> ids = rows.random_ids(count);
      for (const std::vector<std::uint32_t>* which : {&ids, static_cast<const std::vector<std::uint32_t>*>(nullptr)}) {
        const auto expected = rows.distances(dot_distances_portable, which, count);
        const auto found = rows.distances(kernel_of(GetParam()), which, count);
        for (std::uint32_t i = 0; i < count; ++i) {
          ASSERT_NEAR(static_cast<double>(found[i]), static_cast<double>(expected[i]), rows.tolerance())
              << "rows of " << row_bytes << " bytes, " << count << " of them, place " << i;
        }
      }
    }
  }
}

TEST_P(DotKernelsTest, ARowHasTheSameDistanceWhereverItStands) {
  // The candidate list takes equal ids with equal distances for one entry.
  for (const std::uint32_t row_bytes : {20U, 32U, 33U, 64U, 100U}) {
    RandomRows rows(row_bytes, 29, row_bytes);
    const auto in_order = rows.distances(kernel_of(GetParam()), nullptr, 29);
    for (std::uint32_t count = 1; count <= 29; ++count) {
      const std::vector<std::uint32_t> ids = rows.random_ids(count);
      const auto found = rows.distances(kernel_of(GetParam()), &ids, count);
      for (std::uint32_t i = 0; i < count; ++i) ASSERT_EQ(found[i], in_order[ids[i]]) << row_bytes;
    }
  }
}

TEST_P(DotKernelsTest, NoRowsWriteNothing) {
  RandomRows rows(64, 1, 1);
  EXPECT_TRUE(rows.distances(kernel_of(GetParam()), nullptr, 0).empty());
}

TIERVEC_ON_EVERY_SIMD_LEVEL(DotKernelsTest);

}  // namespace
}  // namespace tiervec::codes
