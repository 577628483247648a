#include <bit>
#include <cstring>

#include <tiervec/core/codes/dot_code.h>

namespace tiervec::codes {
namespace {

float load_upper_bytes(const std::uint8_t* at) noexcept {
  std::uint32_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return std::bit_cast<float>(bits & kFactorMask);
}

}  // namespace

// The scalar reference of the other kernels.
void bit_distances_portable(const DotRowShape& shape, const DotQuery& query, const std::int8_t* planes,
                            const std::uint8_t* rows, const std::uint32_t* ids, std::uint32_t count,
                            float* out) noexcept {
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint8_t* row = rows + std::size_t{ids == nullptr ? i : ids[i]} * shape.row_bytes;
    std::int32_t dot = 0;
    for (std::size_t byte = 0; byte < std::size_t{shape.chunks} * shape.chunk_bytes; ++byte) {
      for (std::size_t bit = 0; bit < 8; ++bit) dot += (row[byte] >> bit & 1) * planes[byte * 8 + bit];
    }
    const std::uint8_t* end = row + shape.row_bytes;
    const float inner = (static_cast<float>(dot) + query.dot_shift) * query.dot_scale;
    out[i] = query.offset + load_upper_bytes(end - kAddendFromEnd) - load_upper_bytes(end - kFactorFromEnd) * inner;
  }
}

}  // namespace tiervec::codes
