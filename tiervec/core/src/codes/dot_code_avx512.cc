#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include <tiervec/core/codes/dot_code.h>

#include "dot_finish_avx512.h"

namespace tiervec::codes {
namespace {

__m512i multiply_planes(__m512i sum, __m512i row, const std::uint8_t* masks, const std::int8_t* planes) noexcept {
  const auto step = [&](__m512i total, __m512i shifted, std::size_t plane) {
    const __m512i fields = _mm512_and_si512(shifted, _mm512_loadu_si512(masks + plane * 64));
    return _mm512_dpbusd_epi32(total, fields, _mm512_loadu_si512(planes + plane * 64));
  };
  // Two chains of dependent multiply-adds.
  __m512i other = step(_mm512_setzero_si512(), _mm512_srli_epi16(row, 2), 1);
  sum = step(sum, row, 0);
  other = step(other, _mm512_srli_epi16(row, 6), 3);
  sum = step(sum, _mm512_srli_epi16(row, 4), 2);
  return _mm512_add_epi32(sum, other);
}

// A load never touches a cache line that the row does not own: it would not have been prefetched.
__m512i load_chunk(const std::uint8_t* at, std::size_t bytes) noexcept {
  if (bytes >= 64) {
    return _mm512_loadu_si512(at);
  }
  if (bytes <= 32) {
    const __mmask32 mask = bytes == 32 ? ~__mmask32{0} : (__mmask32{1} << bytes) - 1;
    return _mm512_zextsi256_si512(_mm256_maskz_loadu_epi8(mask, at));
  }
  const __mmask32 mask = (__mmask32{1} << (bytes - 32)) - 1;
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), _mm256_maskz_loadu_epi8(mask, at + 32), 1);
}

// Rows of one whole chunk: masks and queries stay in registers over all rows.
struct OneChunkPlanes {
  __m512i masks[kPlanes];
  __m512i queries[kPlanes];

  void fill(const DotRowShape& shape, const std::int8_t* planes) noexcept {
    for (std::size_t plane = 0; plane < kPlanes; ++plane) {
      masks[plane] = _mm512_loadu_si512(shape.masks + plane * 64);
      queries[plane] = _mm512_loadu_si512(planes + plane * 64);
    }
  }
  [[gnu::always_inline]] __m256i operator()(const std::uint8_t* at) const noexcept {
    const __m512i row = _mm512_loadu_si512(at);
    const __m512i zero = _mm512_setzero_si512();
    __m512i even = _mm512_dpbusd_epi32(zero, _mm512_and_si512(row, masks[0]), queries[0]);
    __m512i odd = _mm512_dpbusd_epi32(zero, _mm512_and_si512(_mm512_srli_epi16(row, 2), masks[1]), queries[1]);
    even = _mm512_dpbusd_epi32(even, _mm512_and_si512(_mm512_srli_epi16(row, 4), masks[2]), queries[2]);
    odd = _mm512_dpbusd_epi32(odd, _mm512_and_si512(_mm512_srli_epi16(row, 6), masks[3]), queries[3]);
    return add_halves(_mm512_add_epi32(even, odd));
  }
};

__m256i long_row(const DotRowShape& shape, const std::uint8_t* row, const std::int8_t* planes) noexcept {
  __m512i sum = _mm512_setzero_si512();
  for (std::uint32_t chunk = 0; chunk < shape.chunks; ++chunk) {
    const std::size_t from = std::size_t{chunk} * 64;
    const std::size_t at = std::size_t{chunk} * kPlanes * 64;
    sum = multiply_planes(sum, load_chunk(row + from, shape.row_bytes - from), shape.masks + at, planes + at);
  }
  return add_halves(sum);
}

// Rows of at most 32 bytes go in pairs through one register. The pair's masks and queries repeat in both halves.
struct ShortRowPlanes {
  alignas(64) std::uint8_t masks[kPlanes * 64];
  alignas(64) std::int8_t queries[kPlanes * 64];

  void fill(const DotRowShape& shape, const std::int8_t* planes) noexcept {
    for (std::size_t plane = 0; plane < kPlanes; ++plane) {
      const __m256i mask = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(shape.masks + plane * 32));
      const __m256i query = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(planes + plane * 32));
      _mm512_store_si512(masks + plane * 64, _mm512_broadcast_i64x4(mask));
      _mm512_store_si512(queries + plane * 64, _mm512_broadcast_i64x4(query));
    }
  }
};

