#include <tiervec/graph_index/record_writer.h>

#include <algorithm>
#include <cstring>

#include <tiervec/core/output_file.h>
#include <tiervec/core/record_hash.h>
#include <tiervec/graph_index/candidate_list.h>

namespace tiervec::graph_index {
namespace {

/// What the sizes of records depend on.
struct Extent {
  std::uint32_t dim = 0;
  Dtype dtype = Dtype::kFloat32;
  std::uint32_t count = 0;
  std::uint64_t largest_label = 0;  // 0: labels are the vertices
  std::uint32_t max_degree = 0;
};

/// Gathers the salt of a build.
class SaltHash {
 public:
  explicit SaltHash(std::uint64_t description) : hash_(description) {}

  void add(const std::byte* vector, std::size_t vector_bytes, std::uint64_t label,
           std::span<const std::uint32_t> neighbors) noexcept {
    hash_.add(vector, vector_bytes);
    hash_.add(reinterpret_cast<const std::byte*>(&label), sizeof label);
    hash_.add(reinterpret_cast<const std::byte*>(neighbors.data()), neighbors.size_bytes());
  }
  [[nodiscard]] std::uint64_t value() noexcept { return hash_.wide_value(); }

 private:
  RecordHash hash_;
};

RecordLayout layout_for(const Extent& extent, RecordForm form) {
  if (extent.max_degree > RecordLayout::kMaxDegree) {
    throw Error(ErrorCode::kInvalidArgument,
                "a vertex has " + std::to_string(extent.max_degree) + " neighbours; a record holds at most 255");
  }
  switch (form) {
    case RecordForm::kPlain:
      return RecordLayout::fit_plain(extent.dim, extent.dtype, extent.largest_label);
    case RecordForm::kSectors:
      return RecordLayout::fit_sectors(extent.dim, extent.dtype, extent.largest_label, extent.max_degree);
    case RecordForm::kPacked:
      break;
  }
  return RecordLayout::fit(extent.dim, extent.dtype, extent.count, extent.largest_label, extent.max_degree);
}

/// Appends records in the order of their vertices.
class RecordStream {
 public:
  RecordStream(const Extent& extent, const RecordTarget& target, std::uint64_t salt, WorkMonitor* monitor)
      : count_(extent.count), file_(target.path), monitor_(monitor) {
    written_.layout = layout_for(extent, target.form);
    written_.layout.salt = salt;
    if (!written_.layout.in_sectors()) {
      written_.locator.resize((count_ + LocatorGroup::kRecords - 1) / LocatorGroup::kRecords);
    }
  }

  void append(std::uint32_t vertex, const std::byte* vector, std::uint64_t label,
              std::span<const std::uint32_t> neighbors) {
    if (vertex % 4096 == 0 && monitor_ != nullptr && monitor_->cancelled.load(std::memory_order_relaxed)) {
      throw Error(ErrorCode::kCancelled, "stopped by request");
    }
    const RecordLayout& layout = written_.layout;
    const auto degree = static_cast<std::uint32_t>(neighbors.size());
    const std::uint32_t bytes = layout.stored_bytes(degree);
    if (layout.in_sectors()) {
      start_record(bytes);
    } else {
      LocatorGroup& group = written_.locator[vertex / LocatorGroup::kRecords];
      if (vertex % LocatorGroup::kRecords == 0) group.start = written_.bytes;
      group.units[vertex % LocatorGroup::kRecords] = static_cast<std::uint8_t>(layout.edge_units(degree));
    }
    layout.encode(vertex, vector, label, neighbors, file_.append(bytes));
    written_.bytes += bytes;
    written_.edges += degree;
  }

  WrittenRecords finish() {
    if (written_.layout.in_sectors()) {
      pad_to(written_.layout.sector_section_bytes(count_));
    }
    pad_to(written_.bytes + RecordLayout::kOverread);
    file_.flush();
    return std::move(written_);
  }

 private:
  /// To the next sector, when the rest of this one is too small for a record.
  void start_record(std::uint32_t bytes) {
    const std::uint64_t used = written_.bytes % RecordLayout::kSectorBytes;
    if (used != 0 && used + bytes > RecordLayout::kSectorBytes) {
      pad_to(written_.bytes + RecordLayout::kSectorBytes - used);
    }
  }
  void pad_to(std::uint64_t bytes) {
    file_.append_zeros(bytes - written_.bytes);
    written_.bytes = bytes;
  }

