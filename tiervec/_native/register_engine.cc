#include <nanobind/nanobind.h>

#include <tiervec/engine/row_filter.h>
#include <tiervec/engine/worker.h>

#include "arrays.h"
#include "register.h"
#include "search_costs.h"

namespace nb = nanobind;

namespace tiervec::native {

void register_engine(nb::module_& module) {
  nb::class_<engine::CancelToken>(module, "CancelToken", "Stops searches that run with it, from any thread.")
      .def(nb::init<>())
      .def("cancel", &engine::CancelToken::cancel)
      .def_prop_ro("cancelled", &engine::CancelToken::cancelled);

  module.def(
      "search_result_fields",
      [] {
        nb::list fields;
        for (const char* field : kSearchResultFields) fields.append(field);
        return nb::tuple(fields);
      },
      nb::sig("def search_result_fields() -> tuple[str, ...]"), "Names of what a native search returns, in order.");

  nb::class_<engine::RowFilter>(module, "RowFilter",
                                "Which rows of an index may be found: of vertices, or of positions; immutable.")
      .def(
          "__init__",
          [](engine::RowFilter* self, std::uint32_t rows, const Vector<std::uint64_t>& words) {
            new (self) engine::RowFilter(rows, copy_of(words));
          },
          nb::arg("rows"), nb::arg("words"),
          nb::sig("def __init__(self, rows: int, words: numpy.typing.NDArray[numpy.uint64]) -> None"),
          "Bit `row % 64` of words[row // 64] admits a row.")
      .def_prop_ro("rows", &engine::RowFilter::rows)
      .def_prop_ro("matching", &engine::RowFilter::matching, "Rows that it admits.");
}

}  // namespace tiervec::native
