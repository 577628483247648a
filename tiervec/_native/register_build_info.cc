#include <nanobind/stl/string.h>

#include <atomic>
#include <string>
#include <vector>

#include <tiervec/core/thread.h>

#include "register.h"

namespace nb = nanobind;

namespace tiervec::native {
namespace {

std::string compiler() {
#if defined(__clang__)
  return std::string("clang ") + __clang_version__;
#elif defined(__GNUC__)
  return std::string("gcc ") + __VERSION__;
#else
  return "unknown";
#endif
}

const char* architecture() {
#if defined(__x86_64__)
  return "x86_64";
#elif defined(__aarch64__)
  return "aarch64";
#else
  return "other";
#endif
}

unsigned startable_threads(unsigned wanted) {
  std::atomic<bool> over{false};
  std::vector<Thread> threads;
  threads.reserve(wanted);
  bool refused = false;
  while (!refused && threads.size() + 1 < wanted) {
    try {
      threads.emplace_back("a build", [&over] { over.wait(false); });
    } catch (const Error&) {
      refused = true;
    }
  }
  over = true;
  over.notify_all();
  return static_cast<unsigned>(threads.size()) + 1;
}

nb::dict build_info() {
  nb::dict features;
#ifdef TIERVEC_X86
  features["x86_kernels"] = true;
#else
  features["x86_kernels"] = false;
#endif
#ifdef NDEBUG
  features["assertions"] = false;
#else
  features["assertions"] = true;
#endif
  features["sanitizers"] = std::string(TIERVEC_SANITIZE);

  nb::dict info;
  info["version"] = std::string(TIERVEC_VERSION);
  info["compiler"] = compiler();
  info["build_type"] = std::string(TIERVEC_BUILD_TYPE);
  info["architecture"] = architecture();
  info["features"] = features;
  return info;
}

}  // namespace

void register_build_info(nb::module_& module) {
  module.def(
      "startable_threads", &startable_threads, nb::arg("wanted"), nb::call_guard<nb::gil_scoped_release>(),
      "How many of so many threads, the caller's included, the system lets run at once: for libraries that end the "
      "process when they get fewer than they ask for.");
  module.def("set_leak_warnings", &nb::set_leak_warnings, nb::arg("wanted"),
             "Whether objects that are alive at the end of the interpreter are reported on stderr.");
  module.def("build_info", &build_info, nb::sig("def build_info() -> dict[str, object]"),
             "How this extension was built: version, compiler, build_type, architecture, features.");
}

}  // namespace tiervec::native
