#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include <tiervec/core/codes/dot_code.h>

#include "compress_avx2.h"
#include "dot_finish_avx2.h"

namespace tiervec::codes {
namespace {

__m256i load(const void* at) noexcept {
  return _mm256_loadu_si256(static_cast<const __m256i*>(at));
}

__m256i add_pairs(__m256i sum, __m256i words) noexcept {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
}

// Even and odd bytes apart, as int16: fields of eight bits would saturate the byte multiply-add.
__m256i multiply_wide(__m256i sum, __m256i fields, __m256i query) noexcept {
  const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(query, 8), 8);
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_and_si256(fields, _mm256_set1_epi16(0xff)), even));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_srli_epi16(fields, 8), _mm256_srai_epi16(query, 8)));
}

// Never reads past the row: it may be the last one of the memory.
__m256i load_part(const std::uint8_t* at, std::size_t bytes) noexcept {
  if (bytes >= 32) return load(at);
  alignas(32) std::uint8_t padded[32] = {};
  std::memcpy(padded, at, bytes);
  return load(padded);
}

// Fields of all planes times the query. Without fields of eight bits a pair of bytes stays within int16: what the
// fields of a byte can hold adds up to 66 at most, so a pair to 2 * 66 * 127.
template <bool kWide>
__m256i row_sums(const DotRowShape& shape, const std::int8_t* planes, const std::uint8_t* row) noexcept {
  __m256i sum = _mm256_setzero_si256();
  const std::size_t plane = shape.chunk_bytes;
  for (std::size_t from = 0; from < shape.row_bytes - kFactorBytes; from += 32) {
    const std::size_t at = from / plane * kPlanes * plane + from % plane;
    const __m256i part = load_part(row + from, shape.row_bytes - from);
    const auto multiply = [&](__m256i fields, std::size_t place) {
      return _mm256_maddubs_epi16(_mm256_and_si256(fields, load(shape.masks + place)), load(planes + place));
    };
    __m256i words = multiply(_mm256_srli_epi16(part, 2), at + plane);
    words = _mm256_add_epi16(words, multiply(_mm256_srli_epi16(part, 4), at + 2 * plane));
    words = _mm256_add_epi16(words, multiply(_mm256_srli_epi16(part, 6), at + 3 * plane));
    if constexpr (kWide) {
      sum = multiply_wide(sum, _mm256_and_si256(part, load(shape.masks + at)), load(planes + at));
    } else {
      words = _mm256_add_epi16(words, multiply(part, at));
    }
    sum = add_pairs(sum, words);
  }
  return sum;
}

template <bool kWide>
void gather_distances(const DotRowShape& shape, const DotQuery& query, const std::int8_t* planes,
                      const std::uint8_t* rows, const std::uint32_t* ids, std::uint32_t count, float* out) noexcept {
  for (std::uint32_t i = 0; i < count; i += 4) {
    const std::uint8_t* r[4];
    for (std::uint32_t j = 0; j < 4; ++j) {
      const std::uint32_t at = std::min(i + j, count - 1);
      r[j] = rows + std::size_t{ids == nullptr ? at : ids[at]} * shape.row_bytes;
    }
    const __m128i dots = sum_lanes(row_sums<kWide>(shape, planes, r[0]), row_sums<kWide>(shape, planes, r[1]),
                                   row_sums<kWide>(shape, planes, r[2]), row_sums<kWide>(shape, planes, r[3]));
    _mm_storeu_ps(out + i, finish(query, dots, load_ends(r, shape.row_bytes)));
  }
}

}  // namespace

void dot_distances_avx2(const DotRowShape& shape, const DotQuery& query, const std::int8_t* planes,
                        const std::uint8_t* rows, const std::uint32_t* ids, std::uint32_t count, float* out) noexcept {
  if (shape.has_wide_fields) {
    gather_distances<true>(shape, query, planes, rows, ids, count, out);
  } else {
    gather_distances<false>(shape, query, planes, rows, ids, count, out);
  }
}

