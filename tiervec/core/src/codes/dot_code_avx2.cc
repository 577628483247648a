#include <immintrin.h>

#include <cstring>

#include <tiervec/core/codes/dot_code.h>
#include <tiervec/core/half.h>

namespace tiervec::codes {
namespace {

// Sixteen fields as int16 times sixteen query values: bytes are widened because eight-bit fields would saturate the
// byte multiply-add.
__m256i multiply_half(__m256i sum, __m128i fields, __m128i query) noexcept {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_cvtepu8_epi16(fields), _mm256_cvtepi8_epi16(query)));
}

template <int kPlane>
__m256i multiply_plane(__m256i sum, __m256i row, const std::uint8_t* mask, const std::int8_t* query) noexcept {
  const __m256i fields = _mm256_and_si256(kPlane == 0 ? row : _mm256_srli_epi16(row, 2 * kPlane),
                                          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(mask)));
  const __m256i q = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query));
  sum = multiply_half(sum, _mm256_castsi256_si128(fields), _mm256_castsi256_si128(q));
  return multiply_half(sum, _mm256_extracti128_si256(fields, 1), _mm256_extracti128_si256(q, 1));
}

std::int32_t sum_lanes(__m256i v) noexcept {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_hadd_epi32(s, s);
  return _mm_cvtsi128_si32(_mm_hadd_epi32(s, s));
}

// Never reads past the row: it may be the last one of the memory.
__m256i load_part(const std::uint8_t* at, std::size_t bytes) noexcept {
  if (bytes >= 32) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  }
  alignas(32) std::uint8_t padded[32] = {};
  std::memcpy(padded, at, bytes);
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(padded));
}

}  // namespace

void dot_distances_avx2(const DotRowShape& shape, const DotQuery& query, const std::int8_t* planes,
                        const std::uint8_t* rows, const std::uint32_t* ids, std::uint32_t count, float* out) noexcept {
  const std::size_t code_bytes = shape.row_bytes - kFactorBytes;
  const std::size_t planes_bytes = std::size_t{shape.chunks} * shape.chunk_bytes;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint8_t* row = rows + std::size_t{ids == nullptr ? i : ids[i]} * shape.row_bytes;
    __m256i sum = _mm256_setzero_si256();
    for (std::size_t from = 0; from < planes_bytes && from < code_bytes; from += 32) {
      const std::size_t chunk = from / shape.chunk_bytes;
      const std::size_t at = chunk * kPlanes * shape.chunk_bytes + from % shape.chunk_bytes;
      const __m256i part = load_part(row + from, shape.row_bytes - from);
      const std::size_t plane = shape.chunk_bytes;
      sum = multiply_plane<0>(sum, part, shape.masks + at, planes + at);
      sum = multiply_plane<1>(sum, part, shape.masks + at + plane, planes + at + plane);
      sum = multiply_plane<2>(sum, part, shape.masks + at + 2 * plane, planes + at + 2 * plane);
      sum = multiply_plane<3>(sum, part, shape.masks + at + 3 * plane, planes + at + 3 * plane);
    }
    std::uint16_t factors[2];
    std::memcpy(factors, row + code_bytes, sizeof factors);
    const float inner = (static_cast<float>(sum_lanes(sum)) + query.dot_shift) * query.dot_scale;
    out[i] = query.offset + half_to_float(factors[0]) * query.addend_scale - half_to_float(factors[1]) * inner;
  }
}

namespace {

constexpr std::uint32_t kAheadBlocks = 8;  // a block is brought into the caches so many before its turn

struct BlockDots {
  __m256i low = _mm256_setzero_si256();   // rows 0..7
  __m256i high = _mm256_setzero_si256();  // rows 8..15
};

// Even and odd bytes apart, as int16: eight-bit fields would saturate the byte multiply-add.
__m256i multiply_column(__m256i sum, __m256i fields, __m256i even, __m256i odd) noexcept {
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_and_si256(fields, _mm256_set1_epi16(0xff)), even));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_srli_epi16(fields, 8), odd));
}

