#include <tiervec/core/codes/dot_code.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>

#include <tiervec/core/half.h>
#include <tiervec/core/status.h>

namespace tiervec::codes {
namespace {

constexpr std::size_t kStateAlignment = 64;
constexpr std::uint32_t kBitChunk = 8;  // bytes of single bits that kernels load at once
constexpr std::uint32_t kLeastRow = 8;  // kernels load the last eight bytes at once
constexpr std::uint32_t kColumn = 4;    // bytes of a row in one column of a block
constexpr std::size_t kStrip = 16;      // outputs of a rotation kernel come in multiples of it
constexpr float kLargestHalf = 65504.0F;
// Largest value that a row stores, so that an estimate is finite whenever the query's squared norm is.
constexpr float kLargestAddend = 1e38F;
constexpr float kLargestFactor = 1e19F;
constexpr std::uint32_t kLargestQuery = 127;  // of a prepared query, either sign

template <class T>
T rounded_up(T value, T unit) {
  return (value + unit - 1) / unit * unit;
}

void check(const DotCodeParameters& p, std::uint32_t code_bytes) {
  const auto fail = [](const std::string& what) {
    throw Error(ErrorCode::kInvalidArgument, "code parameters: " + what);
  };
  if (p.dim == 0 || p.center.size() != p.dim || p.widths.size() != p.dim || p.steps.size() != p.dim) {
    fail("center, widths and steps must have one entry for each of " + std::to_string(p.dim) + " dimensions");
  }
  const auto stored = static_cast<std::size_t>(
      std::count_if(p.widths.begin(), p.widths.end(), [](std::uint8_t width) { return width > 0; }));
  if (!p.rotation.empty() && (p.fast_rotation || p.rotation.size() != stored * p.dim)) {
    fail("the rotation must be " + std::to_string(stored) + " x " + std::to_string(p.dim) + ", and the only one");
  }
  if (code_bytes == 0) {
    fail("at least one dimension must have bits");
  }
  const bool bits = std::find(p.widths.begin(), p.widths.end(), 1) != p.widths.end();
  if (bits && p.row_bytes < rounded_up(code_bytes, kBitChunk)) {
    fail("a row of " + std::to_string(p.row_bytes) + " bytes must hold whole chunks of " + std::to_string(kBitChunk));
  }
  if (p.row_bytes < std::max(code_bytes + kFactorBytes, kLeastRow) || p.row_bytes > (1u << 20)) {
    fail("a row of " + std::to_string(p.row_bytes) + " bytes cannot hold " + std::to_string(code_bytes) +
         " bytes of code and " + std::to_string(kFactorBytes) + " of factors");
  }
  const auto finite = [](const std::vector<float>& values) {
    return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
  };
  if (!finite(p.center) || !finite(p.rotation) || !finite(p.steps) ||
      std::any_of(p.steps.begin(), p.steps.end(), [](float step) { return step < 0; })) {
    fail("center, rotation and steps must be finite, and steps not negative");
  }
}

void normalize(float* vector, std::size_t dim) noexcept {
  float norm = 0;
  for (std::size_t i = 0; i < dim; ++i) norm += vector[i] * vector[i];
  if (norm > 0) {
    const float inverse = 1.0F / std::sqrt(norm);
    for (std::size_t i = 0; i < dim; ++i) vector[i] *= inverse;
  }
}

// The upper three bytes of a float32, rounded.
void store_upper_bytes(float value, float largest, std::uint8_t* to) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(std::clamp(value, -largest, largest)) + 0x80;
  for (int byte = 1; byte < 4; ++byte) *to++ = static_cast<std::uint8_t>(bits >> (8 * byte));
}

float load_upper_bytes(const std::uint8_t* at) noexcept {
  std::uint32_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return std::bit_cast<float>(bits & kFactorMask);
}

// A vector that lies almost across its code, in dimensions without bits, would be corrected by noise: it is projected.
float unbiased_factor(float squared, float agreement, float reconstructed) noexcept {
  constexpr float kLeastCosine = 0.25F;
  if (agreement <= 0) return 0;
  const float cosine = agreement / std::sqrt(squared) / std::sqrt(reconstructed);
  return cosine >= kLeastCosine ? squared / agreement : agreement / reconstructed;
}

bool has_wide_field(std::uint32_t mask) noexcept {
  for (std::uint32_t byte = 0; byte < 4; ++byte) {
    if ((mask >> (8 * byte) & 0xff) == 0xff) return true;
  }
  return false;
}

/// The largest sums of products that pairs of bytes may have come to.
class PairSums {
 public:
  /// Adds fields of these masks. True: with what was there before, the sums might not fit int16; they begin with these.
  bool overflow_with(std::uint32_t mask) noexcept {
    std::uint32_t added[2];
    bool fits = true;
    for (std::uint32_t pair = 0; pair < 2; ++pair) {
      added[pair] = kLargestQuery * ((mask >> (16 * pair) & 0xff) + (mask >> (16 * pair + 8) & 0xff));
      fits = fits && most_[pair] + added[pair] <= INT16_MAX;
    }
    for (std::uint32_t pair = 0; pair < 2; ++pair) most_[pair] = (fits ? most_[pair] : 0) + added[pair];
    return !fits;
  }