namespace {

// So many blocks at once: a query's bytes and masks are loaded once for all of them, and their sums are independent.
constexpr std::uint32_t kTogether = 4;
constexpr std::uint32_t kAheadBlocks = 8;         // a block is brought into the caches so many before its turn
constexpr std::uint32_t kHalves = 2 * kTogether;  // eight rows each

[[gnu::always_inline]] inline void widen(__m256i* words, __m256i* sums) noexcept {
#pragma GCC unroll 8
  for (std::uint32_t i = 0; i < kHalves; ++i) {
    sums[i] = add_pairs(sums[i], words[i]);
    words[i] = _mm256_setzero_si256();
  }
}

// Apart, so that what it needs takes no registers from the usual fields.
[[gnu::noinline]] void add_wide(const DotBlockShape::Field& field, const std::uint8_t* const* at, __m256i queries,
                                __m256i* sums) noexcept {
  const __m256i mask = _mm256_set1_epi32(static_cast<int>(field.mask));
  for (std::uint32_t i = 0; i < kHalves; ++i) {
    const __m256i column = load(at[i / 2] + field.at + i % 2 * 32);
    sums[i] = multiply_wide(sums[i], _mm256_and_si256(column, mask), queries);
  }
}

// Fields are moved down to bit 0, so that the byte multiply-add does not saturate. `words` are sums of int16.
template <int kPlane, int kShift>
[[gnu::always_inline]] inline void add_plane(const DotBlockShape& shape, const std::int8_t* planes,
                                             const std::uint8_t* const* at, const std::uint8_t* const* ahead,
                                             std::uint32_t& line, __m256i* words, __m256i* sums) noexcept {
  const DotBlockShape::Field* const end = shape.fields + shape.plane_begin[kPlane + 1];
  for (const DotBlockShape::Field* field = shape.fields + shape.plane_begin[kPlane]; field != end; ++field) {
    int query;
    std::memcpy(&query, planes + field->query_at, sizeof query);
    const __m256i queries = _mm256_set1_epi32(query);
    // Prefetches are spread over the work: a burst would fill the core's line buffers and stop it until they drain.
    if (line < shape.block_bytes) {
#pragma GCC unroll 8
      for (std::uint32_t i = 0; i < kTogether; ++i) __builtin_prefetch(ahead[i] + line);
      line += 64;
    }
    if constexpr (kPlane == 0) {
      if (field->wide) {
        add_wide(*field, at, queries, sums);
        continue;
      }
    }
    if (field->widen) widen(words, sums);
    const __m256i mask = _mm256_set1_epi32(static_cast<int>(field->mask >> (kShift * kPlane)));
#pragma GCC unroll 8
    for (std::uint32_t i = 0; i < kHalves; ++i) {
      const __m256i column = load(at[i / 2] + field->at + i % 2 * 32);
      const __m256i fields = _mm256_and_si256(kPlane == 0 ? column : _mm256_srli_epi32(column, kShift * kPlane), mask);
      words[i] = _mm256_add_epi16(words[i], _mm256_maddubs_epi16(fields, queries));
    }
  }
}

__m256 upper_bytes(__m256i words) noexcept {
  return _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(static_cast<int>(kFactorMask))));
}

// What a scan keeps in registers.
struct ScanConstants {
  __m256 scale;
  __m256 shift;
  __m256 bound;
};

// `last`: the last column of the block.
void collect(const ScanConstants& c, const ScanBlock& chosen, const __m256i* dots, const std::uint8_t* last,
             ScanHits& hits) noexcept {
  const __m256 origin = _mm256_set1_ps(chosen.origin_distance);
#pragma GCC unroll 2
  for (std::uint32_t half = 0; half < 2; ++half) {
    const __m256i words = load(last + std::size_t{half} * 32);
    const __m256i before = load(last - DotBlockShape::kColumnBytes + std::size_t{half} * 32);
    const __m256 addend = upper_bytes(_mm256_or_si256(_mm256_srli_epi32(before, 8), _mm256_slli_epi32(words, 24)));
    const __m256 inner = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[half]), c.scale, c.shift);
    const __m256 distances = _mm256_fnmadd_ps(upper_bytes(words), inner, _mm256_add_ps(addend, origin));
    const __m256 below = _mm256_cmp_ps(distances, c.bound, _CMP_LT_OQ);
    const std::uint32_t nearer =
        static_cast<std::uint32_t>(_mm256_movemask_ps(below)) & chosen.rows >> (8 * half) & 0xff;
    if (nearer == 0) continue;
    const __m256i lanes = lanes_of(nearer);
    const __m256i first = _mm256_set1_epi32(static_cast<int>(chosen.block * kBlockRows + 8 * half));
    _mm256_storeu_ps(hits.distances + hits.count, _mm256_permutevar8x32_ps(distances, lanes));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(hits.rows + hits.count), _mm256_add_epi32(first, lanes));
    hits.count += static_cast<std::uint32_t>(__builtin_popcount(nearer));
  }
}

