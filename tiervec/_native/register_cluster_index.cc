#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <tiervec/cluster_index/cluster_record_writer.h>
#include <tiervec/cluster_index/cluster_searcher.h>
#include <tiervec/cluster_index/code_blocks.h>
#include <tiervec/core/parallel.h>

#include "arrays.h"
#include "register.h"
#include "search_costs.h"

namespace nb = nanobind;

namespace tiervec::native {
namespace {

using namespace cluster_index;
using Bytes = Vector<std::uint8_t>;

template <class T>
T part(const nb::dict& parts, const char* key) {
  if (!parts.contains(key)) {
    throw Error(ErrorCode::kInvalidArgument, std::string("parts of a cluster index need ") + key);
  }
  try {
    return nb::cast<T>(parts[key]);
  } catch (const nb::cast_error&) {
    throw Error(ErrorCode::kInvalidArgument, std::string("part ") + key + " of a cluster index has the wrong type");
  }
}

template <class T>
std::vector<T> copied(const nb::dict& parts, const char* key) {
  return copy_of(part<Vector<T>>(parts, key));
}

/// Rows of codes, whole ones.
Bytes rows_of(const nb::dict& parts, const char* key, const codes::Code& code) {
  const auto rows = part<Bytes>(parts, key);
  if (rows.shape(0) == 0 || rows.shape(0) % code.row_bytes() != 0) {
    throw Error(ErrorCode::kDataLoss, std::string("section ") + key + " has " + std::to_string(rows.shape(0)) +
                                          " bytes; it must be rows of " + std::to_string(code.row_bytes()));
  }
  return rows;
}

/// The parts of a searcher, and the arrays that they borrow.
struct GivenParts {
  explicit GivenParts(const nb::dict& parts);

  ClusterFastPart fast;
  std::vector<Bytes> borrowed;
};

PackedIntegers packed(const nb::dict& parts, const char* key, const char* width_key, std::uint64_t count,
                      std::vector<Bytes>& borrowed) {
  const Bytes& bytes = borrowed.emplace_back(part<Bytes>(parts, key));
  const auto width = part<std::uint32_t>(parts, width_key);
  if (!PackedIntegers::readable(width) || bytes.shape(0) < PackedIntegers::bytes(count, width)) {
    throw Error(ErrorCode::kDataLoss, std::string("section ") + key + " has " + std::to_string(bytes.shape(0)) +
                                          " bytes; " + std::to_string(count) + " numbers of " + std::to_string(width) +
                                          " bits and " + std::to_string(PackedIntegers::kOverread) +
                                          " bytes more were expected");
  }
  return {reinterpret_cast<const std::byte*>(bytes.data()), width, count};
}

GivenParts::GivenParts(const nb::dict& parts) {
  fast.count = part<std::uint32_t>(parts, "vectors");
  fast.dim = part<std::uint32_t>(parts, "dim");
  fast.dtype = parse_dtype(part<std::string>(parts, "dtype"));
  fast.metric = parse_metric(part<std::string>(parts, "metric"));
  fast.layout = parse_layout(part<std::string>(parts, "layout"));
  fast.salt = part<std::uint64_t>(parts, "salt");
  fast.ids = packed(parts, "ids", "id_bits", fast.count, borrowed);
  fast.cluster_offsets = copied<std::uint32_t>(parts, "cluster_offsets");
  auto centroid_code = part<std::shared_ptr<codes::Code>>(parts, "centroid_code");
  const Bytes group_rows = rows_of(parts, "group_rows", *centroid_code);
  const Bytes centroid_rows = rows_of(parts, "centroid_rows", *centroid_code);
  auto group_offsets = copied<std::uint32_t>(parts, "group_offsets");
  if (group_offsets.size() != group_rows.shape(0) / centroid_code->row_bytes() + 1) {
    throw Error(ErrorCode::kDataLoss, "group_offsets must have one entry per group and one more");
  }
  const auto clusters = static_cast<std::uint32_t>(centroid_rows.shape(0) / centroid_code->row_bytes());
  fast.navigation = ClusterNavigation(std::move(centroid_code), group_rows.data(), std::move(group_offsets),
                                      centroid_rows.data(), clusters);
  if (fast.layout == Layout::kCoded) {
    fast.code = part<std::shared_ptr<codes::Code>>(parts, "code");
    std::uint64_t expected = code_blocks_bytes(*fast.code, fast.count);
    if (parts.contains("spill_offsets")) {
      fast.spill_offsets = copied<std::uint32_t>(parts, "spill_offsets");
      const std::uint64_t spilled = fast.spill_offsets.empty() ? 0 : fast.spill_offsets.back();
      fast.spill_positions = packed(parts, "spill_positions", "address_bits", spilled, borrowed);
      expected += code_blocks_bytes(*fast.code, spilled);
    }
    const Bytes& blocks = borrowed.emplace_back(part<Bytes>(parts, "code_blocks"));
    if (blocks.shape(0) != expected) {
      throw Error(ErrorCode::kDataLoss, "section code_blocks has " + std::to_string(blocks.shape(0)) + " bytes; " +
                                            std::to_string(expected) + " were expected");
    }
    fast.code_blocks = blocks.data();
    return;
  }
  fast.posting_offsets = copied<std::uint64_t>(parts, "posting_offsets");
  if (fast.layout == Layout::kReplicated) {
    fast.posting_counts = copied<std::uint32_t>(parts, "posting_counts");
  } else {
    const std::uint64_t addresses = fast.posting_offsets.empty() ? 0 : fast.posting_offsets.back();
    if (addresses > (std::uint64_t{1} << 40)) {
      throw Error(ErrorCode::kDataLoss, "posting_offsets end at " + std::to_string(addresses) + " addresses");
    }
    fast.addresses = packed(parts, "posting_addresses", "address_bits", addresses, borrowed);
    if (fast.layout == Layout::kGrouped) fast.cluster_places = copied<std::uint32_t>(parts, "cluster_places");
  }
}

/// Keeps the arrays alive that the native searcher borrows.
struct Searcher {
  Searcher(std::shared_ptr<rdma::Tier> tier, const nb::dict& parts) : Searcher(std::move(tier), GivenParts(parts)) {}
  Searcher(std::shared_ptr<rdma::Tier> tier, GivenParts&& given)
      : borrowed(std::move(given.borrowed)), native(std::move(tier), std::move(given.fast)) {}

