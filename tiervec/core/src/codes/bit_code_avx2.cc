#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include <tiervec/core/codes/dot_code.h>

#include "dot_finish_avx2.h"

namespace tiervec::codes {
namespace {

// Sums of pairs of values in int16, each at most 2 * 127, fit for so many chunks of 32 bits.
constexpr std::uint32_t kUnwidened = 128;

// The values of the query whose bits are set, 32 of them.
__m256i chosen_values(const std::uint8_t* bits, const std::int8_t* values) noexcept {
  int word;
  std::memcpy(&word, bits, sizeof word);
  const __m256i byte_of = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit_of = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201U));
  const __m256i spread = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(word), byte_of), bit_of);
  const __m256i query = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
  return _mm256_and_si256(_mm256_cmpeq_epi8(spread, bit_of), query);
}

__m256i row_sums(const DotRowShape& shape, const std::int8_t* planes, const std::uint8_t* row) noexcept {
  const __m256i ones = _mm256_set1_epi8(1);
  __m256i sum = _mm256_setzero_si256();
  const std::uint32_t words = 2 * shape.chunks;
  for (std::uint32_t first = 0; first < words; first += kUnwidened) {
    __m256i pairs = _mm256_setzero_si256();
    for (std::uint32_t word = first; word < std::min(first + kUnwidened, words); ++word) {
      const __m256i values = chosen_values(row + std::size_t{word} * 4, planes + std::size_t{word} * 32);
      pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(ones, values));
    }
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  return sum;
}

}  // namespace

void bit_distances_avx2(const DotRowShape& shape, const DotQuery& query, const std::int8_t* planes,
                        const std::uint8_t* rows, const std::uint32_t* ids, std::uint32_t count, float* out) noexcept {
  for (std::uint32_t i = 0; i < count; i += 4) {
    const std::uint8_t* r[4];
    for (std::uint32_t j = 0; j < 4; ++j) {
      const std::uint32_t at = std::min(i + j, count - 1);
      r[j] = rows + std::size_t{ids == nullptr ? at : ids[at]} * shape.row_bytes;
    }
    const __m128i dots = sum_lanes(row_sums(shape, planes, r[0]), row_sums(shape, planes, r[1]),
                                   row_sums(shape, planes, r[2]), row_sums(shape, planes, r[3]));
    _mm_storeu_ps(out + i, finish(query, dots, load_ends(r, shape.row_bytes)));
  }
}

}  // namespace tiervec::codes
