#pragma once

// Included by the file of each instruction set: the compiler vectorises the loop for it.

#include <cstddef>

namespace tiervec {
namespace {

inline void rotate_loop(const float* columns, std::size_t out_dim, const float* x, std::size_t dim,
                        float* out) noexcept {
  constexpr std::size_t kStrip = 64;  // outputs whose sums stay in registers
  for (std::size_t from = 0; from < out_dim; from += kStrip) {
    float sums[kStrip] = {};
    for (std::size_t i = 0; i < dim; ++i) {
      const float* column = columns + i * out_dim + from;
      for (std::size_t j = 0; j < kStrip; ++j) sums[j] += column[j] * x[i];
    }
    for (std::size_t j = 0; j < kStrip; ++j) out[from + j] = sums[j];
  }
}

}  // namespace
}  // namespace tiervec
