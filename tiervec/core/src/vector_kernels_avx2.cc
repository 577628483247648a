#include <immintrin.h>

#include <cstdint>

#include <tiervec/core/half.h>
#include <tiervec/core/vector_kernels.h>

namespace tiervec {
namespace {

struct Half {
  std::uint16_t bits;
};

__m256 load(const float* p) noexcept {
  return _mm256_loadu_ps(p);
}
__m256 load(const Half* p) noexcept {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
__m256i load(const std::uint8_t* p) noexcept {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
__m256i load(const std::int8_t* p) noexcept {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

float as_float(float x) noexcept {
  return x;
}
float as_float(Half x) noexcept {
  return half_to_float(x.bits);
}

// Unaligned loads of single elements: vectors inside records start at any byte.
template <class T>
T element(const T* p) noexcept {
  T value;
  __builtin_memcpy(&value, p, sizeof(T));
  return value;
}

float sum_lanes(__m256 v) noexcept {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_hadd_ps(s, s);
  return _mm_cvtss_f32(_mm_hadd_ps(s, s));
}

std::int32_t sum_lanes(__m256i v) noexcept {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_hadd_epi32(s, s);
  return _mm_cvtsi128_si32(_mm_hadd_epi32(s, s));
}

template <class A, class B, bool kL2>
float float_kernel(const void* a, const void* b, std::size_t dim) noexcept {
  const A* x = static_cast<const A*>(a);
  const B* y = static_cast<const B*>(b);
  __m256 sums[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  std::size_t i = 0;
  for (; i + 8 <= dim; i += 8) {
    const __m256 p = load(x + i);
    const __m256 q = load(y + i);
    const __m256 d = _mm256_sub_ps(p, q);
    __m256& sum = sums[(i / 8) % 2];
    sum = kL2 ? _mm256_fmadd_ps(d, d, sum) : _mm256_fmadd_ps(p, q, sum);
  }
  float total = sum_lanes(_mm256_add_ps(sums[0], sums[1]));
  for (; i < dim; ++i) {
    const float p = as_float(element(x + i));
    const float q = as_float(element(y + i));
    total += kL2 ? (p - q) * (p - q) : p * q;
  }
  return total;
}

template <class T, bool kL2>
float integer_kernel(const void* a, const void* b, std::size_t dim) noexcept {
  const T* x = static_cast<const T*>(a);
  const T* y = static_cast<const T*>(b);
  __m256i sum = _mm256_setzero_si256();
  std::size_t i = 0;
  for (; i + 16 <= dim; i += 16) {
    const __m256i p = load(x + i);
    const __m256i q = load(y + i);
    const __m256i d = _mm256_sub_epi16(p, q);
    sum = _mm256_add_epi32(sum, kL2 ? _mm256_madd_epi16(d, d) : _mm256_madd_epi16(p, q));
  }
  std::int32_t total = sum_lanes(sum);
  for (; i < dim; ++i) {
    const std::int32_t p = x[i];  // NOLINT(bugprone-signed-char-misuse): numbers
    const std::int32_t q = y[i];  // NOLINT(bugprone-signed-char-misuse): numbers
    total += kL2 ? (p - q) * (p - q) : p * q;
  }
  return static_cast<float>(total);
}

template <class T>
constexpr VectorKernels integer_kernels() noexcept {
  return {integer_kernel<T, true>,
          integer_kernel<T, false>,
          integer_kernel<T, true>,
          integer_kernel<T, false>,
          row_by_row<integer_kernel<T, true>>,
          row_by_row<integer_kernel<T, false>>};
}

}  // namespace

namespace {

// kRegisters x 8 outputs whose sums stay in registers.
template <std::size_t kRegisters>
void rotate_strip(const std::uint16_t* columns, std::size_t out_dim, const float* x, std::size_t dim,
                  float* out) noexcept {
  __m256 sums[kRegisters];
  for (__m256& sum : sums) sum = _mm256_setzero_ps();
  for (std::size_t i = 0; i < dim; ++i) {
    const __m256 value = _mm256_set1_ps(x[i]);
    for (std::size_t j = 0; j < kRegisters; ++j) {
      const auto* column = reinterpret_cast<const __m128i*>(columns + i * out_dim + j * 8);
      sums[j] = _mm256_fmadd_ps(_mm256_cvtph_ps(_mm_loadu_si128(column)), value, sums[j]);
    }
  }
  for (std::size_t j = 0; j < kRegisters; ++j) _mm256_storeu_ps(out + j * 8, sums[j]);
}

void rotate(const std::uint16_t* columns, std::size_t out_dim, const float* x, std::size_t dim, float* out) noexcept {
  std::size_t from = 0;
  for (; from + 64 <= out_dim; from += 64) rotate_strip<8>(columns + from, out_dim, x, dim, out + from);
  for (; from < out_dim; from += 16) rotate_strip<2>(columns + from, out_dim, x, dim, out + from);
}

}  // namespace

constinit const RotateFn kRotateAvx2 = rotate;

constinit const VectorKernels kVectorKernelsAvx2[4] = {
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
