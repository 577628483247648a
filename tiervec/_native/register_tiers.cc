#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <tiervec/rdma/tier.h>

#include "register.h"

namespace nb = nanobind;

namespace tiervec::native {

void register_tiers(nb::module_& module) {
  nb::class_<rdma::Tier>(module, "Tier")
      .def_prop_ro("url", &rdma::Tier::url)
      .def_prop_ro("size_bytes", &rdma::Tier::size_bytes)
      .def_prop_ro("verified_at_open", &rdma::Tier::verified_at_open)
      .def_prop_ro("profile", [](const rdma::Tier& tier) {
        const rdma::DeviceProfile profile = tier.profile();
        nb::dict result;
        result["latency_us"] = profile.latency_us;
        result["reads_per_s"] = profile.reads_per_s;
        result["bytes_per_s"] = profile.bytes_per_s;
        result["block_bytes"] = profile.block_bytes;
        result["emulated"] = profile.emulated;
        return result;
      });
  module.def("open_tier", &rdma::open_tier, nb::arg("url"), nb::arg("path"));
}

}  // namespace tiervec::native
