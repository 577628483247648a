#include <cstring>

#include <tiervec/core/codes/dot_code.h>
#include <tiervec/core/half.h>

namespace tiervec::codes {

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
    std::uint16_t factors[2];
    std::memcpy(factors, row + code_bytes, sizeof factors);
    const float inner = (static_cast<float>(dot) + query.dot_shift) * query.dot_scale;
    out[i] = query.offset + half_to_float(factors[0]) * query.addend_scale - half_to_float(factors[1]) * inner;
  }
}

void dot_scan_portable(const DotBlockShape& shape, const DotQuery& query, const std::int8_t* planes,
                       const ScanRange& range, ScanHits& hits) noexcept {
  for (std::uint32_t row = range.first; row < range.end; ++row) {
    const std::uint8_t* lane =
        range.blocks + std::size_t{row / kBlockRows} * shape.block_bytes + std::size_t{row % kBlockRows} * 4;
    std::int32_t dot = 0;
    for (std::uint32_t i = 0; i < shape.field_count; ++i) {
      const DotBlockShape::Field& field = shape.fields[i];
      for (std::uint32_t byte = 0; byte < 4; ++byte) {
        const auto mask = static_cast<std::uint8_t>(field.mask >> (8 * byte));
        dot += ((lane[field.at + byte] >> field.shift) & mask) * planes[field.query_at + byte];
      }
    }
    std::uint16_t factors[2];
    std::memcpy(factors, lane + std::size_t{shape.columns} * DotBlockShape::kColumnBytes, sizeof factors);
    const float inner = (static_cast<float>(dot) + query.dot_shift) * query.dot_scale;
    const float distance =
        range.origin_distance + half_to_float(factors[0]) * query.addend_scale - half_to_float(factors[1]) * inner;
    if (distance < hits.bound) {
      hits.distances[hits.count] = distance;
      hits.rows[hits.count++] = row;
    }
  }
}

}  // namespace tiervec::codes
