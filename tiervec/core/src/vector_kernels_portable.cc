#include <cstdint>
#include <cstring>

#include <tiervec/core/half.h>
#include <tiervec/core/vector_kernels.h>

// The scalar reference of every other kernel, and what runs where no other does. Vectors inside records start at any
// byte, so elements are loaded through memcpy.

namespace tiervec {
namespace {

struct Half {
  std::uint16_t bits;
};

template <class T>
T load(const void* from, std::size_t i) noexcept {
  T value;
  std::memcpy(&value, static_cast<const char*>(from) + i * sizeof(T), sizeof(T));
  return value;
}

float as_float(float x) noexcept {
  return x;
}
float as_float(Half x) noexcept {
  return half_to_float(x.bits);
}

// Eight partial sums: the compiler may vectorise without reordering any one sum.
template <class A, class B, bool kL2>
float float_kernel(const void* a, const void* b, std::size_t dim) noexcept {
  constexpr std::size_t kLanes = 8;
  float sums[kLanes] = {};
  const auto step = [&](std::size_t i, std::size_t lane) {
    const float x = as_float(load<A>(a, i));
    const float y = as_float(load<B>(b, i));
    sums[lane] += kL2 ? (x - y) * (x - y) : x * y;
  };
  std::size_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) step(i + lane, lane);
  }
  for (; i < dim; ++i) step(i, i % kLanes);
  float sum = 0;
  for (float part : sums) sum += part;
  return sum;
}

template <class T, bool kL2>
float integer_kernel(const void* a, const void* b, std::size_t dim) noexcept {
  const T* x = static_cast<const T*>(a);
  const T* y = static_cast<const T*>(b);
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < dim; ++i) {
    const std::int32_t p = x[i];  // NOLINT(bugprone-signed-char-misuse): numbers
    const std::int32_t q = y[i];  // NOLINT(bugprone-signed-char-misuse): numbers
    sum += kL2 ? (p - q) * (p - q) : p * q;
  }
  return static_cast<float>(sum);
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

void rotate(const std::uint16_t* columns, std::size_t out_dim, const float* x, std::size_t dim, float* out) noexcept {
  for (std::size_t j = 0; j < out_dim; ++j) out[j] = 0;
  for (std::size_t i = 0; i < dim; ++i) {
    for (std::size_t j = 0; j < out_dim; ++j) out[j] += half_to_float(columns[i * out_dim + j]) * x[i];
  }
}

}  // namespace

constinit const RotateFn kRotatePortable = rotate;

constinit const VectorKernels kVectorKernelsPortable[4] = {
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
