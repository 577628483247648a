#include "../../cluster_index/src/piece_sorter.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace tiervec::cluster_index {
namespace {

TEST(PieceSorter, GivesWhatComparingGives) {
  std::mt19937_64 random(1);
  for (const unsigned bits : {1U, 7U, 8U, 9U, 16U, 20U, 22U, 23U, 31U, 32U}) {
    for (const std::size_t count : {0U, 1U, 2U, 31U, 32U, 33U, 257U, 5000U}) {
      std::vector<Piece> pieces(count);
      std::uint32_t added = 0;
      for (Piece& piece : pieces)
        piece = {.first = static_cast<std::uint32_t>(random() >> (64 - bits)), .end = added++};
      std::vector<Piece> room(count);
      std::vector<Piece> spare(count);
      PieceSorter sorter(room.data(), spare.data(), bits);
      for (const Piece& piece : pieces) sorter.add(piece);
      const auto sorted = sorter.sorted();
      std::stable_sort(pieces.begin(), pieces.end(),
                       [](const Piece& one, const Piece& other) { return one.first < other.first; });
      EXPECT_TRUE(std::equal(
          sorted.begin(), sorted.end(), pieces.begin(), pieces.end(),
          [](const Piece& one, const Piece& other) { return one.first == other.first && one.end == other.end; }))
          << bits << " bits, " << count << " pieces";
    }
  }
}

}  // namespace
}  // namespace tiervec::cluster_index
