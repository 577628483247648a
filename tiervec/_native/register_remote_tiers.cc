// Tiers of memory nodes for Python, which asks the nodes' control planes where a region is.

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <tiervec/rdma/attachment.h>
#include <tiervec/rdma/remote_tier.h>

#include "register.h"

namespace nb = nanobind;

namespace tiervec::native {
namespace {

using rdma::Attachment;

void init_attachment(Attachment* self, std::string transport, std::string host, std::uint16_t port,
                     std::uint64_t region_id, std::uint64_t size_bytes, const nb::bytes& token,
                     std::uint64_t remote_address, std::uint32_t remote_key) {
  rdma::AttachToken bytes{};
  if (token.size() != bytes.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "an attach token has " + std::to_string(bytes.size()) + " bytes, got " + std::to_string(token.size()));
  }
  std::memcpy(bytes.data(), token.data(), bytes.size());
  new (self)
      Attachment{std::move(transport), std::move(host), port, region_id, size_bytes, bytes, remote_address, remote_key};
}

std::shared_ptr<rdma::Tier> open_remote_tier(const std::string& url,
                                             const std::vector<std::vector<Attachment>>& replicas) {
  const nb::gil_scoped_release released;
  return rdma::open_remote_tier(url, replicas);
}

}  // namespace

void register_remote_tiers(nb::module_& module) {
  nb::class_<Attachment>(module, "Attachment",
                         "What one memory node said about one region, or about its stripe of one; holds a secret.")
      .def("__init__", &init_attachment, nb::kw_only(), nb::arg("transport"), nb::arg("host"), nb::arg("port"),
           nb::arg("region_id"), nb::arg("size_bytes"), nb::arg("token"), nb::arg("remote_address") = 0,
           nb::arg("remote_key") = 0)
      .def_ro("transport", &Attachment::transport, "\"tcp\" or \"rdma\".")
      .def_ro("host", &Attachment::host, "Of the data plane.")
      .def_ro("port", &Attachment::port)
      .def_ro("region_id", &Attachment::region_id)
      .def_ro("size_bytes", &Attachment::size_bytes)
      .def("__repr__", [](const Attachment& self) {
        return "<Attachment of region " + std::to_string(self.region_id) + ", " + std::to_string(self.size_bytes) +
               " bytes, at " + self.transport + "://" + self.host + ":" + std::to_string(self.port) + ">";
      });
  module.def(
      "open_remote_tier", &open_remote_tier, nb::arg("url"), nb::arg("replicas"),
      "Opens a region of memory nodes: a list of replicas, each a list of stripes. Replicas that cannot be reached "
      "now are taken in later; one must be there.");
}

}  // namespace tiervec::native
