#pragma once

// From sums of products to distances. Included by files for AVX2 only.

#include <immintrin.h>

#include <tiervec/core/codes/dot_code.h>

namespace tiervec::codes {
namespace {

// Four vectors of eight partial sums to four sums.
__m128i sum_lanes(__m256i a, __m256i b, __m256i c, __m256i d) noexcept {
  const __m256i sums = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
  return _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
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

__m128 upper_bytes(__m128i words) noexcept {
  return _mm_castsi128_ps(_mm_and_si128(words, _mm_set1_epi32(static_cast<int>(kFactorMask))));
}

// dots: sums of four rows.
__m128 finish(const DotQuery& query, __m128i dots, const Ends& ends) noexcept {
  const __m128 dot = _mm_add_ps(_mm_cvtepi32_ps(dots), _mm_set1_ps(query.dot_shift));
  const __m128 inner = _mm_mul_ps(dot, _mm_set1_ps(query.dot_scale));
  const __m128 base = _mm_add_ps(upper_bytes(ends.addends), _mm_set1_ps(query.offset));
  return _mm_fnmadd_ps(upper_bytes(ends.factors), inner, base);
}

}  // namespace
}  // namespace tiervec::codes