 private:
  std::uint32_t most_[2] = {};
};

}  // namespace

DotCode::DotCode(DotCodeParameters parameters, SimdLevel level)
    : parameters_(std::move(parameters)), layout_(pack_fields(parameters_.widths)) {
  check(parameters_, layout_.code_bytes);
  arrange_rotation(level);
  output_steps_.assign(rotated_size_, 0);
  output_levels_.assign(rotated_size_, 1);
  for (std::uint32_t d = 0; d < parameters_.dim; ++d) {
    if (parameters_.widths[d] == 0) continue;
    const auto output = static_cast<std::size_t>(output_of_[d]);
    output_steps_[output] = parameters_.steps[d];
    output_levels_[output] = 1 << parameters_.widths[d];
  }
  shape_.row_bytes = parameters_.row_bytes;
  block_.columns = (std::max(layout_.code_bytes + kFactorBytes, 2 * kColumn) + kColumn - 1) / kColumn;
  block_.block_bytes = block_.columns * DotBlockShape::kColumnBytes;
  block_.planes = layout_.planes;
  block_.plane_shift = layout_.plane_shift;
  if (layout_.plane_shift == 1) {
    arrange_bits();
  } else {
    arrange_fields();
    arrange_blocks();
  }
  block_.fields = block_fields_.data();
  choose_kernels(level);
}

void DotCode::arrange_fields() {
  shape_.chunk_bytes = parameters_.row_bytes <= 32 ? 32 : 64;
  shape_.chunks = (layout_.code_bytes + shape_.chunk_bytes - 1) / shape_.chunk_bytes;
  masks_.assign(std::size_t{shape_.chunks} * kPlanes * shape_.chunk_bytes, 0);
  plane_output_.assign(masks_.size(), static_cast<std::uint32_t>(rotated_size_));
  for (std::uint32_t byte = 0; byte < layout_.code_bytes; ++byte) {
    for (std::uint32_t plane = 0; plane < kPlanes; ++plane) {
      const std::size_t at =
          (std::size_t{byte / shape_.chunk_bytes} * kPlanes + plane) * shape_.chunk_bytes + byte % shape_.chunk_bytes;
      masks_[at] = layout_.mask[plane][byte];
      const std::int32_t d = layout_.dimension[plane][byte];
      if (d != FieldLayout::kNoDimension) {
        plane_output_[at] = static_cast<std::uint32_t>(output_of_[static_cast<std::size_t>(d)]);
      }
    }
  }
  shape_.masks = masks_.data();
  shape_.has_wide_fields = std::find(masks_.begin(), masks_.end(), 0xff) != masks_.end();
}