template <bool kBits>
void scan_together(const DotBlockShape& shape, const std::int8_t* planes, const ScanConstants& c,
                   const std::uint8_t* blocks, const ScanBlock* chosen, const ScanBlock* next,
                   ScanHits& hits) noexcept {
  const std::uint8_t* at[kTogether];
  const std::uint8_t* ahead[kTogether];
  __m256i words[kHalves];  // sums of int16 until a field that says `widen`
  __m256i sums[kHalves];
#pragma GCC unroll 8
  for (std::uint32_t i = 0; i < kTogether; ++i) {
    at[i] = blocks + std::size_t{chosen[i].block} * shape.block_bytes;
    ahead[i] = blocks + std::size_t{next[i].block} * shape.block_bytes;
  }
#pragma GCC unroll 8
  for (std::uint32_t i = 0; i < kHalves; ++i) words[i] = sums[i] = _mm256_setzero_si256();
  std::uint32_t line = 0;
  if constexpr (kBits) {
    [&]<int... kPlane>(std::integer_sequence<int, kPlane...>) noexcept {
      (add_plane<kPlane, 1>(shape, planes, at, ahead, line, words, sums), ...);
    }(std::make_integer_sequence<int, kMaxPlanes>());
  } else {
    add_plane<0, 2>(shape, planes, at, ahead, line, words, sums);
    add_plane<1, 2>(shape, planes, at, ahead, line, words, sums);
    add_plane<2, 2>(shape, planes, at, ahead, line, words, sums);
    add_plane<3, 2>(shape, planes, at, ahead, line, words, sums);
  }
  widen(words, sums);
  const std::size_t last = std::size_t{shape.columns - 1} * DotBlockShape::kColumnBytes;
#pragma GCC unroll 8
  for (std::uint32_t i = 0; i < kTogether; ++i) collect(c, chosen[i], sums + 2 * i, at[i] + last, hits);
}

}  // namespace

namespace {

template <bool kBits>
void scan_list(const DotBlockShape& shape, const DotQuery& query, const std::int8_t* planes, const ScanList& list,
               ScanHits& hits) noexcept {
  const ScanConstants constants{_mm256_set1_ps(query.dot_scale), _mm256_set1_ps(query.dot_shift * query.dot_scale),
                                _mm256_set1_ps(hits.bound)};
  ScanHits found = hits;
  std::uint32_t i = 0;
  for (; i + kTogether <= list.count; i += kTogether) {
    const bool more = i + kAheadBlocks + kTogether <= list.count + list.ahead;
    const ScanBlock* chosen = list.chosen + i;
    scan_together<kBits>(shape, planes, constants, list.blocks, chosen, more ? chosen + kAheadBlocks : chosen, found);
  }
  if (i < list.count) {
    ScanBlock rest[kTogether];
    for (std::uint32_t j = 0; j < kTogether; ++j) {
      rest[j] = list.chosen[i + j < list.count ? i + j : i];
      if (i + j >= list.count) rest[j].rows = 0;
    }
    scan_together<kBits>(shape, planes, constants, list.blocks, rest, rest, found);
  }
  hits.count = found.count;
}

}  // namespace

void dot_scan_avx2(const DotBlockShape& shape, const DotQuery& query, const std::int8_t* planes, const ScanList& list,
                   ScanHits& hits) noexcept {
  if (shape.plane_shift == 1) {
    scan_list<true>(shape, query, planes, list, hits);
  } else {
    scan_list<false>(shape, query, planes, list, hits);
  }
}

}  // namespace tiervec::codes
