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
void dot_distances_portable(const DotRowShape& shape, const DotQuery& query, const std::int8_t* planes,
                            const std::uint8_t* rows, const std::uint32_t* ids, std::uint32_t count,
                            float* out) noexcept {
  const std::size_t code_bytes = shape.row_bytes - kFactorBytes;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint8_t* row = rows + std::size_t{ids == nullptr ? i : ids[i]} * shape.row_bytes;
    std::int32_t dot = 0;
    for (std::uint32_t chunk = 0; chunk < shape.chunks; ++chunk) {
      const std::size_t from = std::size_t{chunk} * shape.chunk_bytes;
      const std::size_t bytes = from + shape.chunk_bytes <= code_bytes ? shape.chunk_bytes : code_bytes - from;
      for (std::uint32_t plane = 0; plane < kPlanes; ++plane) {
        const std::size_t at = (std::size_t{chunk} * kPlanes + plane) * shape.chunk_bytes;
        for (std::size_t byte = 0; byte < bytes; ++byte) {
          dot += ((row[from + byte] >> (2 * plane)) & shape.masks[at + byte]) * planes[at + byte];
        }
      }
    }
    const std::uint8_t* end = row + shape.row_bytes;
    const float inner = (static_cast<float>(dot) + query.dot_shift) * query.dot_scale;
    out[i] = query.offset + load_upper_bytes(end - kAddendFromEnd) - load_upper_bytes(end - kFactorFromEnd) * inner;
  }
}

void dot_scan_portable(const DotBlockShape& shape, const DotQuery& query, const std::int8_t* planes,
                       const ScanList& list, ScanHits& hits) noexcept {
  for (std::uint32_t i = 0; i < list.count; ++i) {
    const ScanBlock& chosen = list.chosen[i];
    const std::uint8_t* block = list.blocks + std::size_t{chosen.block} * shape.block_bytes;
    for (std::uint32_t row = 0; row < kBlockRows; ++row) {
      if ((chosen.rows >> row & 1) == 0) continue;
      const std::uint8_t* lane = block + std::size_t{row} * 4;
      std::int32_t dot = 0;
      for (std::uint32_t plane = shape.planes; plane-- > 0;) {
        for (std::uint32_t at = shape.plane_begin[plane]; at < shape.plane_begin[plane + 1]; ++at) {
          const DotBlockShape::Field& field = shape.fields[at];
          for (std::uint32_t byte = 0; byte < 4; ++byte) {
            const auto mask = static_cast<std::uint8_t>(field.mask >> (8 * byte));
            dot += (lane[field.at + byte] & mask) * planes[field.query_at + byte];
          }
        }
        if (plane > 0) dot /= 1 << shape.plane_shift;
      }
      std::uint8_t end[8];
      const std::uint8_t* last = lane + std::size_t{shape.columns - 1} * DotBlockShape::kColumnBytes;
      std::memcpy(end, last - DotBlockShape::kColumnBytes, 4);
      std::memcpy(end + 4, last, 4);
      const float inner = (static_cast<float>(dot) + query.dot_shift) * query.dot_scale;
      const float distance = chosen.origin_distance + load_upper_bytes(end + 8 - kAddendFromEnd) -
                             load_upper_bytes(end + 8 - kFactorFromEnd) * inner;
      if (distance < hits.bound) {
        hits.distances[hits.count] = distance;
        hits.rows[hits.count++] = chosen.block * kBlockRows + row;
      }
    }
  }
}

}  // namespace tiervec::codes
