// What a memory node written in Python needs of C++: the memory it lends and the server of its TCP data plane; and the
// compute node's way to one region of one node.

#include <nanobind/nanobind.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>

#include <tiervec/core/status.h>
#include <tiervec/rdma/attachment.h>
#include <tiervec/rdma/node_memory.h>
#include <tiervec/rdma/region_server.h>
#include <tiervec/rdma/tcp_tier.h>

#include "register.h"

namespace nb = nanobind;

namespace tiervec::native {
namespace {

using rdma::Attachment;
using rdma::AttachToken;
using rdma::NodeMemory;
using rdma::RegionServer;

AttachToken token_of(const nb::bytes& bytes) {
  AttachToken token;
  if (bytes.size() != token.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "an attach token has " + std::to_string(token.size()) + " bytes, got " + std::to_string(bytes.size()));
  }
  std::copy_n(static_cast<const std::byte*>(bytes.data()), token.size(), token.begin());
  return token;
}

// Writable bytes without a copy: memoryview(memory), numpy.frombuffer(memory, dtype).
int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  auto& memory = *nb::inst_ptr<NodeMemory>(nb::handle(self));
  return PyBuffer_FillInfo(view, self, memory.data(), static_cast<Py_ssize_t>(memory.size_bytes()), 0, flags);
}

PyType_Slot memory_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(&get_buffer)}, {0, nullptr}};

void register_node_memory(nb::module_& module) {
  nb::class_<NodeMemory>(module, "NodeMemory", nb::type_slots(memory_slots),
                         "Zeroed, page-aligned memory that a memory node lends; a writable buffer.")
      .def(
          "__init__",
          [](NodeMemory* self, std::uint64_t size_bytes, bool lock) {
            const nb::gil_scoped_release released;
            new (self) NodeMemory(size_bytes, lock);
          },
          nb::arg("size_bytes"), nb::arg("lock"))
      .def_prop_ro("size_bytes", &NodeMemory::size_bytes, "Bytes lent.")
      .def_prop_ro("locked", &NodeMemory::locked,
                   "True when the pages cannot be swapped out: it was asked for, and RLIMIT_MEMLOCK allowed it.")
      .def_prop_ro("huge_pages", &NodeMemory::huge_pages, "True when the kernel may back it with huge pages.")
      .def_prop_ro(
          "address", [](const NodeMemory& memory) { return reinterpret_cast<std::uintptr_t>(memory.data()); },
          "Where it begins, for a network card.");
}

nb::dict stats_dict(const RegionServer& server) {
  const RegionServer::Stats stats = server.stats();
  nb::dict result;
  result["connections"] = stats.connections;
  result["reads"] = stats.reads;
  result["bytes"] = stats.bytes;
  result["refused"] = stats.refused;
  result["over_share"] = stats.over_share;
  result["dropped"] = stats.dropped;
  result["strangers"] = stats.strangers;
  result["max_connections"] = stats.max_connections;
  result["max_connections_per_address"] = stats.max_connections_per_address;
  result["max_strangers"] = stats.max_strangers;
  result["cut_turns"] = stats.cut_turns;
  result["largest_turn_bytes"] = stats.largest_turn_bytes;
  result["cpu_seconds"] = stats.cpu_seconds;
  return result;
}

void register_region_server(nb::module_& module) {
  using nb::call_guard;
  using nb::gil_scoped_release;
  nb::class_<RegionServer>(module, "RegionServer", "The TCP data plane of a memory node.")
      .def(
          "__init__",
          [](RegionServer* self, const std::string& host, std::uint16_t port, unsigned threads,
             std::uint32_t max_per_address) {
            const nb::gil_scoped_release released;
            new (self) RegionServer(host, port, threads, {.max_connections_per_address = max_per_address});
          },
          nb::arg("host"), nb::arg("port") = 0, nb::arg("threads") = 1, nb::arg("max_per_address") = 0)
      .def_prop_ro("port", &RegionServer::port, "Where it listens.")
      .def("stats", &stats_dict, nb::sig("def stats(self) -> dict[str, int | float]"),
           "connections (open now), reads, bytes, refused, over_share (of the refused: their address had as many "
           "connections as it may), dropped (clients that took no reply), strangers (open now, no token shown yet), "
           "max_connections, max_connections_per_address, max_strangers, cut_turns, largest_turn_bytes, cpu_seconds.")
      .def(
          "serve",
          [](RegionServer& server, std::uint64_t region_id, const nb::bytes& token, std::shared_ptr<NodeMemory> memory,
             std::uint64_t offset, std::uint64_t size_bytes) {
            server.serve(region_id, token_of(token), std::move(memory), offset, size_bytes);
          },
          nb::arg("region_id"), nb::arg("token"), nb::arg("memory"), nb::arg("offset"), nb::arg("size_bytes"),
          "Makes a part of the memory readable for clients that show the token of 16 bytes.")
      .def("withdraw", &RegionServer::withdraw, nb::arg("region_id"), call_guard<gil_scoped_release>(),
           "Ends a region: when this returns, its memory is not looked at any more.")
      .def("stop", &RegionServer::stop, call_guard<gil_scoped_release>(),
           "Answers what has arrived, closes every connection, ends the threads.");
}

}  // namespace

void register_memory_node(nb::module_& module) {
  register_node_memory(module);
  register_region_server(module);
  module.def(
      "open_tcp_tier",
      [](const std::string& url, const Attachment& attachment, std::uint32_t timeout_ms, bool check_at_open) {
        const nb::gil_scoped_release released;
        return rdma::open_tcp_tier(url, attachment,
                                   {.timeout = std::chrono::milliseconds(timeout_ms), .check_at_open = check_at_open});
      },
      nb::arg("url"), nb::arg("attachment"), nb::arg("timeout_ms") = 500, nb::arg("check_at_open") = true,
      "Opens a region of one memory node for reading through TCP.");
}

}  // namespace tiervec::native
