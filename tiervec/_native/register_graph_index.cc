#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <tiervec/graph_index/graph_searcher.h>
#include <tiervec/graph_index/navigation_sample.h>
#include <tiervec/graph_index/record_writer.h>
#include <tiervec/graph_index/vamana.h>

#include "arrays.h"
#include "register.h"
#include "search_costs.h"

namespace nb = nanobind;

namespace tiervec::native {
namespace {

using namespace graph_index;

nb::dict layout_to_dict(const RecordLayout& layout) {
  nb::dict fields;
  fields["id_bits"] = layout.id_bits;
  fields["label_bytes"] = layout.label_bytes;
  fields["unit"] = layout.unit;
  fields["sector_degree"] = layout.sector_degree;
  fields["salt"] = layout.salt;
  return fields;
}

nb::dict written_to_dict(WrittenRecords written) {
  nb::dict result;
  result["layout"] = layout_to_dict(written.layout);
  result["bytes"] = written.bytes;
  result["edges"] = written.edges;
  std::vector<std::uint8_t> locator(written.locator.size() * sizeof(LocatorGroup));
  if (!locator.empty()) std::memcpy(locator.data(), written.locator.data(), locator.size());
  const std::size_t bytes = locator.size();
  result["locator"] = to_numpy(std::move(locator), {bytes});
  return result;
}

/// Builds one graph; keeps the vectors' array alive as long as it is.
class GraphBuilder {
 public:
  GraphBuilder(Matrix data, const std::string& metric, unsigned threads)
      : data_(std::move(data)),
        threads_(resolve_threads(threads)),
        space_(bytes_of(data_), row_count(data_), static_cast<std::uint32_t>(data_.shape(1)), dtype_of(data_),
               parse_metric(metric), threads_) {}

  void link(std::uint32_t degree, std::uint32_t list, float alpha, std::uint64_t seed,
            const std::optional<Vector<std::uint32_t>>& late, WorkMonitor* monitor) {
    take_late(late);
    const nb::gil_scoped_release release;
    parameters_.graph_degree = degree;
    parameters_.build_list = list;
    parameters_.alpha = alpha;
    parameters_.seed = seed;
    parameters_.threads = threads_;
    graph_ = build_vamana(space_, parameters_, late_, monitor);
  }

  void adopt(const nb::ndarray<const std::uint32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>& neighbors,
             const Vector<std::uint32_t>& degrees, const std::optional<Vector<std::uint32_t>>& late) {
    const std::uint32_t count = space_.count();
    const std::size_t width = neighbors.shape(1);
    if (neighbors.shape(0) != count || degrees.shape(0) != count || width == 0 || width > RecordLayout::kMaxDegree) {
      throw Error(ErrorCode::kInvalidArgument, "a graph has one list of 1 to 255 neighbours per vector");
    }
    take_late(late);
    const nb::gil_scoped_release release;
    std::vector<bool> is_late(count);
    for (const std::uint32_t vertex : late_) is_late[vertex] = true;
    auto graph = std::make_unique<Graph>(count, static_cast<std::uint32_t>(width));
    for (std::uint32_t v = 0; v < count; ++v) {
      const std::uint32_t degree = degrees.data()[v];
      const std::uint32_t* ids = neighbors.data() + v * width;
      if (degree > width || std::any_of(ids, ids + degree, [count](std::uint32_t id) { return id >= count; })) {
        throw Error(ErrorCode::kDataLoss,
                    "the list of vector " + std::to_string(v) + " is too long or names a vector that does not exist");
      }
      std::uint32_t* row = graph->row(v);
      row[0] = 0;
      if (is_late[v]) continue;
      for (const std::uint32_t* id = ids; id != ids + degree; ++id) {
        if (!is_late[*id]) row[++row[0]] = *id;
      }
    }
    graph_ = std::move(graph);
  }

  void link_late(WorkMonitor* monitor) {
    const nb::gil_scoped_release release;
    graph_index::link_late(space_, parameters_, linked(), late_, monitor);
  }

  void set_aside(const std::filesystem::path& path) {
    const nb::gil_scoped_release release;
    linked().set_aside(path);
  }

  void bring_back(const std::filesystem::path& path) {
    const nb::gil_scoped_release release;
    linked().bring_back(path);
  }

