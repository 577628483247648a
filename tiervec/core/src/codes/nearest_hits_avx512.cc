#include <immintrin.h>

#include <cstdint>

#include <tiervec/core/codes/nearest_hits.h>

namespace tiervec::codes {
namespace {

__m512i keys_of(__m512i bits) noexcept {
  return _mm512_xor_si512(bits, _mm512_and_si512(_mm512_srai_epi32(bits, 31), _mm512_set1_epi32(0x7fffffff)));
}

__mmask16 first_lanes(std::uint32_t count) noexcept {
  return static_cast<__mmask16>(count >= 16 ? 0xffffU : (1U << count) - 1);
}

void range(const float* distances, std::uint32_t count, std::int32_t& least, std::int32_t& most) noexcept {
  __m512i low = _mm512_set1_epi32(INT32_MAX);
  __m512i high = _mm512_set1_epi32(INT32_MIN);
  for (std::uint32_t i = 0; i < count; i += 16) {
    const __mmask16 exists = first_lanes(count - i);
    const __m512i keys = keys_of(_mm512_maskz_loadu_epi32(exists, distances + i));
    low = _mm512_mask_min_epi32(low, exists, low, keys);
    high = _mm512_mask_max_epi32(high, exists, high, keys);
  }
  least = _mm512_reduce_min_epi32(low);
  most = _mm512_reduce_max_epi32(high);
}

std::uint32_t count_nearest(const float* distances, std::uint32_t count, std::int32_t key) noexcept {
  const __m512i limit = _mm512_set1_epi32(key);
  std::uint32_t found = 0;
  for (std::uint32_t i = 0; i < count; i += 16) {
    const __mmask16 exists = first_lanes(count - i);
    const __m512i keys = keys_of(_mm512_maskz_loadu_epi32(exists, distances + i));
    found += static_cast<std::uint32_t>(__builtin_popcount(_mm512_mask_cmple_epi32_mask(exists, keys, limit)));
  }
  return found;
}

std::uint32_t compact(ScanHits& hits, std::int32_t key) noexcept {
  const __m512i limit = _mm512_set1_epi32(key);
  std::uint32_t kept = 0;
  for (std::uint32_t i = 0; i < hits.count; i += 16) {
    const __mmask16 exists = first_lanes(hits.count - i);
    const __m512i distances = _mm512_maskz_loadu_epi32(exists, hits.distances + i);
    const __m512i rows = _mm512_maskz_loadu_epi32(exists, hits.rows + i);
    const __mmask16 nearest = _mm512_mask_cmple_epi32_mask(exists, keys_of(distances), limit);
    // Written behind nothing that is still to be read: kept <= i.
    _mm512_storeu_si512(hits.distances + kept, _mm512_maskz_compress_epi32(nearest, distances));
    _mm512_storeu_si512(hits.rows + kept, _mm512_maskz_compress_epi32(nearest, rows));
    kept += static_cast<std::uint32_t>(__builtin_popcount(nearest));
  }
  return kept;
}

}  // namespace

const HitKernels kHitKernelsAvx512 = {range, count_nearest, compact};

}  // namespace tiervec::codes
