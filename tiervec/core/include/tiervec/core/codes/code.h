#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <tiervec/core/dtype.h>

namespace tiervec::codes {

/// Rows that are scanned lie in blocks of so many.
inline constexpr std::uint32_t kBlockRows = 16;

/// A block of a scan: which of its rows are looked at, and what they are relative to.
struct ScanBlock {
  std::uint32_t block = 0;    // row i is in block i / kBlockRows
  std::uint32_t rows = 0;     // bit i: row i of the block is looked at
  float origin_distance = 0;  // of the query to what the rows are relative to
};

/// Puts rows [first, end) behind `list` as blocks. Returns how many.
inline std::uint32_t list_blocks(std::uint32_t first, std::uint32_t end, float origin_distance,
                                 ScanBlock* list) noexcept {
  constexpr std::uint32_t kAllRows = (1U << kBlockRows) - 1;
  if (first >= end) return 0;
  const std::uint32_t from = first / kBlockRows;
  const std::uint32_t count = (end - 1) / kBlockRows - from + 1;
  for (std::uint32_t i = 0; i < count; ++i) list[i] = {from + i, kAllRows, origin_distance};
  list[0].rows &= kAllRows << (first % kBlockRows);
  list[count - 1].rows &= kAllRows >> (kBlockRows - 1 - (end - 1) % kBlockRows);
  return count;
}

/// What a scan looks at.
struct ScanList {
  const std::uint8_t* blocks = nullptr;  // 64-byte aligned
  const ScanBlock* chosen = nullptr;
  std::uint32_t count = 0;
  std::uint32_t ahead = 0;  // of chosen, behind the first `count`: what will be scanned next is brought into the caches
};

/// What a scan found: rows nearer than the bound, in no order. Borrowed storage.
struct ScanHits {
  float* distances = nullptr;
  std::uint32_t* rows = nullptr;
  std::uint32_t count = 0;
  float bound = 0;
};

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

  // Scans: rows relative to an origin that many of them share, in blocks.

  /// Writes the vector (dim floats) that a row stands for. Returns what distances() adds to the distance between query
  /// and vector, the same for every query: 0 where a row is estimated as what it stands for.
  virtual float decode(const std::uint8_t* row, float* vector) const = 0;

  /// False: encode_residuals() and scan() do not look at origins, rows are those of encode().
  [[nodiscard]] virtual bool has_origins() const noexcept { return false; }

  /// What scan() takes as origin_distance for rows of encode(), which are relative to nothing or to the code's center.
  [[nodiscard]] virtual float center_distance(const std::byte* /*state*/) const noexcept { return 0; }

  /// Encodes vectors relative to `origin` (dim floats). `origin_offset` is added to each row's estimate.
  virtual void encode_residuals(const float* vectors, const float* origin, float origin_offset, std::size_t count,
                                std::uint8_t* rows) const;

  [[nodiscard]] virtual std::size_t block_bytes() const noexcept { return std::size_t{kBlockRows} * row_bytes(); }

  /// Arranges kBlockRows rows as scan() wants them.
  virtual void arrange_block(const std::uint8_t* rows, std::uint8_t* block) const noexcept;

  /// Adds the rows of the list that are nearer than hits.bound; the bound stays. There is room for all of them and
  /// kBlockRows more.
  virtual void scan(const std::byte* state, const ScanList& list, ScanHits& hits) const noexcept;
};

}  // namespace tiervec::codes