  nb::dict write_records(const std::filesystem::path& path, const std::optional<Vector<std::int64_t>>& labels,
                         WorkMonitor* monitor, const std::string& layout, std::uint64_t description) {
    const RecordTarget target{.path = path, .form = parse_record_form(layout), .description = description};
    const std::span<const std::int64_t> given =
        labels ? std::span(labels->data(), labels->shape(0)) : std::span<const std::int64_t>();
    if (labels && given.size() != space_.count()) {
      throw Error(ErrorCode::kInvalidArgument, "records need one label per vector");
    }
    WrittenRecords written;
    {
      const nb::gil_scoped_release release;
      written = graph_index::write_records(linked(), space_, given, target, monitor);
    }
    return written_to_dict(std::move(written));
  }

  nb::tuple navigation(std::uint32_t size, std::uint64_t seed, WorkMonitor* monitor) {
    NavigationSample sample;
    {
      const nb::gil_scoped_release release;
      sample = build_navigation_sample(space_, size, late_, seed, threads_, monitor);
    }
    const std::size_t ids = sample.ids.size();
    return nb::make_tuple(to_numpy(std::move(sample.ids), {ids}),
                          to_numpy(std::move(sample.adjacency), {ids, NavigationSample::kDegree}));
  }

  nb::object adjacency() const {
    (void)linked();
    const std::size_t width = graph_->max_degree();
    std::vector<std::int64_t> flat(graph_->count() * width, -1);
    for (std::uint32_t v = 0; v < graph_->count(); ++v) {
      for (std::uint32_t i = 0; i < graph_->degree(v); ++i) flat[v * width + i] = graph_->neighbors(v)[i];
    }
    return to_numpy(std::move(flat), {graph_->count(), width});
  }

 private:
  void take_late(const std::optional<Vector<std::uint32_t>>& late) {
    late_ = late ? copy_of(*late) : std::vector<std::uint32_t>();
    const bool ascending = std::is_sorted(late_.begin(), late_.end(), std::less_equal<>());
    if (!ascending || late_.size() >= space_.count() || (!late_.empty() && late_.back() >= space_.count())) {
      throw Error(ErrorCode::kInvalidArgument, "late must be ascending rows, and fewer than all");
    }
  }

  [[nodiscard]] Graph& linked() const {
    if (graph_ == nullptr) throw Error(ErrorCode::kInvalidArgument, "the graph is not linked yet");
    return *graph_;
  }

