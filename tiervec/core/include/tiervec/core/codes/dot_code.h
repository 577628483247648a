#pragma once

// DotCode: rows whose distance estimate is one integer dot product and two factors per row.
//
//   x' = T (x - c), each stored dimension i rounded to a grid:  x^_i = (u_i + 1/2 - 2^(w_i - 1)) * step_i
//   l2       |q' - x'|^2  =  |q'|^2 + addend(x) - factor(x) * <q', x^>
//   ip       -<q, x>      =  -<q, c> + addend(x) - factor(x) * <q', x^>, with addend(x) = -<c, x - c>
//   cosine   half the l2 of the unit vectors
//
// Rows may also be relative to an origin o that they share: r = x - o is coded, and with S = factor * <T (o - c), r^>
//   l2       |q' - x'|^2  =  |q - o|^2 + addend(r) + S - factor(r) * <q', r^>, and alike for cosine and ip
// so a scan adds one number per origin and nothing per row.
//
// Two trainings share it:
//   rabitq   c = mean, T = PCA rotation, w_i by the variance of dimension i; it is the direction x' / |x'| that
//            is rounded, so vectors of any length fit the grid; factor = 2 |x'|^2 / <x', x^> makes the estimate
//            unbiased around the vector itself (RaBitQ, SIGMOD'24, section 3.2; bits by variance: SAQ, 2025)
//   sq       c = middle of the range, no rotation, one width; addend = |x^|^2, factor = 2 (plain reconstruction)

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <tiervec/core/codes/code.h>
#include <tiervec/core/codes/fast_rotation.h>
#include <tiervec/core/codes/field_layout.h>
#include <tiervec/core/simd.h>
#include <tiervec/core/vector_kernels.h>

namespace tiervec::codes {

struct DotCodeParameters {
  Metric metric = Metric::kL2;
  std::uint32_t dim = 0;
  std::uint32_t row_bytes = 0;  // at least the packed fields plus kFactorBytes, and 8
  std::vector<float> center;    // dim
  std::vector<float> rotation;  // stored x dim: row i gives the i-th dimension of x' that has bits; empty: none
  // Without a rotation: a fast one of this seed.
  std::optional<std::uint64_t> fast_rotation;
  std::vector<std::uint8_t> widths;  // dim; bits per dimension of x': 0, 2, 4, 6, 8, or 0 and 1
  std::vector<float> steps;          // dim; grid step, 0 where the width is 0
  bool unbiased = true;              // rabitq: true; sq: false
};

/// What distance kernels read of a prepared query. Followed in memory by the planes: for each chunk of the row, four
/// times chunk bytes of int8.
struct DotQuery {
  float offset = 0;     // part of the distance that does not depend on the row
  float dot_shift = 0;  // the grid's middle, times the query: added to the integer dot product
  float dot_scale = 0;  // integer dot product to <q', x^>
};

/// How kernels walk a row. A row up to 32 bytes has one chunk of 32, else chunks of 64. Of single bits a chunk is 8
/// bytes, and the planes begin with a query value for each bit, in order.
struct DotRowShape {
  std::uint32_t row_bytes = 0;
  std::uint32_t chunk_bytes = 64;
  std::uint32_t chunks = 0;
  const std::uint8_t* masks = nullptr;  // per chunk: 4 x chunk_bytes
  bool has_wide_fields = false;         // of eight bits
};

/// A block of a scan: 16 rows by columns of 4 bytes, so that a register holds the same column of all rows.
///
///   | bytes 0..3 of rows 0..15 | bytes 4..7 of rows 0..15 | ... | the last four bytes of rows 0..15 |
///
/// Bytes between the code and the factors are cut to what fills the last column: the factors end it as they end a row.
/// Fields are multiplied where they are in their bytes, those at bit 2p as 4^p times their value. Plane after plane,
/// the highest first, the sum so far is divided by 4 in between: nothing is shifted but sums, and all is exact.
struct DotBlockShape {
  static constexpr std::uint32_t kColumnBytes = kBlockRows * 4;

  /// The fields of one plane in one column.
  struct Field {
    std::uint32_t at = 0;        // byte offset of the column in a block
    std::uint32_t mask = 0;      // of the four bytes
    std::uint32_t query_at = 0;  // byte offset in the query's planes
    bool wide = false;           // there are fields of eight bits among the four
    bool widen = false;          // the int16 sums of pairs of bytes so far and this field's may not fit int16 together
  };