  std::vector<Bytes> borrowed;
  ClusterSearcher native;
};

ClusterSearchRequest request_of(const Searcher& searcher, const Matrix& queries,
                                const ClusterSearchParameters& parameters, unsigned threads,
                                const std::optional<Vector<std::int64_t>>& exclude, const engine::CancelToken* cancel,
                                const engine::RowFilter* filter) {
  ClusterSearchRequest request;
  request.queries = bytes_of(queries);
  request.count = row_count(queries);
  request.parameters = parameters;
  request.threads = resolve_threads(threads);
  request.cancel = cancel;
  request.filter = filter;
  if (exclude) {
    if (exclude->shape(0) != queries.shape(0)) {
      throw Error(ErrorCode::kInvalidArgument, "exclude must have one entry per query");
    }
    request.exclude = exclude->data();
  }
  if (parameters.k == 0 || parameters.nprobe == 0 || parameters.rerank == 0 ||
      parameters.rerank > ClusterSearchParameters::kMostRerank || !(parameters.prune >= 0)) {
    throw Error(ErrorCode::kInvalidArgument,
                "k and nprobe must be at least 1, rerank 1 to 10000, and prune at least 0");
  }
  if (dtype_of(queries) != searcher.native.query_dtype() || queries.shape(1) != searcher.native.dim()) {
    throw Error(ErrorCode::kInvalidArgument, "queries do not have the index's dtype and dimension");
  }
  return request;
}

nb::tuple search(Searcher& searcher, const Matrix& queries, std::uint32_t k, std::uint32_t nprobe, std::uint32_t rerank,
                 bool pipeline, unsigned threads, const std::optional<Vector<std::int64_t>>& exclude,
                 const engine::CancelToken* cancel, std::optional<double> timeout_s, float prune,
                 std::optional<std::uint32_t> coalesce_bytes, bool split, const engine::RowFilter* filter) {
  ClusterSearchRequest request = request_of(
      searcher, queries, {k, nprobe, rerank, prune, pipeline, coalesce_bytes, split}, threads, exclude, cancel, filter);
  SearchAnswers answers(request.count, k);
  answers.give_to(request);
  engine::WorkerTime time;
  {
    const nb::gil_scoped_release release;
    if (timeout_s) {
      request.deadline = TickClock::after(std::chrono::nanoseconds(static_cast<std::int64_t>(*timeout_s * 1e9)));
    }
    time = searcher.native.search(request);
  }
  return answers.to_tuple(time);
}

std::unique_ptr<PendingAnswers> submit(Searcher& searcher, const Matrix& queries, std::uint32_t k, std::uint32_t nprobe,
                                       std::uint32_t rerank, bool pipeline, unsigned threads,
                                       const std::optional<Vector<std::int64_t>>& exclude,
                                       const engine::CancelToken* cancel, std::optional<double> timeout_s, float prune,
                                       std::optional<std::uint32_t> coalesce_bytes, bool split,
                                       const engine::RowFilter* filter,
                                       const std::shared_ptr<engine::EndedSearches>& ended, std::uint64_t ticket) {
  ClusterSearchRequest request = request_of(
      searcher, queries, {k, nprobe, rerank, prune, pipeline, coalesce_bytes, split}, threads, exclude, cancel, filter);
  return submitted(searcher.native, request, timeout_s, k, ended, ticket);
}

void encode(const Matrix& data, const Vector<std::uint32_t>& order, const Vector<std::uint32_t>& cluster_offsets,
            const codes::Code& centroid_code, const Bytes& centroid_rows, const codes::Code& code,
            const nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>& blocks, unsigned threads,
            WorkMonitor* monitor) {
  ClusteredVectors vectors;
  vectors.data = bytes_of(data);
  vectors.rows = row_count(data);
  vectors.dtype = dtype_of(data);
  vectors.order = {order.data(), order.shape(0)};
  vectors.cluster_offsets = {cluster_offsets.data(), cluster_offsets.shape(0)};
  if (data.shape(1) != code.dim() || blocks.shape(0) != code_blocks_bytes(code, order.shape(0)) ||
      cluster_offsets.shape(0) == 0 ||
      centroid_rows.shape(0) != (cluster_offsets.shape(0) - 1) * centroid_code.row_bytes()) {
    throw Error(ErrorCode::kInvalidArgument, "clusters to encode: data, centroid_rows or blocks do not fit the codes");
  }
  const nb::gil_scoped_release release;
  encode_clusters(vectors, centroid_code, centroid_rows.data(), code, blocks.data(), resolve_threads(threads), monitor);
}

VectorRows rows_of(const Matrix& data, std::uint64_t salt) {
  return {bytes_of(data), row_count(data), static_cast<std::uint32_t>(data.shape(1) * element_bytes(dtype_of(data))),
          salt};
}

void write_vectors(const std::filesystem::path& path, const Matrix& data, const Vector<std::uint32_t>& order,
                   std::uint64_t salt, WorkMonitor* monitor) {
  const VectorRows rows = rows_of(data, salt);
  const nb::gil_scoped_release release;
  write_cluster_vectors(path, rows, {order.data(), order.shape(0)}, monitor);
}

nb::object write_postings(const std::filesystem::path& path, const Matrix& data, const Vector<std::uint32_t>& members,
                          const Vector<std::uint64_t>& offsets, const Vector<std::uint32_t>& positions,
                          std::uint64_t salt, std::uint32_t align, WorkMonitor* monitor) {
  const VectorRows rows = rows_of(data, salt);
  const Postings postings{.members = {members.data(), members.shape(0)},
                          .offsets = {offsets.data(), offsets.shape(0)},
                          .positions = {positions.data(), positions.shape(0)},
                          .align = align};
  std::vector<std::uint64_t> starts;
  {
    const nb::gil_scoped_release release;
    starts = write_cluster_postings(path, rows, postings, monitor);
  }
  const std::size_t count = starts.size();
  return to_numpy(std::move(starts), {count});
}

}  // namespace

void register_cluster_index(nb::module_& module) {
  module.def(
      "code_blocks_bytes",
      [](const codes::Code& code, std::uint64_t vectors) { return code_blocks_bytes(code, vectors); }, nb::arg("code"),
      nb::arg("vectors"), "Bytes of the code blocks of so many vectors.");
  module.def("encode_clusters", &encode, nb::arg("data").noconvert(), nb::arg("order"), nb::arg("cluster_offsets"),
             nb::arg("centroid_code"), nb::arg("centroid_rows"), nb::arg("code"), nb::arg("blocks").noconvert(),
             nb::arg("threads") = 0, nb::arg("monitor") = nb::none(),
             nb::sig("def encode_clusters(data: numpy.typing.NDArray[numpy.generic], "
                     "order: numpy.typing.NDArray[numpy.uint32], cluster_offsets: numpy.typing.NDArray[numpy.uint32], "
                     "centroid_code: Code, centroid_rows: numpy.typing.NDArray[numpy.uint8], code: Code, "
                     "blocks: numpy.typing.NDArray[numpy.uint8], threads: int = 0, "
                     "monitor: WorkMonitor | None = None) -> None"),
             "Codes vectors relative to what their cluster's centroid code stands for, into blocks for scans.");

  module.def(
      "write_cluster_vectors", &write_vectors, nb::arg("path"), nb::arg("data").noconvert(), nb::arg("order"),
      nb::arg("salt"), nb::arg("monitor") = nb::none(),
      nb::sig("def write_cluster_vectors(path: str | os.PathLike[str], data: numpy.typing.NDArray[numpy.generic], "
              "order: numpy.typing.NDArray[numpy.uint32], salt: int, monitor: WorkMonitor | None = None) -> None"),
      "Writes the records of layouts coded, grouped and decoupled: order[position] is the row.");
  module.def(
      "write_cluster_postings", &write_postings, nb::arg("path"), nb::arg("data").noconvert(), nb::arg("members"),
      nb::arg("offsets"), nb::arg("positions"), nb::arg("salt"), nb::arg("align") = 1, nb::arg("monitor") = nb::none(),
      nb::sig("def write_cluster_postings(path: str | os.PathLike[str], data: numpy.typing.NDArray[numpy.generic], "
              "members: numpy.typing.NDArray[numpy.uint32], offsets: numpy.typing.NDArray[numpy.uint64], "
              "positions: numpy.typing.NDArray[numpy.uint32], salt: int, align: int = 1, "
              "monitor: WorkMonitor | None = None) -> numpy.typing.NDArray[numpy.uint64]"),
      "Writes the records of layout replicated: rows of each posting, positions of each row. Returns the byte "
      "offset of each posting, and the end.");

  nb::class_<Searcher>(module, "ClusterSearcher", "Searches clusters whose vectors lie in a tier.")
      .def(nb::init<std::shared_ptr<rdma::Tier>, const nb::dict&>(), nb::arg("tier"), nb::arg("parts"),
           nb::sig("def __init__(self, tier: Tier, parts: dict[str, typing.Any]) -> None"))
      .def_prop_ro("fast_bytes", [](const Searcher& searcher) { return searcher.native.fast_bytes(); })
      .def("search", &search, nb::arg("queries"), nb::arg("k"), nb::arg("nprobe"), nb::arg("rerank"),
           nb::arg("pipeline"), nb::arg("threads"), nb::arg("exclude") = nb::none(), nb::arg("cancel") = nb::none(),
           nb::arg("timeout_s") = nb::none(), nb::arg("prune") = ClusterSearchParameters::kPrune,
           nb::arg("coalesce_bytes") = nb::none(), nb::arg("split") = false, nb::arg("filter") = nb::none(),
           nb::sig("def search(self, queries: numpy.typing.NDArray[numpy.generic], k: int, nprobe: int, rerank: int, "
                   "pipeline: bool, threads: int, exclude: numpy.typing.NDArray[numpy.int64] | None = None, "
                   "cancel: CancelToken | None = None, timeout_s: float | None = None, prune: float = 0.2, "
                   "coalesce_bytes: int | None = None, split: bool = False, "
                   "filter: RowFilter | None = None) -> tuple[typing.Any, ...]"))
      .def("submit", &submit, nb::arg("queries").noconvert(), nb::arg("k"), nb::arg("nprobe"), nb::arg("rerank"),
           nb::arg("pipeline"), nb::arg("threads"), nb::arg("exclude").noconvert() = nb::none(),
           nb::arg("cancel") = nb::none(), nb::arg("timeout_s") = nb::none(),
           nb::arg("prune") = ClusterSearchParameters::kPrune, nb::arg("coalesce_bytes") = nb::none(),
           nb::arg("split") = false, nb::arg("filter") = nb::none(), nb::arg("ended") = nb::none(),
           nb::arg("ticket") = 0, nb::keep_alive<0, 1>(), nb::keep_alive<0, 2>(), nb::keep_alive<0, 8>(),
           nb::keep_alive<0, 9>(), nb::keep_alive<0, 14>(),
           nb::sig("def submit(self, queries: numpy.typing.NDArray[numpy.generic], k: int, nprobe: int, rerank: int, "
                   "pipeline: bool, threads: int, exclude: numpy.typing.NDArray[numpy.int64] | None = None, "
                   "cancel: CancelToken | None = None, timeout_s: float | None = None, prune: float = 0.2, "
                   "coalesce_bytes: int | None = None, split: bool = False, filter: RowFilter | None = None, "
                   "ended: EndedSearches | None = None, ticket: int = 0) -> PendingSearch"),
           "A search that workers answer meanwhile; `ended` hears of its end.")
      .def(
          "plan",
          [](const Searcher& searcher, const engine::RowFilter& filter, std::uint32_t k, std::uint32_t nprobe,
             std::uint32_t rerank) {
            return std::string(
                engine::name(searcher.native.plan(filter, {.k = k, .nprobe = nprobe, .rerank = rerank})));
          },
          nb::arg("filter"), nb::arg("k"), nb::arg("nprobe"), nb::arg("rerank"),
          "How a search finds what the filter admits: empty, rows, or clusters.");
}

}  // namespace tiervec::native
