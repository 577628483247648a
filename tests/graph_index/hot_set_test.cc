#include <tiervec/graph_index/hot_set.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "graph_index/small_index.h"

namespace tiervec::graph_index {
namespace {

using testing::SmallIndex;

const SmallIndex& shared_index() {
  static const SmallIndex index;
  return index;
}

RecordLocator make_locator() {
  const SmallIndex& index = shared_index();
  return {index.written.layout, index.written.locator, index.options.count, index.records.size()};
}

TEST(HotSet, EachRecordHasAPlaceOfItsOwn) {
  const RecordLocator locator = make_locator();
  for (const std::uint32_t count : {1U, 2U, 3U, 64U, 600U}) {
    std::vector<std::uint32_t> vertices(count);
    for (std::uint32_t i = 0; i < count; ++i) vertices[i] = i * 599 % 600;
    HotSet hot(locator, vertices);
    std::set<const std::byte*> places;
    const std::byte* lowest = hot.find(vertices[0]);
    std::uint64_t bytes = 0;
    for (const std::uint32_t vertex : vertices) {
      std::byte* place = hot.find(vertex);
      ASSERT_NE(place, nullptr);
      EXPECT_TRUE(places.insert(place).second);
      EXPECT_EQ(place, lowest + bytes);
      bytes += locator.locate(vertex).length;
    }
    EXPECT_GE(hot.bytes(), bytes);
    for (std::uint32_t other = 0; other < 600; ++other) {
      const bool is_hot = std::find(vertices.begin(), vertices.end(), other) != vertices.end();
      EXPECT_EQ(hot.find(other) != nullptr, is_hot);
    }
  }
}

TEST(HotSet, TheCostCoversWhatIsTaken) {
  const RecordLocator locator = make_locator();
  std::vector<std::uint32_t> vertices;
  std::uint64_t cost = 0;
  for (std::uint32_t vertex = 0; vertex < 300; ++vertex) {
    vertices.push_back(vertex);
    cost += HotSet::cost_bytes(locator.locate(vertex).length);
    EXPECT_LE(HotSet(locator, vertices).bytes(), cost) << vertices.size();
  }
}

TEST(HotSet, OfNothingIsEmpty) {
  EXPECT_TRUE(HotSet().empty());
  EXPECT_TRUE(HotSet(make_locator(), {}).empty());
  EXPECT_EQ(HotSet().bytes(), 0U);
}

}  // namespace
}  // namespace tiervec::graph_index
