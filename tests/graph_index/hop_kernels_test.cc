#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/graph_index/candidate_list.h>
#include <tiervec/graph_index/record_layout.h>

#include "tiervec/core/simd_levels.h"

namespace tiervec::graph_index {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// A candidate list with its memory.
class OwnedList {
 public:
  explicit OwnedList(std::uint32_t capacity)
      : distances_(CandidateList::padded(capacity)), entries_(CandidateList::padded(capacity)) {
    list.distances = distances_.data();
    list.entries = entries_.data();
    list.reset(capacity);
  }
  CandidateList list;

 private:
  std::vector<float> distances_;
  std::vector<std::uint32_t> entries_;
};

/// What a candidate list is, without any speed.
class ReferenceList {
 public:
  struct Entry {
    float distance;
    std::uint32_t id;
    bool expanded;
  };
  explicit ReferenceList(std::uint32_t capacity) : capacity_(capacity) {}

  std::uint32_t insert(const std::vector<float>& distances, const std::vector<std::uint32_t>& ids) {
    std::uint32_t lowest = capacity_;
    for (std::size_t i = 0; i < ids.size(); ++i) lowest = std::min(lowest, insert_one(distances[i], ids[i]));
    return lowest;
  }
  std::vector<Entry> entries;
  float limit = kInfinity;

 private:
  std::uint32_t insert_one(float distance, std::uint32_t id) {
    const float worst = entries.size() == capacity_ ? entries.back().distance : kInfinity;
    if (!(distance < std::min(worst, limit))) return capacity_;
    std::size_t at = 0;
    while (at < entries.size() && entries[at].distance <= distance) {  // behind its equals
      if (entries[at].id == id && entries[at].distance == distance) return capacity_;
      ++at;
    }
    entries.insert(entries.begin() + static_cast<std::ptrdiff_t>(at), {distance, id, false});
    if (entries.size() > capacity_) entries.pop_back();
    return static_cast<std::uint32_t>(at);
  }
  std::uint32_t capacity_;
};

std::string difference(const CandidateList& list, const ReferenceList& reference) {
  if (list.size != reference.entries.size()) return "its size is " + std::to_string(list.size);
  for (std::uint32_t i = 0; i < list.size; ++i) {
    const auto& expected = reference.entries[i];
    if (list.distances[i] != expected.distance || list.id(i) != expected.id || list.expanded(i) != expected.expanded) {
      return "place " + std::to_string(i) + " differs";
    }
  }
  for (std::uint32_t i = list.size; i < list.capacity; ++i) {
    if (list.distances[i] != kInfinity) return "unused place " + std::to_string(i) + " is not +inf";
  }
  return "";
}

class HopKernelsTest : public ::testing::TestWithParam<SimdLevel> {};

TEST_P(HopKernelsTest, InsertIsASortedInsertion) {
  std::mt19937 random(1);
  for (const std::uint32_t capacity : {1U, 2U, 4U, 15U, 16U, 17U, 31U, 32U, 33U, 64U, 100U}) {
    for (int round = 0; round < 60; ++round) {
      OwnedList owned(capacity);
      ReferenceList reference(capacity);
      // Few different distances: many ties. A vertex always has the same distance.
      const std::uint32_t distinct = round % 3 == 0 ? 3 : round % 3 == 1 ? 20 : 100'000;
      const auto distance_of = [&](std::uint32_t id) {
        return static_cast<float>(id * 2654435761U % distinct) - static_cast<float>(distinct) / 2;
      };
      for (int batch = 0; batch < 12; ++batch) {
        std::vector<std::uint32_t> ids(random() % 45);
        for (auto& id : ids) id = static_cast<std::uint32_t>(random() % 300) + (round % 2 == 0 ? 0x7fff'fe00U : 0U);
        std::vector<float> distances;
        for (const auto id : ids) distances.push_back(distance_of(id));
        const auto count = static_cast<std::uint32_t>(ids.size());
        const std::uint32_t changed = hop_kernels(GetParam()).insert(owned.list, distances.data(), ids.data(), count);
        ASSERT_EQ(changed, reference.insert(distances, ids)) << "capacity " << capacity;
        ASSERT_EQ(difference(owned.list, reference), "") << "capacity " << capacity << ", round " << round;
        if (owned.list.size > 0) {
          const auto at = static_cast<std::uint32_t>(random() % owned.list.size);
          owned.list.mark_expanded(at);
          reference.entries[at].expanded = true;
        }
        if (batch == 8 && owned.list.size > 0) {
          owned.list.limit = reference.limit = owned.list.distances[owned.list.size / 2];
        }
      }
    }
  }
}

TEST_P(HopKernelsTest, InsertLeavesOutNanAndInfinity) {
  OwnedList owned(16);
  const float distances[] = {std::nanf(""), kInfinity, 1.0F, -kInfinity};
  const std::uint32_t ids[] = {1, 2, 3, 4};
  EXPECT_EQ(hop_kernels(GetParam()).insert(owned.list, distances, ids, 4), 0U);
  ASSERT_EQ(owned.list.size, 2U);
  EXPECT_EQ(owned.list.id(0), 4U);
  EXPECT_EQ(owned.list.id(1), 3U);
}

TEST_P(HopKernelsTest, AFullListThatIsResetIsEmpty) {
  OwnedList owned(33);
  std::vector<float> distances(50);
  std::vector<std::uint32_t> ids(50);
  for (std::uint32_t i = 0; i < 50; ++i) distances[i] = static_cast<float>(ids[i] = 50 - i);
  const auto insert = [&] { return hop_kernels(GetParam()).insert(owned.list, distances.data(), ids.data(), 50); };
  insert();
  owned.list.limit = 3;
  owned.list.reset(20);
  EXPECT_EQ(owned.list.size, 0U);
  insert();
  EXPECT_EQ(owned.list.size, 20U);
  EXPECT_EQ(owned.list.distances[19], 20.0F);
}

TEST_P(HopKernelsTest, UnpackReadsEveryWidth) {
  std::mt19937 random(2);
  for (std::uint32_t width = 1; width <= 31; ++width) {
    for (const std::uint32_t count : {0U, 1U, 2U, 15U, 16U, 17U, 32U, 70U, 255U}) {
      const std::size_t packed = (std::size_t{count} * width + 7) / 8;
      // Exactly as much memory as a record promises, so that a sanitizer sees a load beyond it.
      std::vector<std::byte> bits(packed + RecordLayout::kOverread);
      for (auto& byte : bits) byte = static_cast<std::byte>(random());
      std::vector<std::uint32_t> out((count + 15) / 16 * 16, 0xdeadbeef);
      hop_kernels(GetParam()).unpack(bits.data(), count, width, out.data());
      for (std::uint32_t i = 0; i < count; ++i) {
        std::uint32_t expected = 0;
        for (std::uint32_t bit = 0; bit < width; ++bit) {
          const std::size_t at = std::size_t{i} * width + bit;
          expected |= ((static_cast<std::uint32_t>(bits[at / 8]) >> (at % 8)) & 1U) << bit;
        }
        ASSERT_EQ(out[i], expected) << "width " << width << ", id " << i << " of " << count;
      }
    }
  }
}

TIERVEC_ON_EVERY_SIMD_LEVEL(HopKernelsTest);

}  // namespace
}  // namespace tiervec::graph_index
