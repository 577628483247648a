// What a search does with bytes that are not what was written: an error, never a wrong answer, never a read outside.

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/graph_index/graph_searcher.h>
#include <tiervec/rdma/dram_tier.h>

#include "graph_index/faulty_tier.h"
#include "graph_index/small_index.h"

namespace tiervec::graph_index {
namespace {

using testing::FaultyTier;
using testing::Found;
using testing::search;
using testing::SmallIndex;
using testing::SmallIndexOptions;

const SmallIndex& shared_index() {
  static const SmallIndex index([] {
    SmallIndexOptions options;
    options.count = 300;
    options.dim = 7;
    options.graph_degree = 8;
    return options;
  }());
  return index;
}

SearchRequest thorough() {
  SearchRequest request;
  request.parameters.k = 5;
  request.parameters.search_list = 300;  // reads every record that can be reached
  return request;
}

/// "" when the search answers as it should on whole records, else the error's name, else "a wrong answer".
std::string outcome(const std::shared_ptr<FaultyTier>& tier, const GraphFastPart& part,
                    const std::vector<std::int64_t>& right) {
  const SmallIndex& index = shared_index();
  try {
    GraphSearcher searcher(tier, part);
    const Found found = search(searcher, {index.vector(0), index.vector(1)}, thorough());
    return found.ids == right ? "" : "a wrong answer";
  } catch (const Error& error) {
    return error_code_name(error.code());
  }
}

std::vector<std::int64_t> right_answer() {
  const SmallIndex& index = shared_index();
  GraphSearcher searcher(rdma::DramTier::from_bytes(index.records), index.part());
  return search(searcher, {index.vector(0), index.vector(1)}, thorough()).ids;
}

TEST(GraphDamage, AFlippedByteOfARecordIsNoticedWhereRecordsAreNotVerified) {
  const SmallIndex& index = shared_index();
  const auto right = right_answer();
  std::mt19937 random(1);
  std::size_t noticed = 0;
  for (std::size_t at = 0; at + RecordLayout::kOverread < index.records.size(); at += 5) {
    auto harmed = index.records;
    harmed[at] ^= static_cast<std::byte>(1 + random() % 255);
    const auto tier = std::make_shared<FaultyTier>(std::move(harmed));
    tier->verified = false;
    const std::string what = outcome(tier, index.part(), right);
    ASSERT_TRUE(what == "data_loss" || what.empty()) << "byte " << at << ": " << what;
    noticed += what.empty() ? 0U : 1U;
    EXPECT_EQ(tier->views, 0);
  }
  // Almost every record is read by this search.
  EXPECT_GE(noticed, index.records.size() / 5 * 9 / 10);
}

TEST(GraphDamage, AnotherRecordsBytesAreNoticed) {
  const SmallIndex& index = shared_index();
  auto swapped = index.records;
  const RecordLocator locator(index.written.layout, index.written.locator, index.options.count, index.records.size());
  std::uint32_t exchanged = 0;
  for (std::uint32_t v = 0; v + 1 < index.options.count; v += 2) {
    const rdma::Read a = locator.locate(v);
    const rdma::Read b = locator.locate(v + 1);
    if (a.length != b.length) continue;
    std::swap_ranges(swapped.begin() + static_cast<std::ptrdiff_t>(a.offset),
                     swapped.begin() + static_cast<std::ptrdiff_t>(a.offset + a.length),
                     swapped.begin() + static_cast<std::ptrdiff_t>(b.offset));
    ++exchanged;
  }
  ASSERT_GT(exchanged, 10U);
  const auto tier = std::make_shared<FaultyTier>(std::move(swapped));
  tier->verified = false;
  EXPECT_EQ(outcome(tier, index.part(), right_answer()), "data_loss");
}

TEST(GraphDamage, ARegionOfZerosIsNoticed) {
  const SmallIndex& index = shared_index();
  const auto tier = std::make_shared<FaultyTier>(std::vector<std::byte>(index.records.size()));
  tier->verified = false;
  EXPECT_EQ(outcome(tier, index.part(), {}), "data_loss");
}

TEST(GraphDamage, PartsThatDoNotFitTogetherAreRefused) {
  const SmallIndex& index = shared_index();
  const auto refused = [&](const std::function<void(GraphFastPart&)>& change) {
    GraphFastPart part = index.part();
    change(part);
    try {
      const GraphSearcher searcher(rdma::DramTier::from_bytes(index.records), std::move(part));
      return std::string();
    } catch (const Error& error) {
      return std::string(error_code_name(error.code()));
    }
  };
  EXPECT_EQ(refused([](auto&) {}), "");
  EXPECT_EQ(refused([](auto& part) { part.locator.pop_back(); }), "data_loss");
  EXPECT_EQ(refused([](auto& part) { part.locator[3].start += 1; }), "data_loss");
  EXPECT_EQ(refused([](auto& part) { part.locator[3].units[5] ^= 1; }), "data_loss");
  EXPECT_EQ(refused([](auto& part) { part.count += 1; }), "data_loss");
  EXPECT_EQ(refused([](auto& part) { part.navigation.ids[0] = part.count; }), "data_loss");
  EXPECT_EQ(refused([](auto& part) { part.navigation.adjacency[1] = 1U << 30U; }), "data_loss");
  EXPECT_EQ(refused([](auto& part) { part.navigation.adjacency.pop_back(); }), "data_loss");
  EXPECT_EQ(refused([](auto& part) { part.navigation = {}; }), "data_loss");
  EXPECT_EQ(refused([](auto& part) { part.layout.dim += 1; }), "data_loss");
  EXPECT_EQ(refused([](auto& part) { part.layout.label_bytes = 1; }), "data_loss");
  EXPECT_EQ(refused([](auto& part) { part.layout.label_bytes = 9; }), "data_loss");
  EXPECT_EQ(refused([](auto& part) { part.layout.id_bits += 1; }), "data_loss");
  EXPECT_EQ(refused([](auto& part) { part.layout.id_bits = 0; }), "data_loss");
  EXPECT_EQ(refused([](auto& part) { part.layout.unit = 0; }), "data_loss");
  EXPECT_EQ(refused([](auto& part) { part.layout.unit = 1U << 31U; }), "data_loss");
}

// Records that somebody forged, with right checks and a right checksum of the section.
class ForgedRecords {
 public:
  ForgedRecords() : index_(shared_index()), bytes(index_.records) {}

