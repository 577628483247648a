#include <immintrin.h>

#include <cstdint>

#include <tiervec/core/codes/nearest_hits.h>

#include "compress_avx2.h"

namespace tiervec::codes {
namespace {

constexpr std::uint32_t kLanes = 8;

__m256i load(const void* at) noexcept {
  return _mm256_loadu_si256(static_cast<const __m256i*>(at));
}

__m256i keys_of(__m256i bits) noexcept {
  return _mm256_xor_si256(bits, _mm256_and_si256(_mm256_srai_epi32(bits, 31), _mm256_set1_epi32(0x7fffffff)));
}

std::uint32_t mask_of(__m256i lanes) noexcept {
  return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(lanes)));
}

__m256i first_lanes(std::uint32_t count) noexcept {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count < kLanes ? count : kLanes)), lanes);
}

// Keys of eight distances from i on; behind the last one `beyond`.
__m256i keys_at(const float* distances, std::uint32_t i, std::uint32_t count, std::int32_t beyond) noexcept {
  if (i + kLanes <= count) return keys_of(load(distances + i));
  const __m256i exists = first_lanes(count - i);
  const __m256i keys = keys_of(_mm256_maskload_epi32(reinterpret_cast<const int*>(distances + i), exists));
  return _mm256_blendv_epi8(_mm256_set1_epi32(beyond), keys, exists);
}

template <class Choose>
std::int32_t reduce(__m256i v, Choose choose) noexcept {
  v = choose(v, _mm256_permute2x128_si256(v, v, 1));
  v = choose(v, _mm256_shuffle_epi32(v, 0b01001110));
  v = choose(v, _mm256_shuffle_epi32(v, 0b10110001));
  return _mm256_cvtsi256_si32(v);
}

void range(const float* distances, std::uint32_t count, std::int32_t& least, std::int32_t& most) noexcept {
  __m256i low = _mm256_set1_epi32(INT32_MAX);
  __m256i high = _mm256_set1_epi32(INT32_MIN);
  for (std::uint32_t i = 0; i < count; i += kLanes) {
    low = _mm256_min_epi32(low, keys_at(distances, i, count, INT32_MAX));
    high = _mm256_max_epi32(high, keys_at(distances, i, count, INT32_MIN));
  }
  least = reduce(low, [](__m256i a, __m256i b) { return _mm256_min_epi32(a, b); });
  most = reduce(high, [](__m256i a, __m256i b) { return _mm256_max_epi32(a, b); });
}

std::uint32_t count_nearest(const float* distances, std::uint32_t count, std::int32_t key) noexcept {
  const __m256i limit = _mm256_set1_epi32(key);
  __m256i farther = _mm256_setzero_si256();  // minus how many are
  for (std::uint32_t i = 0; i < count; i += kLanes) {
    farther = _mm256_add_epi32(farther, _mm256_cmpgt_epi32(keys_at(distances, i, count, INT32_MIN), limit));
  }
  return count -
         static_cast<std::uint32_t>(-reduce(farther, [](__m256i a, __m256i b) { return _mm256_add_epi32(a, b); }));
}

std::uint32_t compact(ScanHits& hits, std::int32_t key) noexcept {
  const __m256i limit = _mm256_set1_epi32(key);
  std::uint32_t kept = 0;
  for (std::uint32_t i = 0; i < hits.count; i += kLanes) {
    // Up to a block behind the hits may be read and written, as their storage has room for it.
    const __m256i distances = load(hits.distances + i);
    const __m256i rows = load(hits.rows + i);
    const std::uint32_t exists = hits.count - i >= kLanes ? 0xff : (1U << (hits.count - i)) - 1;
    const std::uint32_t nearest = ~mask_of(_mm256_cmpgt_epi32(keys_of(distances), limit)) & exists;
    const __m256i lanes = lanes_of(nearest);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(hits.distances + kept),
                        _mm256_permutevar8x32_epi32(distances, lanes));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(hits.rows + kept), _mm256_permutevar8x32_epi32(rows, lanes));
    kept += static_cast<std::uint32_t>(__builtin_popcount(nearest));
  }
  return kept;
}

}  // namespace

const HitKernels kHitKernelsAvx2 = {range, count_nearest, compact};

}  // namespace tiervec::codes
