#pragma once

// From sums of products to distances. Included by files for AVX-512 only.

#include <immintrin.h>

#include <tiervec/core/codes/dot_code.h>

namespace tiervec::codes {
namespace {

__m256i add_halves(__m512i v) noexcept {
  return _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
}

// Four vectors of eight partial sums to four sums.
__m128i sum_lanes(__m256i a, __m256i b, __m256i c, __m256i d) noexcept {
  const __m256i sums = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
  return _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
}

__m512 upper_bytes(__m512i words) noexcept {
  return _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(static_cast<int>(kFactorMask))));
}

// dots: four vectors of four sums.
void finish(const DotQuery& query, const __m128i* dots, const __m128i* addends, const __m128i* factors,
            float* out) noexcept {
  const auto join = [](const __m128i* parts) {
    const __m256i a = _mm256_inserti128_si256(_mm256_castsi128_si256(parts[0]), parts[1], 1);
    const __m256i b = _mm256_inserti128_si256(_mm256_castsi128_si256(parts[2]), parts[3], 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
  };
  const __m512 addend = upper_bytes(join(addends));
  const __m512 factor = upper_bytes(join(factors));
  const __m512 dot = _mm512_add_ps(_mm512_cvtepi32_ps(join(dots)), _mm512_set1_ps(query.dot_shift));
  const __m512 inner = _mm512_mul_ps(dot, _mm512_set1_ps(query.dot_scale));
  const __m512 base = _mm512_add_ps(addend, _mm512_set1_ps(query.offset));
  _mm512_storeu_ps(out, _mm512_fnmadd_ps(factor, inner, base));
}

// Addends and factors of four rows, from their last eight bytes.
struct Ends {
  __m128i addends;
  __m128i factors;
};

Ends load_ends(const std::uint8_t* const* rows, std::size_t row_bytes) noexcept {
  const auto pair = [&](std::size_t i) {
    const auto* first = reinterpret_cast<const __m128i*>(rows[i] + row_bytes - 8);
    const auto* second = reinterpret_cast<const __m128i*>(rows[i + 1] + row_bytes - 8);
    return _mm_unpacklo_epi64(_mm_loadl_epi64(first), _mm_loadl_epi64(second));
  };
  const __m128i a = pair(0);
  const __m128i b = pair(2);
  const __m128 low_a = _mm_castsi128_ps(_mm_srli_epi64(a, 8));
  const __m128 low_b = _mm_castsi128_ps(_mm_srli_epi64(b, 8));
  return {_mm_castps_si128(_mm_shuffle_ps(low_a, low_b, 0b10'00'10'00)),
          _mm_castps_si128(_mm_shuffle_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b), 0b11'01'11'01))};
}

}  // namespace
}  // namespace tiervec::codes