__m512i short_row_pair(const ShortRowPlanes& planes, const std::uint8_t* first, const std::uint8_t* second,
                       __mmask32 mask) noexcept {
  const __m512i rows = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_maskz_loadu_epi8(mask, first)),
                                          _mm256_maskz_loadu_epi8(mask, second), 1);
  return multiply_planes(_mm512_setzero_si512(), rows, planes.masks, planes.queries);
}

__m256i low(__m512i v) noexcept {
  return _mm512_castsi512_si256(v);
}
__m256i high(__m512i v) noexcept {
  return _mm512_extracti64x4_epi64(v, 1);
}

enum class RowKind { kShort, kOneChunk, kLong };

template <RowKind kKind>
void gather_distances(const DotRowShape& shape, const DotQuery& query, const std::int8_t* planes,
                      const std::uint8_t* rows, const std::uint32_t* ids, std::uint32_t count, float* out) noexcept {
  const __mmask32 short_mask = shape.row_bytes >= 32 ? ~__mmask32{0} : (__mmask32{1} << shape.row_bytes) - 1;
  [[maybe_unused]] ShortRowPlanes short_planes;
  if constexpr (kKind == RowKind::kShort) short_planes.fill(shape, planes);
  [[maybe_unused]] OneChunkPlanes one_chunk;
  if constexpr (kKind == RowKind::kOneChunk) one_chunk.fill(shape, planes);
  for (std::uint32_t i = 0; i < count; i += 16) {
    __m128i dots[4];
    __m128i addends[4];
    __m128i factors[4];
    for (std::uint32_t group = 0; group < 4; ++group) {
      if (i + group * 4 >= count) {
        dots[group] = addends[group] = factors[group] = _mm_setzero_si128();
        continue;
      }
      const std::uint8_t* r[4];
      for (std::uint32_t j = 0; j < 4; ++j) {
        const std::uint32_t at = std::min(i + group * 4 + j, count - 1);
        r[j] = rows + std::size_t{ids == nullptr ? at : ids[at]} * shape.row_bytes;
      }
      if constexpr (kKind == RowKind::kOneChunk) {
        dots[group] = sum_lanes(one_chunk(r[0]), one_chunk(r[1]), one_chunk(r[2]), one_chunk(r[3]));
      } else if constexpr (kKind == RowKind::kShort) {
        const __m512i a = short_row_pair(short_planes, r[0], r[1], short_mask);
        const __m512i b = short_row_pair(short_planes, r[2], r[3], short_mask);
        dots[group] = sum_lanes(low(a), high(a), low(b), high(b));
      } else {
        dots[group] = sum_lanes(long_row(shape, r[0], planes), long_row(shape, r[1], planes),
                                long_row(shape, r[2], planes), long_row(shape, r[3], planes));
      }
      const Ends ends = load_ends(r, shape.row_bytes);
      addends[group] = ends.addends;
      factors[group] = ends.factors;
    }
    finish(query, dots, addends, factors, out + i);
  }
}

}  // namespace

void dot_distances_avx512(const DotRowShape& shape, const DotQuery& query, const std::int8_t* planes,
                          const std::uint8_t* rows, const std::uint32_t* ids, std::uint32_t count,
                          float* out) noexcept {
  if (shape.chunk_bytes == 32) {
    gather_distances<RowKind::kShort>(shape, query, planes, rows, ids, count, out);
  } else if (shape.row_bytes == 64) {
    gather_distances<RowKind::kOneChunk>(shape, query, planes, rows, ids, count, out);
  } else {
    gather_distances<RowKind::kLong>(shape, query, planes, rows, ids, count, out);
  }
}

namespace {

// What a scan keeps in registers.
struct ScanConstants {
  __m512 scale;
  __m512 shift;
  __m512 bound;
  __m512i lanes;
};

// `last`: the last column of the block.
void collect(const ScanConstants& c, const ScanBlock& chosen, __m512i dots, const std::uint8_t* last,
             ScanHits& hits) noexcept {
  const __m512i before = _mm512_loadu_si512(last - DotBlockShape::kColumnBytes);
  const __m512i words = _mm512_loadu_si512(last);
  const __m512 factor = upper_bytes(words);
  const __m512 addend = upper_bytes(_mm512_or_si512(_mm512_srli_epi32(before, 8), _mm512_slli_epi32(words, 24)));
  const __m512 inner = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), c.scale, c.shift);
  const __m512 base = _mm512_add_ps(addend, _mm512_set1_ps(chosen.origin_distance));
  const __m512 distances = _mm512_fnmadd_ps(factor, inner, base);
  const __mmask16 nearer = _mm512_mask_cmp_ps_mask(static_cast<__mmask16>(chosen.rows), distances, c.bound, _CMP_LT_OQ);
  if (nearer == 0) return;
  const __m512i rows = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(chosen.block * kBlockRows)), c.lanes);
  _mm512_storeu_ps(hits.distances + hits.count, _mm512_maskz_compress_ps(nearer, distances));
  _mm512_storeu_si512(hits.rows + hits.count, _mm512_maskz_compress_epi32(nearer, rows));
  hits.count += static_cast<std::uint32_t>(__builtin_popcount(nearer));
}