  /// Writes other neighbour ids over the record of `vertex`; the degree stays.
  void set_neighbors(std::uint32_t vertex, std::uint32_t id) {
    const RecordLocator locator(index_.written.layout, index_.written.locator, index_.options.count, bytes.size());
    const rdma::Read read = locator.locate(vertex);
    std::byte* record = bytes.data() + read.offset;
    const std::vector<std::uint32_t> ids(index_.written.layout.degree(record), id);
    const std::vector<std::byte> vector(record, record + index_.written.layout.vector_bytes());
    index_.written.layout.encode(vertex, vector.data(), vertex, ids, record);
  }
  void set_degree(std::uint32_t vertex, std::uint8_t degree) {
    const RecordLocator locator(index_.written.layout, index_.written.locator, index_.options.count, bytes.size());
    bytes[locator.locate(vertex).offset + index_.written.layout.degree_at()] = static_cast<std::byte>(degree);
  }

 private:
  const SmallIndex& index_;

 public:
  std::vector<std::byte> bytes;
};

TEST(GraphDamage, ANeighbourThatDoesNotExistIsNoticed) {
  const SmallIndex& index = shared_index();
  ASSERT_EQ(index.written.layout.id_bits, 9U);
  for (const bool verified : {true, false}) {
    for (const std::uint32_t id : {300U, 511U}) {
      ForgedRecords forged;
      for (std::uint32_t v = 0; v < index.options.count; ++v) forged.set_neighbors(v, id);
      const auto tier = std::make_shared<FaultyTier>(forged.bytes);
      tier->verified = verified;
      EXPECT_EQ(outcome(tier, index.part(), {}), "data_loss") << id << (verified ? ", verified" : "");
      EXPECT_EQ(tier->views, 0);
    }
  }
}

TEST(GraphDamage, ADegreeThatDoesNotFitItsRecordIsNoticed) {
  const SmallIndex& index = shared_index();
  ForgedRecords forged;
  for (std::uint32_t v = 0; v < index.options.count; ++v) forged.set_degree(v, 255);
  const auto tier = std::make_shared<FaultyTier>(forged.bytes);
  EXPECT_EQ(outcome(tier, index.part(), {}), "data_loss");
  EXPECT_EQ(tier->views, 0);
}

TEST(GraphDamage, AnyBytesInPlaceOfTheRecordsAreSafe) {
  const SmallIndex& index = shared_index();
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    std::vector<std::byte> noise(index.records.size());
    for (auto& byte : noise) byte = static_cast<std::byte>(random());
    const auto tier = std::make_shared<FaultyTier>(std::move(noise));
    EXPECT_EQ(outcome(tier, index.part(), {}), "data_loss");
  }
}

}  // namespace
}  // namespace tiervec::graph_index
