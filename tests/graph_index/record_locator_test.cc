#include <tiervec/graph_index/record_locator.h>

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/core/status.h>

namespace tiervec::graph_index {
namespace {

struct Section {
  RecordLayout layout{.dim = 9, .dtype = Dtype::kUint8, .id_bits = 12, .unit = 1};
  std::vector<LocatorGroup> groups;
  std::vector<rdma::Read> expected;
  std::uint64_t bytes = 0;
};

/// Records of random sizes, located by adding up what is before them.
Section random_section(std::uint32_t count, std::uint32_t unit, unsigned seed) {
  std::mt19937 random(seed);
  Section section;
  section.layout.unit = unit;
  section.groups.resize((count + LocatorGroup::kRecords - 1) / LocatorGroup::kRecords);
  for (std::uint32_t v = 0; v < count; ++v) {
    // The ends of the range more often than by chance: the sum of a group needs more than a byte.
    const std::uint32_t units = random() % 3 == 0 ? 255 : static_cast<std::uint32_t>(random() % 256);
    LocatorGroup& group = section.groups[v / LocatorGroup::kRecords];
    if (v % LocatorGroup::kRecords == 0) group.start = section.bytes;
    group.units[v % LocatorGroup::kRecords] = static_cast<std::uint8_t>(units);
    section.expected.push_back({section.bytes, section.layout.record_bytes(units)});
    section.bytes += section.layout.record_bytes(units);
  }
  section.bytes += RecordLayout::kOverread;
  return section;
}

TEST(RecordLocator, FindsWhatAddingUpFinds) {
  for (const std::uint32_t count : {1U, 2U, 15U, 16U, 17U, 160U, 1001U}) {
    for (const std::uint32_t unit : {1U, 4U}) {
      const Section section = random_section(count, unit, count);
      const RecordLocator locator(section.layout, section.groups, count, section.bytes);
      for (std::uint32_t v = 0; v < count; ++v) {
        const rdma::Read read = locator.locate(v);
        ASSERT_EQ(read.offset, section.expected[v].offset) << "vertex " << v << " of " << count;
        ASSERT_EQ(read.length, section.expected[v].length) << "vertex " << v << " of " << count;
      }
    }
  }
}

TEST(RecordLocator, SectorsNeedNone) {
  for (const std::uint32_t dim : {1U, 100U, 900U, 4000U, 5000U, 16384U}) {
    const RecordLayout layout = RecordLayout::fit_sectors(dim, Dtype::kUint8, 0, 24);
    const std::uint32_t bytes = layout.stored_bytes(0);
    for (const std::uint32_t count : {1U, 2U, 40U, 1001U}) {
      const std::uint64_t section = layout.sector_section_bytes(count) + RecordLayout::kOverread;
      const RecordLocator locator(layout, {}, count, section);
      std::uint64_t next = 0;
      for (std::uint32_t v = 0; v < count; ++v) {
        const std::uint64_t left = RecordLayout::kSectorBytes - next % RecordLayout::kSectorBytes;
        if (next % RecordLayout::kSectorBytes != 0 && left < bytes) next += left;
        EXPECT_EQ(locator.locate(v).offset, next);
        EXPECT_EQ(locator.locate(v).length, bytes);
        next += bytes;
      }
      EXPECT_LE(next, section);
      EXPECT_THROW(RecordLocator(layout, {}, count, section + 1), Error);
      EXPECT_THROW(RecordLocator(layout, {}, count + 5000, section), Error);
      const std::vector<LocatorGroup> groups(1);
      EXPECT_THROW(RecordLocator(layout, groups, count, section), Error);
    }
  }
}

TEST(RecordLocator, TakesAtMostTwoBytesAVertex) {
  EXPECT_LE(sizeof(LocatorGroup), 2U * LocatorGroup::kRecords);
}

TEST(RecordLocator, ADamagedOneIsRefused) {
  const auto refused = [](const std::function<void(Section&)>& change, std::uint32_t count = 100) {
    Section section = random_section(100, 1, 7);
    change(section);
    try {
      const RecordLocator locator(section.layout, section.groups, count, section.bytes);
      return std::string();
    } catch (const Error& error) {
      return std::string(error_code_name(error.code()));
    }
  };
  EXPECT_EQ(refused([](Section&) {}), "");
  EXPECT_EQ(refused([](Section& s) { s.groups.pop_back(); }), "data_loss");
  EXPECT_EQ(refused([](Section& s) { s.groups.emplace_back(); }), "data_loss");
  EXPECT_EQ(refused([](Section& s) { s.groups[0].start = 1; }), "data_loss");
  EXPECT_EQ(refused([](Section& s) { s.groups[2].start -= 1; }), "data_loss");
  EXPECT_EQ(refused([](Section& s) { s.groups[2].start = ~0ULL; }), "data_loss");
  EXPECT_EQ(refused([](Section& s) { s.groups[1].units[3] ^= 1; }), "data_loss");
  EXPECT_EQ(refused([](Section& s) { s.groups[6].units[3] ^= 1; }), "data_loss");  // the last record
  EXPECT_EQ(refused([](Section& s) { s.bytes -= 1; }), "data_loss");
  EXPECT_EQ(refused([](Section& s) { s.bytes = 0; }), "data_loss");
  EXPECT_EQ(refused([](Section& s) { s.layout.dim += 1; }), "data_loss");
  EXPECT_EQ(refused([](Section&) {}, 99), "data_loss");
  EXPECT_EQ(refused([](Section&) {}, 0), "data_loss");
}

}  // namespace
}  // namespace tiervec::graph_index