// Values of the query by bit for rows, then by plane for blocks.
void DotCode::arrange_bits() {
  shape_.chunk_bytes = kBitChunk;
  shape_.chunks = (layout_.code_bytes + kBitChunk - 1) / kBitChunk;
  const std::uint32_t row_values = shape_.chunks * kBitChunk * kMaxPlanes;
  const std::uint32_t plane_values = rounded_up(layout_.code_bytes, kColumn);
  plane_output_.assign(std::size_t{row_values} + kMaxPlanes * std::size_t{plane_values},
                       static_cast<std::uint32_t>(rotated_size_));
  for (std::uint32_t plane = 0; plane < kMaxPlanes; ++plane) {
    const std::uint32_t plane_at = row_values + plane * plane_values;
    std::uint32_t mask = 0;
    for (std::uint32_t byte = 0; byte < plane_values; ++byte) {
      const bool stored = byte < layout_.code_bytes && layout_.mask[plane][byte] != 0;
      if (stored) {
        const auto d = static_cast<std::size_t>(layout_.dimension[plane][byte]);
        const auto output = static_cast<std::uint32_t>(output_of_[d]);
        plane_output_[byte * kMaxPlanes + plane] = output;
        plane_output_[plane_at + byte] = output;
        mask |= 1U << (8 * (byte % kColumn) + plane);
      }
      if (byte % kColumn != kColumn - 1) continue;
      const std::uint32_t column = byte / kColumn;
      // So many sums of pairs of bytes fit int16.
      constexpr std::uint32_t kUnwidened = INT16_MAX / (2 * kLargestQuery);
      const auto added = static_cast<std::uint32_t>(block_fields_.size());
      if (mask != 0) {
        block_fields_.push_back({.at = column * DotBlockShape::kColumnBytes,
                                 .mask = mask,
                                 .query_at = plane_at + column * kColumn,
                                 .wide = false,
                                 .widen = added > 0 && added % kUnwidened == 0});
      }
      mask = 0;
    }
    block_.plane_begin[plane + 1] = static_cast<std::uint32_t>(block_fields_.size());
  }
}

void DotCode::choose_kernels([[maybe_unused]] SimdLevel level) {
  dot_ = vector_kernels(Dtype::kFloat32, level).pair_dot;
  rotate_ = rotate_kernel(level);
  const bool bits = layout_.plane_shift == 1;
  kernel_ = bits ? bit_distances_portable : dot_distances_portable;
  scan_ = dot_scan_portable;
#ifdef TIERVEC_X86
  if (level == SimdLevel::kAvx512) {
    kernel_ = bits ? bit_distances_avx512 : dot_distances_avx512;
    scan_ = dot_scan_avx512;
  }
  if (level == SimdLevel::kAvx2) {
    kernel_ = bits ? bit_distances_avx2 : dot_distances_avx2;
    scan_ = dot_scan_avx2;
  }
#endif
}

void DotCode::arrange_blocks() {
  PairSums sums;
  for (std::uint32_t plane = 0; plane < kPlanes; ++plane) {
    for (std::uint32_t column = 0; column * kColumn < layout_.code_bytes; ++column) {
      const std::uint32_t byte = column * kColumn;
      const std::size_t at =
          (std::size_t{byte / shape_.chunk_bytes} * kPlanes + plane) * shape_.chunk_bytes + byte % shape_.chunk_bytes;
      std::uint32_t mask;
      std::memcpy(&mask, masks_.data() + at, sizeof mask);
      if (mask == 0) continue;
      const bool wide = has_wide_field(mask);
      block_fields_.push_back({.at = column * DotBlockShape::kColumnBytes,
                               .mask = mask << (2 * plane),
                               .query_at = static_cast<std::uint32_t>(at),
                               .wide = wide,
                               .widen = !wide && sums.overflow_with(mask)});
    }
    block_.plane_begin[plane + 1] = static_cast<std::uint32_t>(block_fields_.size());
  }
}

// A dimension without bits is never looked at: its part of a norm comes from the centred vector.
void DotCode::arrange_rotation(SimdLevel level) {
  const std::size_t dim = parameters_.dim;
  output_of_.assign(dim, FieldLayout::kNoDimension);
  if (parameters_.fast_rotation) fast_rotation_.emplace(dim, *parameters_.fast_rotation, level);
  if (parameters_.rotation.empty()) {
    std::iota(output_of_.begin(), output_of_.end(), 0);
    rotated_size_ = dim;
    return;
  }
  std::int32_t stored = 0;
  for (std::size_t d = 0; d < dim; ++d) {
    if (parameters_.widths[d] > 0) output_of_[d] = stored++;
  }
  const std::size_t outputs = rounded_up(static_cast<std::size_t>(stored), kStrip);
  rotated_size_ = outputs;
  rotation_columns_.assign(dim * outputs, 0);
  for (std::size_t output = 0; output < static_cast<std::size_t>(stored); ++output) {
    for (std::size_t i = 0; i < dim; ++i) {
      const float value = std::clamp(parameters_.rotation[output * dim + i], -kLargestHalf, kLargestHalf);
      rotation_columns_[i * outputs + output] = float_to_half(value);
    }
  }
  parameters_.rotation.clear();
  parameters_.rotation.shrink_to_fit();
}

