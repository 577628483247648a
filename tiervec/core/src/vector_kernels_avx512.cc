#include <immintrin.h>

#include <cstdint>

#include <tiervec/core/half.h>
#include <tiervec/core/vector_kernels.h>

namespace tiervec {
namespace {

struct Half {
  std::uint16_t bits;
};

// Sixteen elements as float32; `mask` names the ones that exist.
__m512 load(const float* p, __mmask16 mask) noexcept {
  return _mm512_maskz_loadu_ps(mask, p);
}
__m512 load(const Half* p, __mmask16 mask) noexcept {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, p));
}

// Thirty-two elements as int16.
__m512i load(const std::uint8_t* p, __mmask32 mask) noexcept {
  return _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(mask, p));
}
__m512i load(const std::int8_t* p, __mmask32 mask) noexcept {
  return _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(mask, p));
}

template <class A, class B, bool kL2>
float float_kernel(const void* a, const void* b, std::size_t dim) noexcept {
  const A* x = static_cast<const A*>(a);
  const B* y = static_cast<const B*>(b);
  __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  const auto step = [&](std::size_t i, __mmask16 mask, __m512& sum) {
    const __m512 p = load(x + i, mask);
    const __m512 q = load(y + i, mask);
    const __m512 d = _mm512_sub_ps(p, q);
    sum = kL2 ? _mm512_fmadd_ps(d, d, sum) : _mm512_fmadd_ps(p, q, sum);
  };
  std::size_t i = 0;
  for (; i + 32 <= dim; i += 32) {
    step(i, 0xffff, sums[0]);
    step(i + 16, 0xffff, sums[1]);
  }
  for (; i < dim; i += 16) {
    step(i, dim - i >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << (dim - i)) - 1), sums[0]);
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]));
}

template <class T, bool kL2>
float integer_kernel(const void* a, const void* b, std::size_t dim) noexcept {
  const T* x = static_cast<const T*>(a);
  const T* y = static_cast<const T*>(b);
  __m512i sums[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  const auto step = [&](std::size_t i, __mmask32 mask, __m512i& sum) {
    const __m512i p = load(x + i, mask);
    const __m512i q = load(y + i, mask);
    const __m512i d = _mm512_sub_epi16(p, q);
    sum = kL2 ? _mm512_dpwssd_epi32(sum, d, d) : _mm512_dpwssd_epi32(sum, p, q);
  };
  std::size_t i = 0;
  for (; i + 64 <= dim; i += 64) {
    step(i, ~__mmask32{0}, sums[0]);
    step(i + 32, ~__mmask32{0}, sums[1]);
  }
  for (; i < dim; i += 32) {
    step(i, dim - i >= 32 ? ~__mmask32{0} : (__mmask32{1} << (dim - i)) - 1, sums[0]);
  }
  return static_cast<float>(_mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1])));
}

// The sums of the lanes of each of four.
__m128i reduce(const __m512i (&sums)[4]) noexcept {
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(sums[0], sums[1]), _mm512_unpackhi_epi32(sums[0], sums[1]));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(sums[2], sums[3]), _mm512_unpackhi_epi32(sums[2], sums[3]));
  const __m512i quarters = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  const __m256i halves = _mm256_add_epi32(_mm512_castsi512_si256(quarters), _mm512_extracti64x4_epi64(quarters, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
}

// Four rows at a time: the query is widened once for them, and their lanes are summed together.
template <class T, bool kL2>
void integer_rows(const void* query, const std::byte* const* rows, std::size_t count, std::size_t dim,
                  float* out) noexcept {
  const T* x = static_cast<const T*>(query);
  std::size_t row = 0;
  for (; row + 4 <= count; row += 4) {
    __m512i sums[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    const auto step = [&](std::size_t i, __mmask32 mask) {
      const __m512i p = load(x + i, mask);
      for (std::size_t r = 0; r < 4; ++r) {
        const __m512i q = load(reinterpret_cast<const T*>(rows[row + r]) + i, mask);
        const __m512i d = _mm512_sub_epi16(p, q);
        sums[r] = kL2 ? _mm512_dpwssd_epi32(sums[r], d, d) : _mm512_dpwssd_epi32(sums[r], p, q);
      }
    };
    std::size_t i = 0;
    for (; i + 32 <= dim; i += 32) step(i, ~__mmask32{0});
    if (i < dim) step(i, (__mmask32{1} << (dim - i)) - 1);
    _mm_storeu_ps(out + row, _mm_cvtepi32_ps(reduce(sums)));
  }
  for (; row < count; ++row) out[row] = integer_kernel<T, kL2>(query, rows[row], dim);
}

template <class T>
constexpr VectorKernels integer_kernels() noexcept {
  return {integer_kernel<T, true>,  integer_kernel<T, false>, integer_kernel<T, true>,
          integer_kernel<T, false>, integer_rows<T, true>,    integer_rows<T, false>};
}

}  // namespace

namespace {

// kRegisters x 16 outputs whose sums stay in registers, twice: even and odd columns are independent.
template <std::size_t kRegisters>
void rotate_strip(const std::uint16_t* columns, std::size_t out_dim, const float* x, std::size_t dim,
                  float* out) noexcept {
  __m512 sums[2][kRegisters];
  for (auto& half : sums) {
    for (__m512& sum : half) sum = _mm512_setzero_ps();
  }
  const auto add = [&](std::size_t i, __m512* to) {
    const __m512 value = _mm512_set1_ps(x[i]);
    for (std::size_t j = 0; j < kRegisters; ++j) {
      const auto* column = reinterpret_cast<const __m256i*>(columns + i * out_dim + j * 16);
      to[j] = _mm512_fmadd_ps(_mm512_cvtph_ps(_mm256_loadu_si256(column)), value, to[j]);
    }
  };
  std::size_t i = 0;
  for (; i + 2 <= dim; i += 2) {
    add(i, sums[0]);
    add(i + 1, sums[1]);
  }
  if (i < dim) add(i, sums[0]);
  for (std::size_t j = 0; j < kRegisters; ++j) _mm512_storeu_ps(out + j * 16, _mm512_add_ps(sums[0][j], sums[1][j]));
}

void rotate(const std::uint16_t* columns, std::size_t out_dim, const float* x, std::size_t dim, float* out) noexcept {
  std::size_t from = 0;
  for (; from + 64 <= out_dim; from += 64) rotate_strip<4>(columns + from, out_dim, x, dim, out + from);
  for (; from < out_dim; from += 16) rotate_strip<1>(columns + from, out_dim, x, dim, out + from);
}

}  // namespace

constinit const RotateFn kRotateAvx512 = rotate;

constinit const VectorKernels kVectorKernelsAvx512[4] = {
    {float_kernel<float, float, true>, float_kernel<float, float, false>, float_kernel<float, float, true>,
     float_kernel<float, float, false>, row_by_row<float_kernel<float, float, true>>,
     row_by_row<float_kernel<float, float, false>>},
    {float_kernel<Half, Half, true>, float_kernel<Half, Half, false>, float_kernel<float, Half, true>,
     float_kernel<float, Half, false>, row_by_row<float_kernel<float, Half, true>>,
     row_by_row<float_kernel<float, Half, false>>},
    integer_kernels<std::int8_t>(),
    integer_kernels<std::uint8_t>(),
};

}  // namespace tiervec