// So many blocks at once: their sums are independent, which covers the latency of a multiply-add, and the loop over the
// fields is short, so that its mispredicted end would cost as much as a block.
constexpr std::uint32_t kTogether = 8;

void scan_together(const DotBlockShape& shape, const std::int8_t* planes, const ScanConstants& c,
                   const std::uint8_t* blocks, const ScanBlock* chosen, const ScanBlock* next,
                   ScanHits& hits) noexcept {
  const std::uint8_t* at[kTogether];
  const std::uint8_t* ahead[kTogether];
  __m512i dots[kTogether];
#pragma GCC unroll 8
  for (std::uint32_t i = 0; i < kTogether; ++i) {
    at[i] = blocks + std::size_t{chosen[i].block} * shape.block_bytes;
    ahead[i] = blocks + std::size_t{next[i].block} * shape.block_bytes;
    dots[i] = _mm512_setzero_si512();
  }
  const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(shape.plane_shift));
  // Prefetches are spread over the work: a burst would fill the core's line buffers and stop it until they drain.
  std::uint32_t line = 0;
  for (std::uint32_t plane = shape.planes; plane-- > 0;) {
    const DotBlockShape::Field* const end = shape.fields + shape.plane_begin[plane + 1];
    for (const DotBlockShape::Field* field = shape.fields + shape.plane_begin[plane]; field != end; ++field) {
      int query;
      std::memcpy(&query, planes + field->query_at, sizeof query);
      const __m512i queries = _mm512_set1_epi32(query);
      const __m512i mask = _mm512_set1_epi32(static_cast<int>(field->mask));
      const std::size_t column = field->at;
      if (line < shape.block_bytes) {
#pragma GCC unroll 8
        for (std::uint32_t i = 0; i < kTogether; ++i) __builtin_prefetch(ahead[i] + line);
        line += 64;
      }
#pragma GCC unroll 8
      for (std::uint32_t i = 0; i < kTogether; ++i) {
        const __m512i row = _mm512_and_si512(_mm512_loadu_si512(at[i] + column), mask);
        dots[i] = _mm512_dpbusd_epi32(dots[i], row, queries);
      }
    }
    if (plane == 0) break;
#pragma GCC unroll 8
    for (std::uint32_t i = 0; i < kTogether; ++i) dots[i] = _mm512_sra_epi32(dots[i], shift);
  }
  const std::size_t last = std::size_t{shape.columns - 1} * DotBlockShape::kColumnBytes;
#pragma GCC unroll 8
  for (std::uint32_t i = 0; i < kTogether; ++i) {
    collect(c, chosen[i], dots[i], at[i] + last, hits);
  }
}

}  // namespace

void dot_scan_avx512(const DotBlockShape& shape, const DotQuery& query, const std::int8_t* planes, const ScanList& list,
                     ScanHits& hits) noexcept {
  const ScanConstants constants{_mm512_set1_ps(query.dot_scale), _mm512_set1_ps(query.dot_shift * query.dot_scale),
                                _mm512_set1_ps(hits.bound),
                                _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)};
  ScanHits found = hits;
  std::uint32_t i = 0;
  for (; i + kTogether <= list.count; i += kTogether) {
    const bool more = i + 2 * kTogether <= list.count + list.ahead;
    const ScanBlock* chosen = list.chosen + i;
    scan_together(shape, planes, constants, list.blocks, chosen, more ? chosen + kTogether : chosen, found);
  }
  if (i < list.count) {
    ScanBlock rest[kTogether];
    for (std::uint32_t j = 0; j < kTogether; ++j) {
      rest[j] = list.chosen[i + j < list.count ? i + j : i];
      if (i + j >= list.count) rest[j].rows = 0;
    }
    scan_together(shape, planes, constants, list.blocks, rest, rest, found);
  }
  hits.count = found.count;
}

}  // namespace tiervec::codes