  Matrix data_;
  unsigned threads_;
  VectorSpace space_;
  VamanaParameters parameters_;
  std::vector<std::uint32_t> late_;
  std::unique_ptr<Graph> graph_;
};

template <class T>
std::vector<T> from_bytes(const Vector<std::uint8_t>& bytes, const char* what) {
  if (bytes.shape(0) % sizeof(T) != 0) {
    throw Error(ErrorCode::kDataLoss, std::string("section ") + what + " has " + std::to_string(bytes.shape(0)) +
                                          " bytes; it must be a multiple of " + std::to_string(sizeof(T)));
  }
  std::vector<T> values(bytes.shape(0) / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.shape(0));
  return values;
}

RecordLayout layout_from(std::uint32_t dim, const std::string& dtype, const nb::dict& fields) {
  RecordLayout layout;
  layout.dim = dim;
  layout.dtype = parse_dtype(dtype);
  layout.id_bits = nb::cast<std::uint32_t>(fields["id_bits"]);
  layout.label_bytes = nb::cast<std::uint32_t>(fields["label_bytes"]);
  layout.unit = nb::cast<std::uint32_t>(fields["unit"]);
  layout.sector_degree = nb::cast<std::uint32_t>(fields["sector_degree"]);
  layout.salt = nb::cast<std::uint64_t>(fields["salt"]);
  return layout;
}

nb::dict rewrite_records(const Vector<std::uint8_t>& section, std::uint32_t count, std::uint32_t dim,
                         const std::string& dtype, const nb::dict& layout, const Vector<std::uint8_t>& locator,
                         const std::string& wanted, const std::filesystem::path& path, std::uint64_t description,
                         WorkMonitor* monitor) {
  const RecordTarget target{.path = path, .form = parse_record_form(wanted), .description = description};
  const std::vector<LocatorGroup> groups = from_bytes<LocatorGroup>(locator, "locator");
  const StoredRecords records{layout_from(dim, dtype, layout),
                              groups,
                              count,
                              {reinterpret_cast<const std::byte*>(section.data()), section.shape(0)}};
  WrittenRecords written;
  {
    const nb::gil_scoped_release release;
    written = graph_index::rewrite_records(records, target, monitor);
  }
  return written_to_dict(std::move(written));
}

void init_searcher(GraphSearcher* self, std::shared_ptr<rdma::Tier> tier, std::uint32_t count, std::uint32_t dim,
                   const std::string& dtype, const std::string& metric, const nb::dict& layout,
                   const Vector<std::uint8_t>& locator, const Vector<std::uint8_t>& navigation_ids,
                   const Vector<std::uint8_t>& navigation_edges, std::shared_ptr<codes::Code> code,
                   const Vector<std::uint8_t>& rows) {
  GraphFastPart part;
  part.count = count;
  part.metric = parse_metric(metric);
  part.layout = layout_from(dim, dtype, layout);
  part.locator = from_bytes<LocatorGroup>(locator, "locator");
  part.navigation.ids = from_bytes<std::uint32_t>(navigation_ids, "navigation_ids");
  part.navigation.adjacency = from_bytes<std::uint32_t>(navigation_edges, "navigation_edges");
  // `rows` is borrowed; the binding keeps it alive as long as the searcher.
  if (rows.shape(0) != std::size_t{count} * code->row_bytes()) {
    throw Error(ErrorCode::kDataLoss, "section codes has " + std::to_string(rows.shape(0)) + " bytes; " +
                                          std::to_string(count) + " rows of " + std::to_string(code->row_bytes()) +
                                          " were expected");
  }
  part.rows = rows.data();
  part.code = std::move(code);
  new (self) GraphSearcher(std::move(tier), std::move(part));
}

SearchRequest request_of(const GraphSearcher& searcher, const Matrix& queries, std::uint32_t k,
                         std::uint32_t search_list, std::uint32_t beam_width, float stop_margin, bool pipeline,
                         unsigned threads, const engine::CancelToken* cancel, const engine::RowFilter* filter) {
  SearchRequest request;
  request.queries = bytes_of(queries);
  request.count = row_count(queries);
  request.parameters = {k, std::max(search_list, k), beam_width, stop_margin, pipeline};
  request.threads = resolve_threads(threads);
  request.cancel = cancel;
  request.filter = filter;
  if (beam_width == 0 || beam_width > SearchParameters::kWidestBeam || k == 0) {
    throw Error(ErrorCode::kInvalidArgument, "beam_width must be 1 to 32 and k at least 1");
  }
  if (dtype_of(queries) != searcher.query_dtype() || queries.shape(1) != searcher.dim()) {
    throw Error(ErrorCode::kInvalidArgument, "queries do not have the index's dtype and dimension");
  }
  return request;
}

nb::tuple search(GraphSearcher& searcher, const Matrix& queries, std::uint32_t k, std::uint32_t search_list,
                 std::uint32_t beam_width, float stop_margin, bool pipeline, unsigned threads,
                 const engine::CancelToken* cancel, std::optional<double> timeout_s, const engine::RowFilter* filter) {
  SearchRequest request =
      request_of(searcher, queries, k, search_list, beam_width, stop_margin, pipeline, threads, cancel, filter);
  SearchAnswers answers(request.count, k);
  answers.give_to(request);
  engine::WorkerTime time;
  {
    const nb::gil_scoped_release release;
    if (timeout_s) {
      request.deadline = TickClock::after(std::chrono::nanoseconds(static_cast<std::int64_t>(*timeout_s * 1e9)));
    }
    time = searcher.search(request);
  }
  return answers.to_tuple(time);
}

std::unique_ptr<PendingAnswers> submit(GraphSearcher& searcher, const Matrix& queries, std::uint32_t k,
                                       std::uint32_t search_list, std::uint32_t beam_width, float stop_margin,
                                       bool pipeline, unsigned threads, const engine::CancelToken* cancel,
                                       std::optional<double> timeout_s, const engine::RowFilter* filter,
                                       const std::shared_ptr<engine::EndedSearches>& ended, std::uint64_t ticket) {
  SearchRequest request =
      request_of(searcher, queries, k, search_list, beam_width, stop_margin, pipeline, threads, cancel, filter);
  return submitted(searcher, request, timeout_s, k, ended, ticket);
}

}  // namespace

void register_graph_index(nb::module_& module) {
  nb::class_<GraphBuilder>(module, "GraphBuilder",
                           "Builds a Vamana graph over vectors (n, dim) and writes its records.")
      .def(nb::init<Matrix, const std::string&, unsigned>(), nb::arg("data").noconvert(), nb::arg("metric"),
           nb::arg("threads") = 0,
           nb::sig(
               "def __init__(self, data: numpy.typing.NDArray[numpy.generic], metric: str, threads: int = 0) -> None"))
      .def("link", &GraphBuilder::link, nb::arg("graph_degree"), nb::arg("build_list"), nb::arg("alpha"),
           nb::arg("seed") = 0, nb::arg("late") = nb::none(), nb::arg("monitor") = nb::none(),
           nb::sig(
               "def link(self, graph_degree: int, build_list: int, alpha: float, seed: int = 0, "
               "late: numpy.typing.NDArray[numpy.uint32] | None = None, monitor: WorkMonitor | None = None) -> None"),
           "Links all vectors but the rows in `late`, ascending, which stay alone until link_late.")
      .def(
          "adopt", &GraphBuilder::adopt, nb::arg("neighbors"), nb::arg("degrees"), nb::arg("late") = nb::none(),
          nb::sig("def adopt(self, neighbors: numpy.typing.NDArray[numpy.uint32], "
                  "degrees: numpy.typing.NDArray[numpy.uint32], "
                  "late: numpy.typing.NDArray[numpy.uint32] | None = None) -> None"),
          "Takes a graph that was linked elsewhere: rows of neighbours (n, width), of which the first `degrees` count. "
          "Without the rows in `late`, ascending, and the edges that lead to them.")
      .def("link_late", &GraphBuilder::link_late, nb::arg("monitor") = nb::none())
      .def("set_aside", &GraphBuilder::set_aside, nb::arg("path"),
           nb::sig("def set_aside(self, path: str | os.PathLike[str]) -> None"),
           "Moves the graph into a file, so that its memory is free until bring_back.")
      .def("bring_back", &GraphBuilder::bring_back, nb::arg("path"),
           nb::sig("def bring_back(self, path: str | os.PathLike[str]) -> None"))
      .def("write_records", &GraphBuilder::write_records, nb::arg("path"), nb::arg("labels") = nb::none(),
           nb::arg("monitor") = nb::none(), nb::arg("layout") = "packed", nb::arg("description") = 0,
           nb::sig("def write_records(self, path: str | os.PathLike[str], labels: numpy.typing.NDArray[numpy.int64] | "
                   "None = None, "
                   "monitor: WorkMonitor | None = None, layout: str = 'packed', description: int = 0) "
                   "-> dict[str, typing.Any]"),
           "Writes the records; `description` is a hash of what the build is, which the salt of the checks depends on.")
      .def("navigation", &GraphBuilder::navigation, nb::arg("size"), nb::arg("seed") = 0,
           nb::arg("monitor") = nb::none(),
           nb::sig("def navigation(self, size: int, seed: int = 0, monitor: WorkMonitor | None = None) "
                   "-> tuple[numpy.typing.NDArray[numpy.uint32], numpy.typing.NDArray[numpy.uint32]]"))
      .def("adjacency", &GraphBuilder::adjacency, nb::sig("def adjacency(self) -> numpy.typing.NDArray[numpy.int64]"),
           "Out-neighbours (n, widest) int64, padded with -1; for tests and analysis.");

  module.def(
      "rewrite_records", &rewrite_records, nb::arg("section"), nb::arg("count"), nb::arg("dim"), nb::arg("dtype"),
      nb::arg("layout"), nb::arg("locator"), nb::arg("wanted"), nb::arg("path"), nb::arg("description"),
      nb::arg("monitor") = nb::none(),
      nb::sig("def rewrite_records(section: numpy.typing.NDArray[numpy.uint8], count: int, dim: int, "
              "dtype: str, layout: dict[str, int], locator: numpy.typing.NDArray[numpy.uint8], wanted: str, "
              "path: str | os.PathLike[str], description: int, monitor: WorkMonitor | None = None) -> dict[str, "
              "typing.Any]"),
      "Writes the records of a section in another layout, each of them checked; returns what write_records does.");
  module.def(
      "vamana_memory_bytes",
      [](std::uint32_t count, std::uint32_t degree, std::uint32_t list, unsigned threads) {
        VamanaParameters parameters;
        parameters.graph_degree = degree;
        parameters.build_list = list;
        parameters.threads = resolve_threads(threads);
        return vamana_memory_bytes(count, parameters);
      },
      nb::arg("count"), nb::arg("graph_degree"), nb::arg("build_list"), nb::arg("threads") = 0);

  nb::class_<GraphSearcher>(module, "GraphSearcher", "Searches a graph whose records lie in a tier.")
      .def("__init__", &init_searcher, nb::arg("tier"), nb::arg("count"), nb::arg("dim"), nb::arg("dtype"),
           nb::arg("metric"), nb::arg("layout"), nb::arg("locator"), nb::arg("navigation_ids"),
           nb::arg("navigation_edges"), nb::arg("code"), nb::arg("rows").noconvert(), nb::keep_alive<1, 12>(),
           nb::sig(
               "def __init__(self, tier: Tier, count: int, dim: int, dtype: str, metric: str, layout: dict[str, int], "
               "locator: numpy.typing.NDArray[numpy.uint8], navigation_ids: numpy.typing.NDArray[numpy.uint8], "
               "navigation_edges: numpy.typing.NDArray[numpy.uint8], code: Code, "
               "rows: numpy.typing.NDArray[numpy.uint8]) -> None"))
      .def_prop_ro("fast_bytes", &GraphSearcher::fast_bytes)
      .def(
          "fill_hot_set",
          [](GraphSearcher& searcher, std::uint64_t budget_bytes, unsigned threads, const engine::CancelToken* cancel) {
            const nb::gil_scoped_release release;
            return searcher.fill_hot_set(budget_bytes, resolve_threads(threads), cancel);
          },
          nb::arg("budget_bytes"), nb::arg("threads") = 0, nb::arg("cancel") = nb::none(),
          "Keeps the most read records in fast memory, within a budget; returns how many. Before any other search.")
      .def("search", &search, nb::arg("queries"), nb::arg("k"), nb::arg("search_list"), nb::arg("beam_width"),
           nb::arg("stop_margin"), nb::arg("pipeline"), nb::arg("threads"), nb::arg("cancel") = nb::none(),
           nb::arg("timeout_s") = nb::none(), nb::arg("filter") = nb::none(),
           nb::sig("def search(self, queries: numpy.typing.NDArray[numpy.generic], k: int, search_list: int, "
                   "beam_width: int, stop_margin: float, pipeline: bool, threads: int, "
                   "cancel: CancelToken | None = None, timeout_s: float | None = None, "
                   "filter: RowFilter | None = None) -> tuple[typing.Any, ...]"))
      .def("submit", &submit, nb::arg("queries").noconvert(), nb::arg("k"), nb::arg("search_list"),
           nb::arg("beam_width"), nb::arg("stop_margin"), nb::arg("pipeline"), nb::arg("threads"),
           nb::arg("cancel") = nb::none(), nb::arg("timeout_s") = nb::none(), nb::arg("filter") = nb::none(),
           nb::arg("ended") = nb::none(), nb::arg("ticket") = 0, nb::keep_alive<0, 1>(), nb::keep_alive<0, 2>(),
           nb::keep_alive<0, 9>(), nb::keep_alive<0, 11>(),
           nb::sig("def submit(self, queries: numpy.typing.NDArray[numpy.generic], k: int, search_list: int, "
                   "beam_width: int, stop_margin: float, pipeline: bool, threads: int, "
                   "cancel: CancelToken | None = None, timeout_s: float | None = None, "
                   "filter: RowFilter | None = None, ended: EndedSearches | None = None, ticket: int = 0) "
                   "-> PendingSearch"),
           "A search that workers answer meanwhile; `ended` hears of its end.")
      .def(
          "plan",
          [](const GraphSearcher& searcher, const engine::RowFilter& filter, std::uint32_t k,
             std::uint32_t search_list) {
            return std::string(engine::name(searcher.plan(filter, {.k = k, .search_list = std::max(search_list, k)})));
          },
          nb::arg("filter"), nb::arg("k"), nb::arg("search_list"),
          "How a search finds what the filter admits: empty, rows, or search.");
}

}  // namespace tiervec::native
