// The distance kernels of a DotCode against the portable one, over every size of row that they treat differently.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/core/codes/dot_code.h>

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

enum class Widths { kUpToSix, kUpToEight };
enum class Values { kRandom, kLargest };

/// Rows of fields with a query of planes. Everything is as long as it has to be and no longer.
class SomeRows {
 public:
  SomeRows(std::uint32_t row_bytes, std::uint32_t count, Widths widths = Widths::kUpToEight,
           Values values = Values::kRandom)
      : count_(count), random_(row_bytes) {
    shape_.row_bytes = row_bytes;
    shape_.chunk_bytes = row_bytes <= 32 ? 32 : 64;
    const std::uint32_t code_bytes = row_bytes - kFactorBytes;
    shape_.chunks = (code_bytes + shape_.chunk_bytes - 1) / shape_.chunk_bytes;
    masks_.resize(std::size_t{shape_.chunks} * kPlanes * shape_.chunk_bytes);
    planes_.resize(masks_.size());
    for (std::uint32_t byte = 0; byte < code_bytes; ++byte) cut(byte, widths, values);
    shape_.masks = masks_.data();
    shape_.has_wide_fields = widths == Widths::kUpToEight;
    query_ = {.offset = 3.5F, .dot_shift = -117.25F, .dot_scale = 0.01F};
    rows_.resize(std::size_t{row_bytes} * count);
    for (auto& byte : rows_) byte = static_cast<std::uint8_t>(values == Values::kLargest ? 255 : random_());
    std::uniform_real_distribution<float> factor(0.0F, 4.0F);
    for (std::uint32_t row = 0; row < count; ++row) {
      const float factors[2] = {factor(random_), factor(random_)};
      for (std::uint32_t i = 0; i < 2; ++i) {  // their upper three bytes
        std::memcpy(&rows_[std::size_t{row} * row_bytes + code_bytes + i * std::size_t{3}],
                    reinterpret_cast<const std::uint8_t*>(&factors[i]) + 1, 3);
      }
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
  // One of the five ways to cut a byte. Of the largest values neighbours have the same sign.
  void cut(std::uint32_t byte, Widths widths, Values values) {
    static constexpr std::uint8_t kCuts[5][kPlanes] = {
        {255, 0, 0, 0}, {63, 0, 0, 3}, {15, 0, 15, 0}, {15, 0, 3, 3}, {3, 3, 3, 3}};
    const std::uint32_t first = widths == Widths::kUpToEight ? 0 : 1;
    const std::uint8_t* const masks = kCuts[values == Values::kLargest ? first : first + random_() % (5 - first)];
    const int largest = byte / 32 % 2 == 0 ? 127 : -127;
    for (std::uint32_t plane = 0; plane < kPlanes; ++plane) {
      const std::size_t at =
          (std::size_t{byte / shape_.chunk_bytes} * kPlanes + plane) * shape_.chunk_bytes + byte % shape_.chunk_bytes;
      masks_[at] = masks[plane];
      const int value = values == Values::kLargest ? largest : static_cast<int>(random_() % 255) - 127;
      if (masks[plane] != 0) planes_[at] = static_cast<std::int8_t>(value);
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

DotDistancesFn bit_kernel_of(SimdLevel level) {
#ifdef TIERVEC_X86
  if (level == SimdLevel::kAvx512) return bit_distances_avx512;
  if (level == SimdLevel::kAvx2) return bit_distances_avx2;
#endif
  (void)level;
  return bit_distances_portable;
}

class DotKernelsTest : public ::testing::TestWithParam<SimdLevel> {};

TEST_P(DotKernelsTest, AgreeWithThePortableOneForEveryRowSize) {
  for (std::uint32_t row_bytes = 8; row_bytes <= 200; ++row_bytes) {
    for (const Widths widths : {Widths::kUpToSix, Widths::kUpToEight}) {
      SomeRows rows(row_bytes, 37, widths);
      for (const std::uint32_t count : {1U, 3U, 16U, 17U, 37U}) {
        const std::vector<std::uint32_t> ids = rows.random_ids(count);
        for (const std::vector<std::uint32_t>* which :
             {&ids, static_cast<const std::vector<std::uint32_t>*>(nullptr)}) {
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
}

TEST_P(DotKernelsTest, TheLargestSumsFit) {
  for (std::uint32_t row_bytes = 8; row_bytes <= 200; ++row_bytes) {
    for (const Widths widths : {Widths::kUpToSix, Widths::kUpToEight}) {
      const SomeRows rows(row_bytes, 5, widths, Values::kLargest);
      const auto expected = rows.distances(dot_distances_portable, nullptr, 5);
      const auto found = rows.distances(kernel_of(GetParam()), nullptr, 5);
      for (std::uint32_t i = 0; i < 5; ++i) {
        ASSERT_NEAR(static_cast<double>(found[i]), static_cast<double>(expected[i]), rows.tolerance()) << row_bytes;
      }
    }
  }
}

// Rows of single bits of every number of chunks, with as many bytes between code and factors as there may be.
TEST_P(DotKernelsTest, OfSingleBitsAgreeWithThePortableOne) {
  std::mt19937 random(3);
  for (std::uint32_t chunks = 1; chunks <= 70; chunks += chunks < 20 ? 1 : 7) {
    for (const std::uint32_t last_bytes : {2U, 4U, 6U, 8U}) {
      for (const bool largest : {false, true}) {
        const std::uint32_t code_bytes = (chunks - 1) * 8 + last_bytes;
        DotRowShape shape;
        shape.row_bytes = std::max(code_bytes + kFactorBytes, 8U);
        shape.chunk_bytes = 8;
        shape.chunks = chunks;
        std::vector<std::int8_t> planes(std::size_t{chunks} * 64);
        for (std::uint32_t bit = 0; bit < code_bytes * 8; ++bit) {
          planes[bit] = static_cast<std::int8_t>(largest ? 127 : static_cast<int>(random() % 255) - 127);
        }
        const std::uint32_t count = 21;
        std::vector<std::uint8_t> rows(std::size_t{shape.row_bytes} * count);
        for (std::uint32_t row = 0; row < count; ++row) {
          std::uint8_t* at = &rows[std::size_t{row} * shape.row_bytes];
          for (std::uint32_t i = 0; i < code_bytes; ++i) at[i] = static_cast<std::uint8_t>(largest ? 255 : random());
          const float factors[2] = {static_cast<float>(row), 0.5F};
          std::memcpy(at + shape.row_bytes - 6, reinterpret_cast<const std::uint8_t*>(&factors[0]) + 1, 3);
          std::memcpy(at + shape.row_bytes - 3, reinterpret_cast<const std::uint8_t*>(&factors[1]) + 1, 3);
        }
        const DotQuery query{.offset = 3.5F, .dot_shift = -117.5F, .dot_scale = 0.25F};
        std::vector<float> expected(32);
        std::vector<float> found(32);
        bit_distances_portable(shape, query, planes.data(), rows.data(), nullptr, count, expected.data());
        bit_kernel_of(GetParam())(shape, query, planes.data(), rows.data(), nullptr, count, found.data());
        for (std::uint32_t i = 0; i < count; ++i) ASSERT_NEAR(found[i], expected[i], 0.1) << chunks << " " << i;
      }
    }
  }
}

TEST_P(DotKernelsTest, ARowHasTheSameDistanceWhereverItStands) {
  // The candidate list takes equal ids with equal distances for one entry.
  for (const std::uint32_t row_bytes : {20U, 32U, 33U, 64U, 100U}) {
    SomeRows rows(row_bytes, 29);
    const auto in_order = rows.distances(kernel_of(GetParam()), nullptr, 29);
    for (std::uint32_t count = 1; count <= 29; ++count) {
      const std::vector<std::uint32_t> ids = rows.random_ids(count);
      const auto found = rows.distances(kernel_of(GetParam()), &ids, count);
      for (std::uint32_t i = 0; i < count; ++i) ASSERT_EQ(found[i], in_order[ids[i]]) << row_bytes;
    }
  }
}

TEST_P(DotKernelsTest, NoRowsWriteNothing) {
  const SomeRows rows(64, 1);
  EXPECT_TRUE(rows.distances(kernel_of(GetParam()), nullptr, 0).empty());
}

TIERVEC_ON_EVERY_SIMD_LEVEL(DotKernelsTest);

}  // namespace
}  // namespace tiervec::codes
