#include <tiervec/core/codes/fast_rotation.h>

#include <bit>
#include <cmath>
#include <string>

#include <tiervec/core/status.h>

namespace tiervec::codes {
namespace {

constexpr std::size_t kRounds = 4;
constexpr std::size_t kRoundsOfOneSpan = 3;  // where the span is everything

/// SplitMix64 (Steele, Lea and Flood, OOPSLA'14).
std::uint64_t next_random(std::uint64_t& state) noexcept {
  state += 0x9e3779b97f4a7c15U;
  std::uint64_t bits = state;
  bits = (bits ^ (bits >> 30U)) * 0xbf58476d1ce4e5b9U;
  bits = (bits ^ (bits >> 27U)) * 0x94d049bb133111ebU;
  return bits ^ (bits >> 31U);
}

}  // namespace

void hadamard_portable(float* x, std::size_t n) noexcept {
  for (std::size_t half = 1; half < n; half *= 2) {
    for (std::size_t first = 0; first < n; first += 2 * half) {
      for (std::size_t i = first; i < first + half; ++i) {
        const float a = x[i];
        const float b = x[i + half];
        x[i] = a + b;
        x[i + half] = a - b;
      }
    }
  }
}

HadamardFn hadamard_kernel([[maybe_unused]] SimdLevel level) noexcept {
#ifdef TIERVEC_X86
  if (level == SimdLevel::kAvx512) return hadamard_avx512;
  if (level == SimdLevel::kAvx2) return hadamard_avx2;
#endif
  return hadamard_portable;
}

FastRotation::FastRotation(std::size_t dim, std::uint64_t seed, SimdLevel level)
    : dim_(dim), span_(std::bit_floor(dim)), hadamard_(hadamard_kernel(level)) {
  if (dim < kLeastDim) {
    throw Error(ErrorCode::kInvalidArgument, "a fast rotation of " + std::to_string(dim) +
                                                 " dimensions; it must have at least " + std::to_string(kLeastDim));
  }
  rounds_ = span_ == dim_ ? kRoundsOfOneSpan : kRounds;
  scales_.resize(rounds_ * dim_);
  const float inside = 1.0F / std::sqrt(static_cast<float>(span_));
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < scales_.size(); ++i) {
    if (i % 64 == 0) bits = next_random(seed);
    scales_[i] = (bits >> (i % 64) & 1U) != 0 ? 1.0F : -1.0F;
  }
  for (std::size_t round = 0; round < rounds_; ++round) {
    float* span = span_of(round, scales_.data() + round * dim_);
    for (std::size_t i = 0; i < span_; ++i) span[i] *= inside;
  }
}

void FastRotation::apply(float* x) const noexcept {
  for (std::size_t round = 0; round < rounds_; ++round) {
    const float* scales = scales_.data() + round * dim_;
    for (std::size_t i = 0; i < dim_; ++i) x[i] *= scales[i];
    hadamard_(span_of(round, x), span_);
  }
}

// The transform without its normalisation is its own inverse times n; its scale is on the other side of it then.
void FastRotation::revert(float* x) const noexcept {
  for (std::size_t round = rounds_; round-- > 0;) {
    const float* scales = scales_.data() + round * dim_;
    hadamard_(span_of(round, x), span_);
    for (std::size_t i = 0; i < dim_; ++i) x[i] *= scales[i];
  }
}

}  // namespace tiervec::codes
