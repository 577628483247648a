#include <tiervec/graph_index/record_layout.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include <tiervec/core/record_hash.h>
#include <tiervec/core/status.h>

namespace tiervec::graph_index {
namespace {

std::uint32_t record_check(const RecordLayout& layout, std::uint32_t vertex, const std::byte* record,
                           std::uint32_t bytes) noexcept {
  RecordHash hash(layout.salt, vertex);
  hash.add(record, layout.check_at());
  hash.add(record + layout.label_at(), bytes - layout.label_at());
  return hash.value();
}

}  // namespace

RecordLayout RecordLayout::fit(std::uint32_t dim, Dtype dtype, std::uint32_t count, std::uint64_t largest_label,
                               std::uint32_t max_degree) {
  RecordLayout layout;
  layout.dim = dim;
  layout.dtype = dtype;
  layout.id_bits = std::max<std::uint32_t>(1, static_cast<std::uint32_t>(std::bit_width(count > 0 ? count - 1 : 0)));
  layout.label_bytes = static_cast<std::uint32_t>(std::bit_width(largest_label) + 7) / 8;
  while (layout.edge_units(max_degree) > 255) layout.unit *= 2;
  return layout;
}

RecordLayout RecordLayout::fit_plain(std::uint32_t dim, Dtype dtype, std::uint64_t largest_label) {
  RecordLayout layout = fit(dim, dtype, 0, largest_label, 0);
  layout.id_bits = kWideIdBits;
  layout.unit = kWideIdBits / 8;  // so the size in units is the number of neighbours
  return layout;
}

RecordLayout RecordLayout::fit_sectors(std::uint32_t dim, Dtype dtype, std::uint64_t largest_label,
                                       std::uint32_t max_degree) {
  RecordLayout layout = fit_plain(dim, dtype, largest_label);
  layout.sector_degree = std::max<std::uint32_t>(max_degree, 1);
  return layout;
}

void RecordLayout::check(std::uint32_t count) const {
  const bool is_wide = in_sectors() || id_bits == kWideIdBits;
  const RecordLayout right = is_wide ? fit_plain(dim, dtype, 0)
                                     : fit(dim, dtype, count, 0, kMaxDegree);  // which needs the largest unit there is
  const bool unit_exists = std::has_single_bit(unit) && (is_wide ? unit == right.unit : unit <= right.unit);
  if (count == 0 || dim == 0 || id_bits != right.id_bits || label_bytes > sizeof(std::uint64_t) || !unit_exists ||
      sector_degree > kMaxDegree) {
    throw Error(ErrorCode::kDataLoss, "the record layout (dim " + std::to_string(dim) + ", id_bits " +
                                          std::to_string(id_bits) + ", label_bytes " + std::to_string(label_bytes) +
                                          ", unit " + std::to_string(unit) + ", sector_degree " +
                                          std::to_string(sector_degree) + ") is none of an index of " +
                                          std::to_string(count) + " vectors");
  }
}

void RecordLayout::encode(std::uint32_t vertex, const std::byte* vector, std::uint64_t label,
                          std::span<const std::uint32_t> neighbors, std::byte* record) const noexcept {
  const auto degree = static_cast<std::uint32_t>(neighbors.size());
  const std::uint32_t bytes = stored_bytes(degree);
  std::memset(record, 0, bytes);
  std::memcpy(record, vector, vector_bytes());
  std::memcpy(record + label_at(), &label, label_bytes);
  record[degree_at()] = static_cast<std::byte>(degree);
  std::byte* edges = record + edges_at();
  std::uint64_t waiting = 0;
  std::uint32_t waiting_bits = 0;
  for (std::uint32_t id : neighbors) {
    waiting |= std::uint64_t{id} << waiting_bits;
    for (waiting_bits += id_bits; waiting_bits >= 8; waiting_bits -= 8, waiting >>= 8) {
      *edges++ = static_cast<std::byte>(waiting & 0xff);
    }
  }
  if (waiting_bits > 0) {
    *edges = static_cast<std::byte>(waiting & 0xff);
  }
  const std::uint32_t check = record_check(*this, vertex, record, bytes);
  std::memcpy(record + check_at(), &check, sizeof check);
}

std::uint64_t RecordLayout::label(std::uint32_t vertex, const std::byte* record) const noexcept {
  if (label_bytes == 0) {
    return vertex;
  }
  std::uint64_t label = 0;
  std::memcpy(&label, record + label_at(), label_bytes);
  return label;
}

bool RecordLayout::intact(std::uint32_t vertex, const std::byte* record, std::uint32_t bytes) const noexcept {
  std::uint32_t check;
  std::memcpy(&check, record + check_at(), sizeof check);
  return bytes == stored_bytes(degree(record)) && check == record_check(*this, vertex, record, bytes);
}

}  // namespace tiervec::graph_index