// Query state: DotQuery, planes (int8), then scratch for the centred and the rotated query.
std::size_t DotCode::query_bytes() const noexcept {
  return kStateAlignment + rounded_up(plane_output_.size(), kStateAlignment) +
         rounded_up(sizeof(float) * (scratch_size() + rotated_size_), kStateAlignment);
}

std::size_t DotCode::parameter_bytes() const noexcept {
  return (parameters_.center.size() + parameters_.steps.size() + output_steps_.size()) * sizeof(float) +
         rotation_columns_.size() * sizeof(std::uint16_t) + masks_.size() +
         (fast_rotation_ ? fast_rotation_->bytes() : 0) + block_fields_.size() * sizeof(DotBlockShape::Field) +
         (plane_output_.size() + output_levels_.size() + output_of_.size()) * sizeof(std::int32_t);
}

// Returns |x'|^2, which a rotation does not change.
float DotCode::center_and_rotate(const float* vector, float* centered, float* rotated) const noexcept {
  const std::size_t dim = parameters_.dim;
  std::copy_n(vector, dim, centered);
  if (parameters_.metric == Metric::kCosine) {
    normalize(centered, dim);
  }
  for (std::size_t i = 0; i < dim; ++i) centered[i] -= parameters_.center[i];
  rotate(centered, rotated);
  return dot_(centered, centered, dim);
}

void DotCode::rotate(const float* centered, float* rotated) const noexcept {
  if (rotation_columns_.empty()) {
    std::copy_n(centered, parameters_.dim, rotated);
    if (fast_rotation_) fast_rotation_->apply(rotated);
  } else {
    rotate_(rotation_columns_.data(), rotated_size_, centered, parameters_.dim, rotated);
  }
}

struct DotCode::Origin {
  const float* rotated = nullptr;  // T (o - c); null: the origin is the center itself
  float offset = 0;                // added to each row's estimate
};

void DotCode::encode(const float* vectors, std::size_t count, std::uint8_t* rows) const {
  std::vector<float> scratch(parameters_.dim + rotated_size_);
  float* rotated = scratch.data() + parameters_.dim;
  for (std::size_t i = 0; i < count; ++i) {
    const float squared = center_and_rotate(vectors + i * parameters_.dim, scratch.data(), rotated);
    const float along_center = dot_(parameters_.center.data(), scratch.data(), parameters_.dim);
    encode_row({}, squared, along_center, rotated, rows + i * parameters_.row_bytes);
  }
}

void DotCode::encode_residuals(const float* vectors, const float* origin, float origin_offset, std::size_t count,
                               std::uint8_t* rows) const {
  const std::size_t dim = parameters_.dim;
  std::vector<float> residual(dim);
  std::vector<float> rotated(rotated_size_);
  std::vector<float> rotated_origin(rotated_size_);
  for (std::size_t i = 0; i < dim; ++i) residual[i] = origin[i] - parameters_.center[i];
  rotate(residual.data(), rotated_origin.data());
  for (std::size_t i = 0; i < count; ++i) {
    std::copy_n(vectors + i * dim, dim, residual.begin());
    if (parameters_.metric == Metric::kCosine) normalize(residual.data(), dim);
    for (std::size_t d = 0; d < dim; ++d) residual[d] -= origin[d];
    rotate(residual.data(), rotated.data());
    // An inner product with the residual has an error of |q - c| |r|: written about the origin it would be |q - o| |r|,
    // and the origin may be much longer than any query.
    const bool about_center = parameters_.metric == Metric::kIp;
    const float* const about = about_center ? parameters_.center.data() : origin;
    encode_row({about_center ? nullptr : rotated_origin.data(), origin_offset},
               dot_(residual.data(), residual.data(), dim), dot_(about, residual.data(), dim), rotated.data(),
               rows + i * parameters_.row_bytes);
  }
}