void add_field(const DotBlockShape::Field& field, const std::int8_t* planes, const std::uint8_t* block,
               BlockDots& dots) noexcept {
  int query;
  std::memcpy(&query, planes + field.query_at, sizeof query);
  const __m256i bytes = _mm256_set1_epi32(query);
  const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8);
  const __m256i odd = _mm256_srai_epi16(bytes, 8);
  const __m256i mask = _mm256_set1_epi32(static_cast<int>(field.mask));
  const auto load = [&](std::size_t at) {
    const __m256i column = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block + field.at + at));
    return _mm256_and_si256(column, mask);
  };
  dots.low = multiply_column(dots.low, load(0), even, odd);
  dots.high = multiply_column(dots.high, load(32), even, odd);
}

BlockDots multiply_block(const DotBlockShape& shape, const std::int8_t* planes, const std::uint8_t* block) noexcept {
  BlockDots dots;
  for (std::uint32_t plane = kPlanes; plane-- > 0;) {
    for (std::uint32_t field = shape.plane_begin[plane]; field < shape.plane_begin[plane + 1]; ++field) {
      add_field(shape.fields[field], planes, block, dots);
    }
    if (plane == 0) break;
    dots.low = _mm256_srai_epi32(dots.low, 2);
    dots.high = _mm256_srai_epi32(dots.high, 2);
  }
  return dots;
}

// The lower halves of eight words, from half to single precision.
__m256 halves_to_floats(__m256i words) noexcept {
  const __m256i low = _mm256_and_si256(words, _mm256_set1_epi32(0xffff));
  const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
  return _mm256_cvtph_ps(packed);
}

}  // namespace

void dot_scan_avx2(const DotBlockShape& shape, const DotQuery& query, const std::int8_t* planes, const ScanList& list,
                   ScanHits& hits) noexcept {
  for (std::uint32_t i = 0; i < list.count; ++i) {
    const ScanBlock& chosen = list.chosen[i];
    if (i + kAheadBlocks < list.count + list.ahead) {
      const std::uint8_t* next = list.blocks + std::size_t{list.chosen[i + kAheadBlocks].block} * shape.block_bytes;
      for (std::uint32_t at = 0; at < shape.block_bytes; at += 64) __builtin_prefetch(next + at);
    }
    const std::uint8_t* block = list.blocks + std::size_t{chosen.block} * shape.block_bytes;
    const BlockDots dots = multiply_block(shape, planes, block);
    const std::uint8_t* factors = block + std::size_t{shape.columns} * DotBlockShape::kColumnBytes;
    alignas(32) float distances[kBlockRows];
    std::uint32_t nearer = 0;
    for (std::uint32_t half = 0; half < 2; ++half) {
      const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(factors + std::size_t{half} * 32));
      const __m256 dot =
          _mm256_add_ps(_mm256_cvtepi32_ps(half == 0 ? dots.low : dots.high), _mm256_set1_ps(query.dot_shift));
      const __m256 inner = _mm256_mul_ps(dot, _mm256_set1_ps(query.dot_scale));
      const __m256 base = _mm256_fmadd_ps(halves_to_floats(words), _mm256_set1_ps(query.addend_scale),
                                          _mm256_set1_ps(chosen.origin_distance));
      const __m256 found = _mm256_fnmadd_ps(halves_to_floats(_mm256_srli_epi32(words, 16)), inner, base);
      _mm256_store_ps(distances + std::size_t{half} * 8, found);
      const __m256 below = _mm256_cmp_ps(found, _mm256_set1_ps(hits.bound), _CMP_LT_OQ);
      nearer |= static_cast<std::uint32_t>(_mm256_movemask_ps(below)) << (8 * half);
    }
    for (nearer &= chosen.rows; nearer != 0; nearer &= nearer - 1) {
      const auto row = static_cast<std::uint32_t>(__builtin_ctz(nearer));
      hits.distances[hits.count] = distances[row];
      hits.rows[hits.count++] = chosen.block * kBlockRows + row;
    }
  }
}

}  // namespace tiervec::codes
