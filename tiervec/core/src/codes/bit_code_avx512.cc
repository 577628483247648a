#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include <tiervec/core/codes/dot_code.h>

#include "dot_finish_avx512.h"

namespace tiervec::codes {
namespace {

// Sixty-four bits of the code are a mask over as many values of the query; a multiply-add with ones sums what it
// leaves. A popcount would need a pass for each bit of the query, which are eight.
__m512i add_chosen(__m512i sum, const std::uint8_t* bits, __m512i query) noexcept {
  std::uint64_t chosen;
  std::memcpy(&chosen, bits, sizeof chosen);
  return _mm512_dpbusd_epi32(sum, _mm512_maskz_set1_epi8(chosen, 1), query);
}

}  // namespace

void bit_distances_avx512(const DotRowShape& shape, const DotQuery& query, const std::int8_t* planes,
                          const std::uint8_t* rows, const std::uint32_t* ids, std::uint32_t count,
                          float* out) noexcept {
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
      __m512i sums[4];
      for (std::uint32_t j = 0; j < 4; ++j) {
        const std::uint32_t at = std::min(i + group * 4 + j, count - 1);
        r[j] = rows + std::size_t{ids == nullptr ? at : ids[at]} * shape.row_bytes;
        sums[j] = _mm512_setzero_si512();
      }
      for (std::uint32_t chunk = 0; chunk < shape.chunks; ++chunk) {
        const __m512i values = _mm512_loadu_si512(planes + std::size_t{chunk} * 64);
        for (std::uint32_t j = 0; j < 4; ++j) sums[j] = add_chosen(sums[j], r[j] + std::size_t{chunk} * 8, values);
      }
      dots[group] = sum_lanes(add_halves(sums[0]), add_halves(sums[1]), add_halves(sums[2]), add_halves(sums[3]));
      const Ends ends = load_ends(r, shape.row_bytes);
      addends[group] = ends.addends;
      factors[group] = ends.factors;
    }
    finish(query, dots, addends, factors, out + i);
  }
}

}  // namespace tiervec::codes
