#pragma once

#include <cstddef>
#include <cstdint>

#include <tiervec/core/dtype.h>
#include <tiervec/core/simd.h>

namespace tiervec {

/// Distances between full vectors of one element type. The pair_* functions take two stored vectors; the query_*
/// functions take a query of query_dtype() and a stored vector. No alignment is asked for.
struct VectorKernels {
  using Fn = float (*)(const void* a, const void* b, std::size_t dim) noexcept;
  using RowsFn = void (*)(const void* query, const std::byte* const* rows, std::size_t count, std::size_t dim,
                          float* out) noexcept;

  Fn pair_l2;  // squared
  Fn pair_dot;
  Fn query_l2;  // squared
  Fn query_dot;
  RowsFn query_l2_rows;  // the same of many vectors, bit by bit
  RowsFn query_dot_rows;
};

/// `kernel` of one row after the other, for a table of kernels.
template <VectorKernels::Fn kKernel>
void row_by_row(const void* query, const std::byte* const* rows, std::size_t count, std::size_t dim,
                float* out) noexcept {
  for (std::size_t i = 0; i < count; ++i) out[i] = kKernel(query, rows[i], dim);
}

/// Kernels of `dtype` for `level`, which must not be above detected_simd_level().
const VectorKernels& vector_kernels(Dtype dtype, SimdLevel level = simd_level()) noexcept;

/// out = matrix * x, the matrix stored by columns: `dim` columns of `out_dim` half floats, out_dim a multiple of 16.
using RotateFn = void (*)(const std::uint16_t* columns, std::size_t out_dim, const float* x, std::size_t dim,
                          float* out) noexcept;
RotateFn rotate_kernel(SimdLevel level = simd_level()) noexcept;

/// `count` elements to float32.
void widen(Dtype dtype, const void* from, std::size_t count, float* to) noexcept;

// One table per instruction set, indexed by Dtype; each lives in a file compiled for it.
extern const VectorKernels kVectorKernelsPortable[4];
extern const VectorKernels kVectorKernelsAvx2[4];
extern const VectorKernels kVectorKernelsAvx512[4];
extern const RotateFn kRotatePortable;
extern const RotateFn kRotateAvx2;
extern const RotateFn kRotateAvx512;

}  // namespace tiervec
