#include <nanobind/stl/string.h>

#include <string>

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
  module.def("build_info", &build_info, nb::sig("def build_info() -> dict[str, object]"),
             "How this extension was built: version, compiler, build_type, architecture, features.");
}

}  // namespace tiervec::native
