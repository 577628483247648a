// The RDMA data plane of a memory node for Python, and what this process can do with RDMA. Reads never pass through
// here.

#include <nanobind/stl/string.h>

#include <cstring>

#include <tiervec/rdma/rdma_tier.h>
#include <tiervec/rdma/verbs_server.h>

#include "register.h"

namespace nb = nanobind;

namespace tiervec::native {
namespace {

using rdma::AttachToken;
using rdma::VerbsServer;

AttachToken token_of(const nb::bytes& bytes) {
  AttachToken token;
  if (bytes.size() != token.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "an attach token has " + std::to_string(token.size()) + " bytes, got " + std::to_string(bytes.size()));
  }
  std::memcpy(token.data(), bytes.c_str(), token.size());
  return token;
}

nb::tuple serve(VerbsServer& server, std::uint64_t region_id, const nb::bytes& token, std::uintptr_t address,
                std::uint64_t size_bytes) {
  const AttachToken shown = token_of(token);
  VerbsServer::RemoteKey key;
  {
    const nb::gil_scoped_release released;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): Python knows memory by its address
    key = server.serve(region_id, shown, reinterpret_cast<const std::byte*>(address), size_bytes);
  }
  return nb::make_tuple(key.address, key.key);
}

nb::dict stats(const VerbsServer& server) {
  const VerbsServer::Stats now = server.stats();
  nb::dict result;
  result["connections"] = now.connections;
  result["accepted"] = now.accepted;
  result["refused"] = now.refused;
  result["cpu_seconds"] = now.cpu_seconds;
  return result;
}

nb::dict verbs_status() {
  const rdma::VerbsStatus status = rdma::verbs_status();
  nb::list devices;
  for (const std::string& device : status.devices) {
    devices.append(device);
  }
  nb::dict result;
  result["available"] = status.available;
  result["reason"] = status.reason;
  result["devices"] = devices;
  return result;
}

}  // namespace

void register_verbs(nb::module_& module) {
  using Released = nb::call_guard<nb::gil_scoped_release>;
  nb::class_<VerbsServer>(module, "VerbsServer", "The RDMA data plane of a memory node.")
      .def(nb::init<const std::string&, std::uint16_t, const std::string&, std::uint32_t>(), nb::arg("host"),
           nb::arg("port") = 0, nb::arg("device") = "", nb::arg("max_connections") = 4096, Released(),
           "Listens on an address of an RDMA device; port 0 takes a free one.")
      .def_prop_ro("port", &VerbsServer::port, "The port it listens on.")
      .def_prop_ro("device", &VerbsServer::device, "The RDMA device its regions are registered with.")
      .def("stats", &stats, nb::sig("def stats(self) -> dict[str, float]"),
           "connections (open now), accepted, refused, cpu_seconds (of its thread).")
      .def("serve", &serve, nb::arg("region_id"), nb::arg("token"), nb::arg("address"), nb::arg("size_bytes"),
           nb::sig("def serve(self, region_id: int, token: bytes, address: int, size_bytes: int) -> tuple[int, int]"),
           "Registers memory, which the caller keeps until it is withdrawn, for remote reading; returns (remote "
           "address, "
           "key).")
      .def("withdraw", &VerbsServer::withdraw, nb::arg("region_id"), Released(),
           "Ends the region's connections; its memory is free when this returns.")
      .def("stop", &VerbsServer::stop, Released(), "Withdraws everything and accepts nothing more.");
  module.def("verbs_status", &verbs_status, nb::sig("def verbs_status() -> dict[str, object]"),
             "What this process can do with RDMA: available, reason (why not), devices.");
}

}  // namespace tiervec::native
