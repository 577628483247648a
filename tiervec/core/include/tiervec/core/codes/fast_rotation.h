#pragma once

// A rotation that costs d log d instead of d^2 and keeps no matrix: rounds of random signs and Hadamard transforms.
//
//   round r:   x_i := s_ri x_i,   then the normalised Hadamard transform of one span of n coordinates
//
//   n is the largest power of two up to d. Where d is none, the spans of odd and even rounds are the first and the last
//   n coordinates: they overlap, so that what is in one end reaches the other (as in the library of RaBitQ). The
//   variance of any vector is then spread over all coordinates, nearly evenly.
//
// Every instruction set adds in the same order: results are equal bit by bit.

#include <cstddef>
#include <cstdint>
#include <vector>

#include <tiervec/core/simd.h>

namespace tiervec::codes {

/// In place, without normalisation; n is a power of two from 16 on.
using HadamardFn = void (*)(float* x, std::size_t n) noexcept;

void hadamard_portable(float* x, std::size_t n) noexcept;
void hadamard_avx2(float* x, std::size_t n) noexcept;
void hadamard_avx512(float* x, std::size_t n) noexcept;
HadamardFn hadamard_kernel(SimdLevel level = simd_level()) noexcept;

class FastRotation {
 public:
  static constexpr std::size_t kLeastDim = 16;

  /// Throws Error(kInvalidArgument) below kLeastDim. The signs follow from the seed.
  FastRotation(std::size_t dim, std::uint64_t seed, SimdLevel level = simd_level());

  /// Rotates `x` of dim floats in place.
  void apply(float* x) const noexcept;
  /// The inverse.
  void revert(float* x) const noexcept;

  [[nodiscard]] std::size_t bytes() const noexcept { return scales_.size() * sizeof(float); }

 private:
  [[nodiscard]] float* span_of(std::size_t round, float* x) const noexcept {
    return round % 2 == 0 ? x : x + (dim_ - span_);
  }

  std::size_t dim_;
  std::size_t span_;
  std::size_t rounds_;
  std::vector<float> scales_;  // rounds x dim: the signs, in a span times 1 / sqrt(span)
  HadamardFn hadamard_;
};

}  // namespace tiervec::codes
