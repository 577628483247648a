#include <nanobind/nanobind.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/vector.h>

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

  nb::class_<engine::EndedSearches>(module, "EndedSearches",
                                    "Tells an event loop of searches that have ended, by their tickets.")
      .def(nb::init<>())
      .def("fileno", &engine::EndedSearches::descriptor, "Readable while there are some.")
      .def("take", &engine::EndedSearches::take, nb::sig("def take(self) -> list[int]"),
           "Tickets of those that ended since the last take.");

  nb::class_<PendingAnswers>(module, "PendingSearch",
                             "A search that workers answer meanwhile. Its end cancels it and waits for it.")
      .def_prop_ro("answered_at_once", &PendingAnswers::is_answered_at_once, "Then nobody is told of its end.")
      .def("cancel", &PendingAnswers::cancel, "Stops it; it soon is complete.")
      .def("expire", &PendingAnswers::expire, "To be called at its deadline, where nobody waits.")
      .def("wait", &PendingAnswers::wait, nb::arg("limit_s"), "Waits for so long at most; True: it is complete.")
      .def("result", &PendingAnswers::result, nb::sig("def result(self) -> tuple[typing.Any, ...]"),
           "What `search` of the searcher returns, or its error; waits until it is complete. Only once.");

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
