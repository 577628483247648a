#include <tiervec/core/magnitude.h>

#include <algorithm>
#include <bit>
#include <cstdint>

namespace tiervec {

// Without the sign, floats are ordered as their bits are: finite ones, then infinity, then NaN.
float largest_magnitude(const float* values, std::size_t count) noexcept {
  std::int32_t largest = 0;
  for (std::size_t i = 0; i < count; ++i) {
    largest = std::max(largest, std::bit_cast<std::int32_t>(values[i]) & 0x7fffffff);
  }
  return std::bit_cast<float>(largest);
}

}  // namespace tiervec
