#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <tiervec/core/dtype.h>

namespace tiervec::codes {

/// A trained compression of vectors into rows of fixed size that live in fast memory, and the estimate of the distance
/// between a query and a row. Immutable and safe to share between threads.
///
/// A query is prepared once into a caller-owned state of query_bytes() (64-byte aligned); then distances() is called
/// with rows anywhere in memory. Estimates are in the unit of the metric: squared l2, minus the inner product, or
/// 1 - cosine.
class Code {
 public:
  Code() = default;
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  virtual ~Code() = default;

  [[nodiscard]] virtual std::uint32_t dim() const noexcept = 0;
  [[nodiscard]] virtual std::uint32_t row_bytes() const noexcept = 0;
  [[nodiscard]] virtual std::size_t query_bytes() const noexcept = 0;
  /// Fast memory that the trained parameters take, rows not counted.
  [[nodiscard]] virtual std::size_t parameter_bytes() const noexcept = 0;

  /// Encodes `count` float32 vectors of dim() into `rows`. Cosine: vectors need not be unit length.
  virtual void encode(const float* vectors, std::size_t count, std::uint8_t* rows) const = 0;

  /// Prepares one float32 query.
  virtual void make_query(const float* query, std::byte* state) const noexcept = 0;

  /// out[i] = distance of the query to row ids[i] of `rows`. Rows should have been prefetched. `out` has room for
  /// `count` rounded up to 16.
  virtual void distances(const std::byte* state, const std::uint8_t* rows, const std::uint32_t* ids,
                         std::uint32_t count, float* out) const noexcept = 0;

  /// The same for `count` consecutive rows.
  virtual void block_distances(const std::byte* state, const std::uint8_t* rows, std::uint32_t count,
                               float* out) const noexcept = 0;
};

}  // namespace tiervec::codes