  std::uint32_t columns = 0;  // with the factors
  std::uint32_t block_bytes = 0;
  const Field* fields = nullptr;                // by plane
  std::uint32_t plane_begin[kMaxPlanes + 1]{};  // plane p has the fields plane_begin[p] to plane_begin[p + 1]
  std::uint32_t planes = kPlanes;
  std::uint32_t plane_shift = 2;
};

using DotScanFn = void (*)(const DotBlockShape& shape, const DotQuery& query, const std::int8_t* planes,
                           const ScanList& list, ScanHits& hits) noexcept;

void dot_scan_portable(const DotBlockShape&, const DotQuery&, const std::int8_t*, const ScanList&, ScanHits&) noexcept;
void dot_scan_avx2(const DotBlockShape&, const DotQuery&, const std::int8_t*, const ScanList&, ScanHits&) noexcept;
void dot_scan_avx512(const DotBlockShape&, const DotQuery&, const std::int8_t*, const ScanList&, ScanHits&) noexcept;

using DotDistancesFn = void (*)(const DotRowShape& shape, const DotQuery& query, const std::int8_t* planes,
                                const std::uint8_t* rows, const std::uint32_t* ids, std::uint32_t count,
                                float* out) noexcept;

// ids == nullptr means consecutive rows.
void dot_distances_portable(const DotRowShape&, const DotQuery&, const std::int8_t*, const std::uint8_t*,
                            const std::uint32_t*, std::uint32_t, float*) noexcept;
void dot_distances_avx2(const DotRowShape&, const DotQuery&, const std::int8_t*, const std::uint8_t*,
                        const std::uint32_t*, std::uint32_t, float*) noexcept;
void dot_distances_avx512(const DotRowShape&, const DotQuery&, const std::int8_t*, const std::uint8_t*,
                          const std::uint32_t*, std::uint32_t, float*) noexcept;

/// The same of rows of single bits.
void bit_distances_portable(const DotRowShape&, const DotQuery&, const std::int8_t*, const std::uint8_t*,
                            const std::uint32_t*, std::uint32_t, float*) noexcept;
void bit_distances_avx2(const DotRowShape&, const DotQuery&, const std::int8_t*, const std::uint8_t*,
                        const std::uint32_t*, std::uint32_t, float*) noexcept;
void bit_distances_avx512(const DotRowShape&, const DotQuery&, const std::int8_t*, const std::uint8_t*,
                          const std::uint32_t*, std::uint32_t, float*) noexcept;

class DotCode final : public Code {
 public:
  /// Throws Error(kInvalidArgument) when sizes or widths do not fit together.
  explicit DotCode(DotCodeParameters parameters, SimdLevel level = simd_level());

  [[nodiscard]] std::uint32_t dim() const noexcept override { return parameters_.dim; }
  [[nodiscard]] std::uint32_t row_bytes() const noexcept override { return parameters_.row_bytes; }
  [[nodiscard]] std::size_t query_bytes() const noexcept override;
  [[nodiscard]] std::size_t parameter_bytes() const noexcept override;
  void encode(const float* vectors, std::size_t count, std::uint8_t* rows) const override;
  void make_query(const float* query, std::byte* state) const noexcept override;
  void distances(const std::byte* state, const std::uint8_t* rows, const std::uint32_t* ids, std::uint32_t count,
                 float* out) const noexcept override;
  void block_distances(const std::byte* state, const std::uint8_t* rows, std::uint32_t count,
                       float* out) const noexcept override;
  float decode(const std::uint8_t* row, float* vector) const override;
  [[nodiscard]] bool has_origins() const noexcept override { return true; }
  [[nodiscard]] float center_distance(const std::byte* state) const noexcept override {
    return reinterpret_cast<const DotQuery*>(state)->offset;
  }
  void encode_residuals(const float* vectors, const float* origin, float origin_offset, std::size_t count,
                        std::uint8_t* rows) const override;
  [[nodiscard]] std::size_t block_bytes() const noexcept override { return block_.block_bytes; }
  void arrange_block(const std::uint8_t* rows, std::uint8_t* block) const noexcept override;
  void scan(const std::byte* state, const ScanList& list, ScanHits& hits) const noexcept override;

  [[nodiscard]] const DotCodeParameters& parameters() const noexcept { return parameters_; }

 private:
  // What a row is relative to: the code's center, or an origin that rows share.
  struct Origin;

  // The centred query, later the rounded one and a zero.
  [[nodiscard]] std::size_t scratch_size() const noexcept {
    return std::max<std::size_t>(parameters_.dim, rotated_size_ + 1);
  }
  float center_and_rotate(const float* vector, float* centered, float* rotated) const noexcept;
  void rotate(const float* centered, float* rotated) const noexcept;
  // `along_origin` is <o, x - o>.
  void encode_row(const Origin& origin, float squared, float along_origin, const float* rotated,
                  std::uint8_t* row) const noexcept;

  void arrange_rotation(SimdLevel level);
  void arrange_fields();
  void arrange_bits();
  void choose_kernels(SimdLevel level);
  void arrange_blocks();

  DotCodeParameters parameters_;
  // By columns, stored dimensions only, padded to the kernel's strip. Half floats: a lone query finds them in no cache,
  // and their rounding is far below that of the query. Without a rotation every dimension is its own.
  std::vector<std::uint16_t> rotation_columns_;
  std::optional<FastRotation> fast_rotation_;
  std::size_t rotated_size_ = 0;
  std::vector<std::int32_t> output_of_;  // dimension of x' to its place in the rotated vector, or kNoDimension
  FieldLayout layout_;
  DotRowShape shape_;
  DotBlockShape block_;
  std::vector<DotBlockShape::Field> block_fields_;
  std::vector<std::uint8_t> masks_;
  std::vector<std::uint32_t>
      plane_output_;                 // of each value of the planes: its place in the rotated vector, or its size
  std::vector<float> output_steps_;  // like the rotated vector
  std::vector<std::int32_t> output_levels_;  // 1 << width
  RotateFn rotate_ = nullptr;
  VectorKernels::Fn dot_ = nullptr;
  DotDistancesFn kernel_ = nullptr;
  DotScanFn scan_ = nullptr;
};

}  // namespace tiervec::codes
