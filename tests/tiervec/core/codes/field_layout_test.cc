#include <tiervec/core/codes/field_layout.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/core/status.h>

namespace tiervec::codes {
namespace {

/// What is wrong with a layout of these widths, or "".
std::string layout_error(const FieldLayout& layout, const std::vector<std::uint8_t>& widths) {
  std::vector<int> seen(widths.size());
  for (std::uint32_t byte = 0; byte < layout.code_bytes; ++byte) {
    unsigned used = 0;
    for (std::uint32_t plane = 0; plane < kPlanes; ++plane) {
      const std::int32_t dimension = layout.dimension[plane].at(byte);
      const unsigned mask = layout.mask[plane].at(byte);
      if (dimension == FieldLayout::kNoDimension) {
        if (mask != 0) return "a field without a dimension has the mask " + std::to_string(mask);
        continue;
      }
      const auto d = static_cast<std::size_t>(dimension);
      if (mask != (1U << widths.at(d)) - 1) return "dimension " + std::to_string(d) + " has another mask";
      const unsigned bits = mask << (2 * plane);
      if (bits > 0xff || (used & bits) != 0) return "dimension " + std::to_string(d) + " overlaps";
      used |= bits;
      ++seen[d];
    }
  }
  for (std::size_t d = 0; d < widths.size(); ++d) {
    if (seen[d] != (widths[d] > 0 ? 1 : 0)) return "dimension " + std::to_string(d) + " is not stored once";
  }
  return "";
}

TEST(FieldLayout, EveryFieldHasItsOwnBits) {
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    std::vector<std::uint8_t> widths(1 + random() % 200);
    for (auto& width : widths) width = static_cast<std::uint8_t>(random() % 5 * 2);
    const FieldLayout layout = pack_fields(widths);
    ASSERT_EQ(layout_error(layout, widths), "") << "round " << round;
  }
}

TEST(FieldLayout, OneWidthWastesLessThanAByte) {
  for (const std::uint8_t width : {2, 4, 8}) {
    for (std::size_t dim = 1; dim < 40; ++dim) {
      const FieldLayout layout = pack_fields(std::vector<std::uint8_t>(dim, width));
      EXPECT_EQ(layout.code_bytes, (dim * width + 7) / 8);
    }
  }
}

TEST(FieldLayout, NarrowFieldsFillTheGapsOfWideOnes) {
  EXPECT_EQ(pack_fields(std::vector<std::uint8_t>{6, 2}).code_bytes, 1U);
  EXPECT_EQ(pack_fields(std::vector<std::uint8_t>{2, 6, 2, 6}).code_bytes, 2U);
  EXPECT_EQ(pack_fields(std::vector<std::uint8_t>{4, 2, 2, 8}).code_bytes, 2U);
  EXPECT_EQ(pack_fields(std::vector<std::uint8_t>{4, 4, 4, 2, 2, 6}).code_bytes, 3U);
  EXPECT_EQ(pack_fields(std::vector<std::uint8_t>{6, 4}).code_bytes, 2U);
}

TEST(FieldLayout, ADimensionWithoutBitsIsNotStored) {
  EXPECT_EQ(pack_fields(std::vector<std::uint8_t>{0, 0, 0}).code_bytes, 0U);
  EXPECT_EQ(pack_fields(std::vector<std::uint8_t>{}).code_bytes, 0U);
}

TEST(FieldLayout, SingleBitsAreInOrder) {
  const FieldLayout layout = pack_fields(std::vector<std::uint8_t>{1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0});
  EXPECT_EQ(layout.planes, 8U);
  EXPECT_EQ(layout.plane_shift, 1U);
  EXPECT_EQ(layout.code_bytes, 2U);
  EXPECT_EQ(layout.dimension[0], (std::vector<std::int32_t>{0, 9}));
  EXPECT_EQ(layout.dimension[1], (std::vector<std::int32_t>{2, FieldLayout::kNoDimension}));
  EXPECT_EQ(layout.mask[7], (std::vector<std::uint8_t>{1, 0}));
}

TEST(FieldLayout, TheSameWidthsGiveTheSameLayout) {
  const std::vector<std::uint8_t> widths = {2, 8, 0, 4, 6, 6, 2, 4, 4};
  const FieldLayout a = pack_fields(widths);
  const FieldLayout b = pack_fields(widths);
  EXPECT_EQ(a.dimension, b.dimension);
  EXPECT_EQ(a.mask, b.mask);
}

TEST(FieldLayout, RefusesOtherWidths) {
  using Widths = std::vector<std::uint8_t>;
  for (const Widths& widths : {Widths{4, 3}, {4, 5}, {4, 7}, {4, 9}, {4, 10}, {4, 255}, {1, 2}, {0, 8, 1}, {1, 3}}) {
    try {
      (void)pack_fields(widths);
      FAIL() << "width " << static_cast<int>(widths[1]);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(error.what()).find("dimension 1 "), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace tiervec::codes
