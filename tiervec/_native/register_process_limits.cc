// What this process may use of the machine (core/process_limits.h), for Python.

#include <nanobind/stl/string.h>

#include <string>

#include <tiervec/core/parallel.h>
#include <tiervec/core/process_limits.h>

#include "register.h"

namespace nb = nanobind;

namespace tiervec::native {
namespace {

nb::dict available_memory_of(const std::string& root) {
  const AvailableMemory available = available_memory(root);
  nb::dict result;
  result["bytes"] = available.bytes;
  result["source"] = available.source;
  return result;
}

nb::dict cpu_limit_of(const std::string& root) {
  const CpuLimit limit = cpu_limit(root);
  nb::dict result;
  result["threads"] = limit.threads();
  result["allowed_cpus"] = limit.allowed_cpus;
  result["quota_cpus"] = limit.quota_cpus;
  result["quota_source"] = limit.quota_source;
  return result;
}

}  // namespace

void register_process_limits(nb::module_& module) {
  module.def("resolve_threads", &resolve_threads, nb::arg("threads"),
             "0 becomes the lesser of the CPUs this process may run on and its CPU quota, rounded up.");
  module.def("cpu_limit", &cpu_limit_of, nb::arg("root") = "/",
             nb::sig("def cpu_limit(root: str = '/') -> dict[str, typing.Any]"),
             "CPUs for this process: threads (what 0 becomes), allowed_cpus (by affinity), quota_cpus (0: none), "
             "quota_source.");
  module.def("available_memory_bytes", &available_memory_bytes,
             "Bytes this process can still use without swapping, by the kernel's estimate and its control groups.");
  module.def("available_memory", &available_memory_of, nb::arg("root") = "/",
             nb::sig("def available_memory(root: str = '/') -> dict[str, typing.Any]"),
             "The same with the file that sets the limit: bytes, source (empty: nothing is known).");
}

}  // namespace tiervec::native