void DotCode::encode_row(const Origin& origin, float squared, float along_origin, const float* rotated,
                         std::uint8_t* row) const noexcept {
  std::memset(row, 0, parameters_.row_bytes);
  float reconstructed = 0;  // |x^|^2
  float agreement = 0;      // <x', x^>
  float from_origin = 0;    // <T (o - c), x^>
  const float scale = parameters_.unbiased && squared > 0 ? 1.0F / std::sqrt(squared) : 1.0F;
  for (std::uint32_t plane = 0; plane < layout_.planes; ++plane) {
    for (std::uint32_t byte = 0; byte < layout_.code_bytes; ++byte) {
      const std::int32_t d = layout_.dimension[plane][byte];
      if (d == FieldLayout::kNoDimension) continue;
      const float step = parameters_.steps[static_cast<std::size_t>(d)];
      const float levels = static_cast<float>(1u << parameters_.widths[static_cast<std::size_t>(d)]);
      const float x = rotated[output_of_[static_cast<std::size_t>(d)]];
      const float u = step > 0 ? std::clamp(std::floor(x * scale / step + levels / 2), 0.0F, levels - 1) : levels / 2;
      const float grid = (u + 0.5F - levels / 2) * step;
      row[byte] = static_cast<std::uint8_t>(row[byte] | (static_cast<unsigned>(u) << (layout_.plane_shift * plane)));
      reconstructed += grid * grid;
      agreement += x * grid;
      if (origin.rotated != nullptr) from_origin += origin.rotated[output_of_[static_cast<std::size_t>(d)]] * grid;
    }
  }
  float addend = reconstructed;
  float factor = 1;
  if (parameters_.unbiased) {
    addend = squared;
    factor = unbiased_factor(squared, agreement, reconstructed);
  }
  if (parameters_.metric == Metric::kL2) factor *= 2;
  if (parameters_.metric == Metric::kCosine) addend *= 0.5F;
  if (parameters_.metric == Metric::kIp) addend = -along_origin;
  addend += factor * from_origin + origin.offset;
  std::uint8_t* factors = row + parameters_.row_bytes - kFactorBytes;
  store_upper_bytes(addend, kLargestAddend, factors);
  store_upper_bytes(factor, kLargestFactor, factors + 3);
}

void DotCode::make_query(const float* query, std::byte* state) const noexcept {
  auto* head = reinterpret_cast<DotQuery*>(state);
  auto* planes = reinterpret_cast<std::int8_t*>(state + kStateAlignment);
  auto* centered =
      reinterpret_cast<float*>(state + kStateAlignment + rounded_up(plane_output_.size(), kStateAlignment));
  float* rotated = centered + scratch_size();
  const float squared = center_and_rotate(query, centered, rotated);

  float largest = 0;
  for (std::size_t i = 0; i < rotated_size_; ++i) {
    rotated[i] *= output_steps_[i];
    largest = std::max(largest, std::fabs(rotated[i]));
  }
  const float unit = largest > 0 ? largest / static_cast<float>(kLargestQuery) : 1.0F;
  const float per_unit = 1.0F / unit;
  auto* rounded = reinterpret_cast<std::int32_t*>(centered);  // of the size of `rotated`, and one more
  std::int32_t twice_shift = 0;
  for (std::size_t i = 0; i < rotated_size_; ++i) {
    // Adding and taking away 1.5 * 2^23 rounds to the nearest whole number, without a call.
    rounded[i] = static_cast<std::int32_t>((rotated[i] * per_unit + 12582912.0F) - 12582912.0F);
    twice_shift += rounded[i] * (1 - output_levels_[i]);
  }
  rounded[rotated_size_] = 0;
  for (std::size_t at = 0; at < plane_output_.size(); ++at) {
    planes[at] = static_cast<std::int8_t>(rounded[plane_output_[at]]);
  }
  const float shift = static_cast<float>(twice_shift) / 2;
  head->dot_shift = shift;
  head->dot_scale = unit;
  switch (parameters_.metric) {
    case Metric::kL2:
      head->offset = squared;
      break;
    case Metric::kCosine:
      head->offset = squared / 2;
      break;
    case Metric::kIp:
      head->offset = -dot_(query, parameters_.center.data(), parameters_.dim);
      break;
  }
}

