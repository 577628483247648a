#include <immintrin.h>

#include <tiervec/core/codes/fast_rotation.h>

namespace tiervec::codes {
namespace {

constexpr std::size_t kLanes = 16;

// Each lane and its partner: the first becomes the sum, the second the difference. `second` has a bit for each of
// those.
template <__mmask16 kSecond>
__m512 add_partner(__m512 x, __m512 partner) noexcept {
  const __m512 sum = _mm512_add_ps(partner, x);
  return _mm512_mask_sub_ps(sum, kSecond, partner, x);
}

__m512 inside_register(__m512 x) noexcept {
  x = add_partner<0xaaaa>(x, _mm512_permute_ps(x, 0b10'11'00'01));
  x = add_partner<0xcccc>(x, _mm512_permute_ps(x, 0b01'00'11'10));
  x = add_partner<0xf0f0>(x, _mm512_shuffle_f32x4(x, x, 0b10'11'00'01));
  return add_partner<0xff00>(x, _mm512_shuffle_f32x4(x, x, 0b01'00'11'10));
}

}  // namespace

void hadamard_avx512(float* x, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; i += kLanes) _mm512_storeu_ps(x + i, inside_register(_mm512_loadu_ps(x + i)));
  for (std::size_t half = kLanes; half < n; half *= 2) {
    for (std::size_t first = 0; first < n; first += 2 * half) {
      for (std::size_t i = first; i < first + half; i += kLanes) {
        const __m512 a = _mm512_loadu_ps(x + i);
        const __m512 b = _mm512_loadu_ps(x + i + half);
        _mm512_storeu_ps(x + i, _mm512_add_ps(a, b));
        _mm512_storeu_ps(x + i + half, _mm512_sub_ps(a, b));
      }
    }
  }
}

}  // namespace tiervec::codes
