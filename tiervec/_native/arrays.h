#pragma once

// How numpy arrays cross into C++: always C-contiguous, on the CPU, never copied on the way.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <string>
#include <vector>

#include <tiervec/core/dtype.h>
#include <tiervec/core/status.h>

namespace tiervec::native {

/// A matrix of one of the four element types; float16 has no C++ type, so the dtype is looked at by hand.
using Matrix = nanobind::ndarray<nanobind::ro, nanobind::ndim<2>, nanobind::c_contig, nanobind::device::cpu>;

template <class T>
using Vector = nanobind::ndarray<const T, nanobind::ndim<1>, nanobind::c_contig, nanobind::device::cpu>;

inline Dtype dtype_of(const Matrix& matrix) {
  const auto type = matrix.dtype();
  const auto is = [&](nanobind::dlpack::dtype_code code, int bits) {
    return type.code == static_cast<std::uint8_t>(code) && type.bits == bits && type.lanes == 1;
  };
  if (is(nanobind::dlpack::dtype_code::Float, 32)) return Dtype::kFloat32;
  if (is(nanobind::dlpack::dtype_code::Float, 16)) return Dtype::kFloat16;
  if (is(nanobind::dlpack::dtype_code::Int, 8)) return Dtype::kInt8;
  if (is(nanobind::dlpack::dtype_code::UInt, 8)) return Dtype::kUint8;
  throw Error(ErrorCode::kInvalidArgument, "vectors must be float32, float16, int8 or uint8");
}

inline std::uint32_t row_count(const Matrix& matrix) {
  if (matrix.shape(0) > 0x7fffffffU) {
    throw Error(ErrorCode::kInvalidArgument,
                std::to_string(matrix.shape(0)) + " vectors; an index holds at most 2147483647");
  }
  return static_cast<std::uint32_t>(matrix.shape(0));
}

inline const std::byte* bytes_of(const Matrix& matrix) {
  return static_cast<const std::byte*>(matrix.data());
}

template <class T>
std::vector<T> copy_of(const Vector<T>& vector) {
  return std::vector<T>(vector.data(), vector.data() + vector.shape(0));
}

/// A new numpy array that owns `values`.
template <class T>
nanobind::object to_numpy(std::vector<T>&& values, std::initializer_list<std::size_t> shape) {
  auto* owned = new std::vector<T>(std::move(values));
  const nanobind::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return nanobind::cast(nanobind::ndarray<nanobind::numpy, T>(owned->data(), shape, owner));
}

}  // namespace tiervec::native
