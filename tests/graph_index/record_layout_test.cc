#include <tiervec/graph_index/record_layout.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/core/status.h>
#include <tiervec/graph_index/candidate_list.h>

namespace tiervec::graph_index {
namespace {

struct Example {
  std::uint32_t vertex = 0;
  std::uint64_t label = 0;
  std::vector<std::byte> vector;
  std::vector<std::uint32_t> neighbors;
};

Example random_example(const RecordLayout& layout, std::uint32_t degree, std::mt19937& random) {
  Example example;
  const std::uint32_t ids = layout.id_bits == 32 ? ~0U : (1U << layout.id_bits) - 1;
  example.vertex = static_cast<std::uint32_t>(random()) & ids;
  const std::uint64_t labels = layout.label_bytes >= 8 ? ~0ULL : (1ULL << (8 * layout.label_bytes)) - 1;
  example.label = ((std::uint64_t{random()} << 32) ^ random()) & labels;
  if (layout.label_bytes == 0) example.label = example.vertex;
  example.vector.resize(layout.vector_bytes());
  for (auto& byte : example.vector) byte = static_cast<std::byte>(random());
  example.neighbors.resize(degree);
  for (auto& id : example.neighbors) id = static_cast<std::uint32_t>(random()) & ids;
  return example;
}

std::vector<std::byte> encoded(const RecordLayout& layout, const Example& example) {
  const auto degree = static_cast<std::uint32_t>(example.neighbors.size());
  std::vector<std::byte> record(layout.record_bytes(layout.edge_units(degree)), std::byte{0xee});
  layout.encode(example.vertex, example.vector.data(), example.label, example.neighbors, record.data());
  return record;
}

TEST(RecordLayout, FitsTheSmallestSizes) {
  EXPECT_EQ(RecordLayout::fit(4, Dtype::kUint8, 2, 0, 4).id_bits, 1U);
  EXPECT_EQ(RecordLayout::fit(4, Dtype::kUint8, 3, 0, 4).id_bits, 2U);
  EXPECT_EQ(RecordLayout::fit(4, Dtype::kUint8, 1024, 0, 4).id_bits, 10U);
  EXPECT_EQ(RecordLayout::fit(4, Dtype::kUint8, 1025, 0, 4).id_bits, 11U);
  EXPECT_EQ(RecordLayout::fit(4, Dtype::kUint8, 0x7fff'ffff, 0, 4).id_bits, 31U);
  EXPECT_EQ(RecordLayout::fit(4, Dtype::kUint8, 9, 0, 4).label_bytes, 0U);
  EXPECT_EQ(RecordLayout::fit(4, Dtype::kUint8, 9, 255, 4).label_bytes, 1U);
  EXPECT_EQ(RecordLayout::fit(4, Dtype::kUint8, 9, 256, 4).label_bytes, 2U);
  EXPECT_EQ(RecordLayout::fit(4, Dtype::kUint8, 9, (std::uint64_t{1} << 63) - 1, 4).label_bytes, 8U);
  EXPECT_EQ(RecordLayout::fit(3, Dtype::kFloat16, 9, 0, 4).vector_bytes(), 6U);
}

TEST(RecordLayout, TheUnitKeepsEverySizeInAByte) {
  for (const std::uint32_t count : {2U, 1000U, 1'000'000U, 0x7fff'ffffU}) {
    for (const std::uint32_t degree : {1U, 32U, 65U, 66U, 128U, 255U}) {
      const RecordLayout layout = RecordLayout::fit(16, Dtype::kFloat32, count, 0, degree);
      EXPECT_LE(layout.edge_units(degree), 255U);
      if (layout.unit > 1) {
        RecordLayout finer = layout;
        finer.unit /= 2;
        EXPECT_GT(finer.edge_units(degree), 255U);
      }
    }
  }
}

TEST(RecordLayout, SectorsHoldWholeRecords) {
  const RecordLayout layout = RecordLayout::fit_sectors(128, Dtype::kUint8, 0, 32);
  EXPECT_EQ(layout.stored_bytes(0), 128U + 4 + 1 + 32 * 4);
  EXPECT_EQ(layout.stored_bytes(32), layout.stored_bytes(0));
  EXPECT_EQ(layout.stored_bytes(33), 0U);
  EXPECT_EQ(layout.records_per_sector(), 15U);
  EXPECT_EQ(layout.sector_section_bytes(15), 4096U);
  EXPECT_EQ(layout.sector_section_bytes(16), 8192U);
  const RecordLayout large = RecordLayout::fit_sectors(1536, Dtype::kFloat32, 0, 64);
  EXPECT_EQ(large.records_per_sector(), 0U);
  EXPECT_EQ(large.sectors_per_record(), 2U);
  EXPECT_EQ(large.sector_section_bytes(3), 6U * 4096);
}

TEST(RecordLayout, PlainIsPackedWithWideIds) {
  const RecordLayout plain = RecordLayout::fit_plain(128, Dtype::kUint8, 0);
  EXPECT_FALSE(plain.in_sectors());
  EXPECT_EQ(plain.stored_bytes(0), 128U + 4 + 1);
  EXPECT_EQ(plain.stored_bytes(32), 128U + 4 + 1 + 32 * 4);
  EXPECT_EQ(plain.edge_units(255), 255U);
  EXPECT_NO_THROW(plain.check(2));
  EXPECT_NO_THROW(plain.check(0x7fff'ffff));
  for (const std::uint32_t unit : {0U, 1U, 2U, 8U}) {
    RecordLayout other = plain;
    other.unit = unit;
    EXPECT_THROW(other.check(1000), Error) << unit;
  }
}

TEST(RecordLayout, WideIdsComeBack) {
  std::mt19937 random(2);
  for (const std::uint64_t label : {0ULL, 255ULL, (1ULL << 63U) - 1}) {
    for (const RecordLayout& layout : {RecordLayout::fit_plain(7, Dtype::kFloat16, label),
                                       RecordLayout::fit_sectors(7, Dtype::kFloat16, label, 40)}) {
      layout.check(1000);
      for (const std::uint32_t degree : {0U, 1U, 39U, 40U}) {
        Example example = random_example(layout, degree, random);
        std::vector<std::byte> record(layout.stored_bytes(degree) + RecordLayout::kOverread, std::byte{0xee});
        layout.encode(example.vertex, example.vector.data(), example.label, example.neighbors, record.data());
        const std::uint32_t bytes = layout.stored_bytes(degree);
        EXPECT_TRUE(layout.intact(example.vertex, record.data(), bytes));
        EXPECT_EQ(record[bytes], std::byte{0xee});
        EXPECT_EQ(layout.degree(record.data()), degree);
        EXPECT_EQ(layout.label(example.vertex, record.data()), example.label);
        std::vector<std::uint32_t> unpacked(RecordLayout::kMaxDegree + 16);
        for (const HopKernels* kernels : {&kHopKernelsPortable, &hop_kernels()}) {
          kernels->unpack(record.data() + layout.edges_at(), degree, layout.id_bits, unpacked.data());
          EXPECT_TRUE(std::equal(example.neighbors.begin(), example.neighbors.end(), unpacked.begin()));
        }
        for (std::uint32_t at = 0; at < bytes; ++at) {  // padding behind a short list counts too
          record[at] ^= std::byte{1};
          EXPECT_FALSE(layout.intact(example.vertex, record.data(), bytes)) << at;
          record[at] ^= std::byte{1};
        }
      }
    }
  }
}

TEST(RecordLayout, WhatIsEncodedComesBack) {
  std::mt19937 random(1);
  for (std::uint32_t id_bits = 1; id_bits <= 31; ++id_bits) {
    for (const std::uint32_t label_bytes : {0U, 1U, 3U, 8U}) {
      RecordLayout layout{.dim = 5, .dtype = Dtype::kFloat16, .id_bits = id_bits, .label_bytes = label_bytes};
      for (const std::uint32_t degree : {0U, 1U, 7U, 16U, 33U, 255U}) {
        layout.unit = 1;
        while (layout.edge_units(degree) > 255) layout.unit *= 2;
        const Example example = random_example(layout, degree, random);
        std::vector<std::byte> record = encoded(layout, example);
        const auto bytes = static_cast<std::uint32_t>(record.size());
        EXPECT_EQ(std::memcmp(record.data(), example.vector.data(), layout.vector_bytes()), 0);
        EXPECT_EQ(layout.label(example.vertex, record.data()), example.label);
        ASSERT_EQ(layout.degree(record.data()), degree);
        EXPECT_TRUE(layout.intact(example.vertex, record.data(), bytes));
        record.resize(record.size() + RecordLayout::kOverread);
        std::vector<std::uint32_t> neighbors((degree + 15) / 16 * 16);
        hop_kernels().unpack(record.data() + layout.edges_at(), degree, id_bits, neighbors.data());
        neighbors.resize(degree);
        EXPECT_EQ(neighbors, example.neighbors);
      }
    }
  }
}

TEST(RecordLayout, AnyFlippedBitIsNoticed) {
  std::mt19937 random(2);
  for (const std::uint32_t degree : {0U, 3U, 40U}) {
    const RecordLayout layout{.dim = 13, .dtype = Dtype::kUint8, .id_bits = 11, .label_bytes = 2, .unit = 4};
    const Example example = random_example(layout, degree, random);
    std::vector<std::byte> record = encoded(layout, example);
    const auto bytes = static_cast<std::uint32_t>(record.size());
    for (std::size_t bit = 0; bit < record.size() * 8; ++bit) {
      record[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      EXPECT_FALSE(layout.intact(example.vertex, record.data(), bytes)) << "bit " << bit;
      record[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    }
    EXPECT_TRUE(layout.intact(example.vertex, record.data(), bytes));
  }
}

TEST(RecordLayout, AnyOtherByteAndAnyOtherVertexIsNoticed) {
  std::mt19937 random(3);
  const RecordLayout layout{.dim = 8, .dtype = Dtype::kUint8, .id_bits = 20};
  const Example example = random_example(layout, 5, random);
  std::vector<std::byte> record = encoded(layout, example);
  const auto bytes = static_cast<std::uint32_t>(record.size());
  for (std::size_t at = 0; at < record.size(); ++at) {
    for (unsigned other = 1; other < 256; ++other) {
      record[at] ^= static_cast<std::byte>(other);
      EXPECT_FALSE(layout.intact(example.vertex, record.data(), bytes));
      record[at] ^= static_cast<std::byte>(other);
    }
  }
  for (std::uint32_t vertex = 0; vertex < 100'000; ++vertex) {
    EXPECT_EQ(layout.intact(vertex, record.data(), bytes), vertex == example.vertex);
  }
}

TEST(RecordLayout, TheSameRecordOfAnotherBuildIsNoticed) {
  std::mt19937_64 random(5);
  std::mt19937 content(5);
  RecordLayout layout{.dim = 8, .dtype = Dtype::kUint8, .id_bits = 20};
  layout.salt = 7;
  const Example example = random_example(layout, 5, content);
  const std::vector<std::byte> record = encoded(layout, example);
  const auto bytes = static_cast<std::uint32_t>(record.size());
  EXPECT_TRUE(layout.intact(example.vertex, record.data(), bytes));
  for (std::uint32_t i = 0; i < 200'000; ++i) {
    layout.salt = i % 2 == 0 ? random() : 8 + i;
    EXPECT_FALSE(layout.intact(example.vertex, record.data(), bytes)) << layout.salt;
  }
}

TEST(RecordLayout, ADegreeThatDoesNotFitTheReadIsNoticed) {
  std::mt19937 random(4);
  const RecordLayout layout{.dim = 8, .dtype = Dtype::kUint8, .id_bits = 20};
  const Example example = random_example(layout, 5, random);
  std::vector<std::byte> record = encoded(layout, example);
  const auto bytes = static_cast<std::uint32_t>(record.size());
  record.resize(record.size() + RecordLayout::kOverread);
  EXPECT_FALSE(layout.intact(example.vertex, record.data(), bytes + 1));
  EXPECT_FALSE(layout.intact(example.vertex, record.data(), bytes - 1));
  record[layout.degree_at()] = std::byte{255};
  EXPECT_FALSE(layout.intact(example.vertex, record.data(), bytes));
}

}  // namespace
}  // namespace tiervec::graph_index