void DotCode::distances(const std::byte* state, const std::uint8_t* rows, const std::uint32_t* ids, std::uint32_t count,
                        float* out) const noexcept {
  kernel_(shape_, *reinterpret_cast<const DotQuery*>(state),
          reinterpret_cast<const std::int8_t*>(state + kStateAlignment), rows, ids, count, out);
}

float DotCode::decode(const std::uint8_t* row, float* vector) const {
  const std::size_t dim = parameters_.dim;
  const std::uint8_t* end = row + parameters_.row_bytes;
  const float addend = load_upper_bytes(end - kAddendFromEnd);
  const float scale = load_upper_bytes(end - kFactorFromEnd) * (parameters_.metric == Metric::kL2 ? 0.5F : 1.0F);
  std::vector<float> grid(rotated_size_);
  for (std::uint32_t plane = 0; plane < layout_.planes; ++plane) {
    for (std::uint32_t byte = 0; byte < layout_.code_bytes; ++byte) {
      const std::int32_t d = layout_.dimension[plane][byte];
      if (d == FieldLayout::kNoDimension) continue;
      const auto u = static_cast<float>((row[byte] >> (layout_.plane_shift * plane)) & layout_.mask[plane][byte]);
      const float levels = static_cast<float>(1u << parameters_.widths[static_cast<std::size_t>(d)]);
      grid[static_cast<std::size_t>(output_of_[static_cast<std::size_t>(d)])] =
          scale * (u + 0.5F - levels / 2) * parameters_.steps[static_cast<std::size_t>(d)];
    }
  }
  if (rotation_columns_.empty()) {
    std::copy_n(grid.begin(), dim, vector);
    if (fast_rotation_) fast_rotation_->revert(vector);
  } else {
    std::vector<float> column(rotated_size_);
    for (std::size_t i = 0; i < dim; ++i) {
      widen(Dtype::kFloat16, rotation_columns_.data() + i * rotated_size_, rotated_size_, column.data());
      vector[i] = dot_(column.data(), grid.data(), rotated_size_);
    }
  }
  const float squared = dot_(vector, vector, dim);
  const float along_center = dot_(parameters_.center.data(), vector, dim);
  for (std::size_t i = 0; i < dim; ++i) vector[i] += parameters_.center[i];
  switch (parameters_.metric) {
    case Metric::kL2:
      return addend - squared;
    case Metric::kCosine:
      return addend - squared / 2;
    case Metric::kIp:
      break;
  }
  return addend + along_center;
}

void DotCode::arrange_block(const std::uint8_t* rows, std::uint8_t* block) const noexcept {
  std::memset(block, 0, block_.block_bytes);
  const auto put = [&](std::uint32_t row, std::size_t at, std::uint8_t value) {
    block[at / kColumn * DotBlockShape::kColumnBytes + std::size_t{row} * kColumn + at % kColumn] = value;
  };
  const std::size_t factors_at = std::size_t{block_.columns} * kColumn - kFactorBytes;
  for (std::uint32_t i = 0; i < kBlockRows; ++i) {
    const std::uint8_t* row = rows + std::size_t{i} * parameters_.row_bytes;
    const std::uint8_t* factors = row + parameters_.row_bytes - kFactorBytes;
    for (std::size_t byte = 0; byte < layout_.code_bytes; ++byte) put(i, byte, row[byte]);
    for (std::size_t byte = 0; byte < kFactorBytes; ++byte) put(i, factors_at + byte, factors[byte]);
  }
}

void DotCode::scan(const std::byte* state, const ScanList& list, ScanHits& hits) const noexcept {
  scan_(block_, *reinterpret_cast<const DotQuery*>(state),
        reinterpret_cast<const std::int8_t*>(state + kStateAlignment), list, hits);
}

void DotCode::block_distances(const std::byte* state, const std::uint8_t* rows, std::uint32_t count,
                              float* out) const noexcept {
  distances(state, rows, nullptr, count, out);
}

}  // namespace tiervec::codes
