#include <immintrin.h>

#include <tiervec/core/codes/fast_rotation.h>

namespace tiervec::codes {
namespace {

constexpr std::size_t kLanes = 8;

// Each lane and its partner: the first becomes the sum, the second (a bit of kSecond) the difference.
template <int kSecond>
__m256 add_partner(__m256 x, __m256 partner) noexcept {
  return _mm256_blend_ps(_mm256_add_ps(partner, x), _mm256_sub_ps(partner, x), kSecond);
}

__m256 inside_register(__m256 x) noexcept {
  x = add_partner<0xaa>(x, _mm256_permute_ps(x, 0b10'11'00'01));
  x = add_partner<0xcc>(x, _mm256_permute_ps(x, 0b01'00'11'10));
  return add_partner<0xf0>(x, _mm256_permute2f128_ps(x, x, 1));
}

}  // namespace

void hadamard_avx2(float* x, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; i += kLanes) _mm256_storeu_ps(x + i, inside_register(_mm256_loadu_ps(x + i)));
  for (std::size_t half = kLanes; half < n; half *= 2) {
    for (std::size_t first = 0; first < n; first += 2 * half) {
      for (std::size_t i = first; i < first + half; i += kLanes) {
        const __m256 a = _mm256_loadu_ps(x + i);
        const __m256 b = _mm256_loadu_ps(x + i + half);
        _mm256_storeu_ps(x + i, _mm256_add_ps(a, b));
        _mm256_storeu_ps(x + i + half, _mm256_sub_ps(a, b));
      }
    }
  }
}

}  // namespace tiervec::codes