  std::uint32_t count_;
  OutputFile file_;
  WorkMonitor* monitor_;
  WrittenRecords written_;
};

}  // namespace

RecordForm parse_record_form(std::string_view name) {
  if (name == "packed") return RecordForm::kPacked;
  if (name == "plain") return RecordForm::kPlain;
  if (name == "sectors") return RecordForm::kSectors;
  throw Error(ErrorCode::kInvalidArgument,
              "layout is '" + std::string(name) + "'; a graph index has packed, plain, sectors");
}

WrittenRecords write_records(const Graph& graph, const VectorSpace& space, std::span<const std::int64_t> labels,
                             const RecordTarget& target, WorkMonitor* monitor) {
  Extent extent{space.dim(), space.dtype(), graph.count(), 0, 0};
  // A single label of zero still needs a byte: no label means "equal to the vertex".
  if (!labels.empty()) extent.largest_label = 1;
  const auto label_of = [&](std::uint32_t v) { return labels.empty() ? v : static_cast<std::uint64_t>(labels[v]); };
  const std::size_t vector_bytes = space.dim() * element_bytes(space.dtype());
  SaltHash salt(target.description);
  for (std::uint32_t v = 0; v < graph.count(); ++v) {
    extent.max_degree = std::max(extent.max_degree, graph.degree(v));
    if (!labels.empty()) extent.largest_label = std::max(extent.largest_label, label_of(v));
    salt.add(space.vector(v), vector_bytes, label_of(v), {graph.neighbors(v), graph.degree(v)});
  }
  RecordStream stream(extent, target, salt.value(), monitor);
  for (std::uint32_t v = 0; v < graph.count(); ++v) {
    stream.append(v, space.vector(v), label_of(v), {graph.neighbors(v), graph.degree(v)});
  }
  return stream.finish();
}

WrittenRecords rewrite_records(const StoredRecords& records, const RecordTarget& target, WorkMonitor* monitor) {
  const RecordLayout& layout = records.layout;
  layout.check(records.count);
  const RecordLocator locator(layout, records.locator, records.count, records.section.size());
  std::vector<std::uint32_t> unpacked(RecordLayout::kMaxDegree + 16);
  const auto neighbors_of = [&](const std::byte* record) -> std::span<const std::uint32_t> {
    hop_kernels().unpack(record + layout.edges_at(), layout.degree(record), layout.id_bits, unpacked.data());
    return {unpacked.data(), layout.degree(record)};
  };
  Extent extent{layout.dim, layout.dtype, records.count, layout.label_bytes > 0 ? 1U : 0U, 0};
  SaltHash salt(target.description);
  for (std::uint32_t v = 0; v < records.count; ++v) {
    const rdma::Read place = locator.locate(v);
    const std::byte* record = records.section.data() + place.offset;
    if (!layout.intact(v, record, place.length)) {
      throw Error(ErrorCode::kDataLoss, "record " + std::to_string(v) + " is not what was written");
    }
    extent.max_degree = std::max(extent.max_degree, layout.degree(record));
    if (layout.label_bytes > 0) extent.largest_label = std::max(extent.largest_label, layout.label(v, record));
    const std::span<const std::uint32_t> neighbors = neighbors_of(record);
    if (std::any_of(neighbors.begin(), neighbors.end(), [&](std::uint32_t id) { return id >= records.count; })) {
      throw Error(ErrorCode::kDataLoss, "record " + std::to_string(v) + " names a neighbour that does not exist");
    }
    salt.add(record, layout.vector_bytes(), layout.label(v, record), neighbors);
  }
  RecordStream stream(extent, target, salt.value(), monitor);
  for (std::uint32_t v = 0; v < records.count; ++v) {
    const std::byte* record = records.section.data() + locator.locate(v).offset;
    stream.append(v, record, layout.label(v, record), neighbors_of(record));
  }
  return stream.finish();
}

}  // namespace tiervec::graph_index
