#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <memory>
#include <optional>
#include <string>

#include <tiervec/core/codes/dot_code.h>
#include <tiervec/core/codes/pq_code.h>
#include <tiervec/core/exact_search.h>
#include <tiervec/core/huge_buffer.h>
#include <tiervec/core/magnitude.h>
#include <tiervec/core/parallel.h>
#include <tiervec/core/vector_kernels.h>

#include "arrays.h"
#include "register.h"

namespace nb = nanobind;

namespace tiervec::native {
namespace {

using codes::Code;
using Rows = nb::ndarray<std::uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

std::shared_ptr<Code> make_dot_code(const std::string& metric, const Vector<float>& center,
                                    const std::optional<Vector<float>>& rotation,
                                    std::optional<std::uint64_t> fast_rotation, const Vector<std::uint8_t>& widths,
                                    const Vector<float>& steps, std::uint32_t row_bytes, bool unbiased) {
  codes::DotCodeParameters parameters;
  parameters.metric = parse_metric(metric);
  parameters.dim = static_cast<std::uint32_t>(center.shape(0));
  parameters.row_bytes = row_bytes;
  parameters.center = copy_of(center);
  if (rotation) parameters.rotation = copy_of(*rotation);
  parameters.fast_rotation = fast_rotation;
  parameters.widths = copy_of(widths);
  parameters.steps = copy_of(steps);
  parameters.unbiased = unbiased;
  return std::make_shared<codes::DotCode>(std::move(parameters));
}

std::shared_ptr<Code> make_pq_code(const std::string& metric, std::uint32_t dim, std::uint32_t parts,
                                   const Vector<float>& centroids) {
  return std::make_shared<codes::PqCode>(codes::PqCodeParameters{parse_metric(metric), dim, parts, copy_of(centroids)});
}

void encode(const Code& code, const Matrix& data, const Rows& rows, unsigned threads, WorkMonitor* monitor) {
  constexpr std::size_t kBlock = 256;
  const Dtype dtype = dtype_of(data);
  const std::size_t dim = code.dim();
  if (data.shape(1) != dim || rows.shape(0) != data.shape(0) || rows.shape(1) != code.row_bytes()) {
    throw Error(ErrorCode::kInvalidArgument, "encode: rows must be " + std::to_string(data.shape(0)) + " x " +
                                                 std::to_string(code.row_bytes()) + " and vectors of dimension " +
                                                 std::to_string(dim));
  }
  const nb::gil_scoped_release release;
  if (monitor != nullptr) monitor->total = data.shape(0);
  parallel_blocks(data.shape(0), kBlock, resolve_threads(threads), monitor,
                  [&](std::size_t begin, std::size_t end, unsigned) {
                    std::vector<float> block((end - begin) * dim);
                    widen(dtype, bytes_of(data) + begin * dim * element_bytes(dtype), block.size(), block.data());
                    code.encode(block.data(), end - begin, rows.data() + begin * code.row_bytes());
                  });
}

nb::object block_distances(const Code& code, const Vector<float>& query, const Rows& rows) {
  if (query.shape(0) != code.dim() || rows.shape(1) != code.row_bytes()) {
    throw Error(ErrorCode::kInvalidArgument, "distances: the query or the rows do not fit the code");
  }
  const std::size_t count = rows.shape(0);
  std::vector<float> out((count + 15) / 16 * 16);
  HugeBuffer state(code.query_bytes());
  code.make_query(query.data(), state.as<std::byte>());
  code.block_distances(state.as<std::byte>(), rows.data(), static_cast<std::uint32_t>(count), out.data());
  out.resize(count);
  return to_numpy(std::move(out), {count});
}

nb::object decode(const Code& code, const Rows& rows) {
  if (rows.shape(1) != code.row_bytes()) {
    throw Error(ErrorCode::kInvalidArgument, "decode: the rows do not fit the code");
  }
  const std::size_t count = rows.shape(0);
  std::vector<float> vectors(count * code.dim());
  {
    const nb::gil_scoped_release release;
    for (std::size_t i = 0; i < count; ++i) {
      code.decode(rows.data() + i * code.row_bytes(), vectors.data() + i * code.dim());
    }
  }
  return to_numpy(std::move(vectors), {count, std::size_t{code.dim()}});
}

float largest_magnitude_of(const nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>& values) {
  constexpr std::size_t kWorthRelease = 1U << 16U;  // values; fewer are looked at before another thread has the GIL
  if (values.size() < kWorthRelease) return largest_magnitude(values.data(), values.size());
  const nb::gil_scoped_release release;
  return largest_magnitude(values.data(), values.size());
}

nb::object search_exactly(const Matrix& data, const std::string& metric, const Matrix& queries, std::uint32_t k,
                          const std::optional<Vector<std::int64_t>>& exclude, unsigned threads, WorkMonitor* monitor) {
  ExactSearchRequest request;
  request.data = bytes_of(data);
  request.count = row_count(data);
  request.dim = static_cast<std::uint32_t>(data.shape(1));
  request.dtype = dtype_of(data);
  request.metric = parse_metric(metric);
  request.queries = bytes_of(queries);
  request.query_count = row_count(queries);
  request.k = k;
  if (queries.shape(1) != data.shape(1) || dtype_of(queries) != query_dtype(request.dtype) || k == 0 ||
      (exclude && exclude->shape(0) != queries.shape(0))) {
    throw Error(ErrorCode::kInvalidArgument,
                "exact search: queries do not fit the data in dimension or dtype, or k is 0");
  }
  if (exclude) request.exclude = exclude->data();
  std::vector<std::int64_t> ids(queries.shape(0) * k);
  std::vector<float> distances(ids.size());
  request.ids = ids.data();
  request.distances = distances.data();
  {
    const nb::gil_scoped_release release;
    exact_search(request, resolve_threads(threads), monitor);
  }
  return nb::make_tuple(to_numpy(std::move(ids), {queries.shape(0), k}),
                        to_numpy(std::move(distances), {queries.shape(0), k}));
}

}  // namespace

void register_codes(nb::module_& module) {
  nb::class_<WorkMonitor>(module, "WorkMonitor", "Watches and cancels native work from another thread.")
      .def(nb::init<>())
      .def("cancel", [](WorkMonitor& monitor) { monitor.cancelled = true; })
      .def_prop_ro("done", [](const WorkMonitor& monitor) { return monitor.done.load(); })
      .def_prop_ro("total", [](const WorkMonitor& monitor) { return monitor.total.load(); })
      .def_prop_ro("threads_refused", [](const WorkMonitor& monitor) { return monitor.threads_refused.load(); });

  nb::class_<Code>(module, "Code", "A trained code: what stays of a vector in fast memory.")
      .def_prop_ro("dim", &Code::dim)
      .def_prop_ro("row_bytes", &Code::row_bytes)
      .def_prop_ro("parameter_bytes", &Code::parameter_bytes)
      .def("decode", &decode, nb::arg("rows"),
           nb::sig("def decode(self, rows: numpy.typing.NDArray[numpy.uint8]) -> numpy.typing.NDArray[numpy.float32]"),
           "The vectors (n, dim) that rows stand for.")
      .def("encode", &encode, nb::arg("data"), nb::arg("rows").noconvert(), nb::arg("threads") = 1,
           nb::arg("monitor") = nb::none(),
           nb::sig(
               "def encode(self, data: numpy.typing.NDArray[numpy.generic], rows: numpy.typing.NDArray[numpy.uint8], "
               "threads: int = 1, monitor: WorkMonitor | None = None) -> None"),
           "Encodes vectors (n, dim) into rows (n, row_bytes) of uint8.")
      .def("distances", &block_distances, nb::arg("query"), nb::arg("rows"),
           nb::sig("def distances(self, query: numpy.typing.NDArray[numpy.float32], "
                   "rows: numpy.typing.NDArray[numpy.uint8]) -> numpy.typing.NDArray[numpy.float32]"),
           "Estimated distances of one float32 query (dim,) to rows (n, row_bytes).");
  module.def("dot_code", &make_dot_code, nb::arg("metric"), nb::arg("center"), nb::arg("rotation").none(),
             nb::arg("fast_rotation").none(), nb::arg("widths"), nb::arg("steps"), nb::arg("row_bytes"),
             nb::arg("unbiased"));
  module.def("pq_code", &make_pq_code, nb::arg("metric"), nb::arg("dim"), nb::arg("parts"), nb::arg("centroids"));
  module.def("largest_magnitude", &largest_magnitude_of, nb::arg("values").noconvert(),
             nb::sig("def largest_magnitude(values: numpy.typing.NDArray[numpy.float32]) -> float"),
             "The largest absolute value of a matrix (n, dim) of float32; NaN when it has one, else inf when it has "
             "one.");
  module.def("exact_search", &search_exactly, nb::arg("data"), nb::arg("metric"), nb::arg("queries"), nb::arg("k"),
             nb::arg("exclude") = nb::none(), nb::arg("threads") = 0, nb::arg("monitor") = nb::none(),
             nb::sig("def exact_search(data: numpy.typing.NDArray[numpy.generic], metric: str, "
                     "queries: numpy.typing.NDArray[numpy.generic], k: int, "
                     "exclude: numpy.typing.NDArray[numpy.int64] | None = None, threads: int = 0, "
                     "monitor: WorkMonitor | None = None) "
                     "-> tuple[numpy.typing.NDArray[numpy.int64], numpy.typing.NDArray[numpy.float32]]"),
             "Exact nearest neighbours by comparing everything: (ids int64, distances float32), each (nq, k).");
  module.def(
      "huge_bytes",
      [](std::size_t bytes) {
        auto* buffer = new HugeBuffer(bytes);
        const nb::capsule owner(buffer, [](void* p) noexcept { delete static_cast<HugeBuffer*>(p); });
        return nb::ndarray<nb::numpy, std::uint8_t>(buffer->as<std::uint8_t>(), {bytes}, owner);
      },
      nb::arg("bytes"), nb::sig("def huge_bytes(bytes: int) -> numpy.typing.NDArray[numpy.uint8]"),
      "Zeroed uint8 array in memory that is aligned to, and advised to use, huge pages.");
  module.def("simd_level", [] { return std::string(simd_level_name(simd_level())); });
  module.def("detected_simd_level", [] { return std::string(simd_level_name(detected_simd_level())); });
}

}  // namespace tiervec::native
