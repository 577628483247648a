#include <tiervec/core/codes/code.h>

#include <algorithm>
#include <cstring>

namespace tiervec::codes {

void Code::encode_residuals(const float* vectors, const float* /*origin*/, float /*origin_offset*/, std::size_t count,
                            std::uint8_t* rows) const {
  encode(vectors, count, rows);
}

void Code::arrange_block(const std::uint8_t* rows, std::uint8_t* block) const noexcept {
  std::memcpy(block, rows, block_bytes());
}

void Code::scan(const std::byte* state, const ScanRange& range, ScanHits& hits) const noexcept {
  float distances[kBlockRows];
  for (std::uint32_t first = range.first; first < range.end; first += kBlockRows) {
    const std::uint32_t count = std::min(kBlockRows, range.end - first);
    block_distances(state, range.blocks + std::size_t{first} * row_bytes(), count, distances);
    for (std::uint32_t i = 0; i < count; ++i) {
      hits.distances[hits.count] = distances[i];
      hits.rows[hits.count] = first + i;
      hits.count += distances[i] < hits.bound ? 1U : 0U;
    }
  }
}

}  // namespace tiervec::codes
