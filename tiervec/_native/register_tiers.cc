// Tiers for Python: opening them, what they are, and the loops that measure them. Searching never passes through here.

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <memory>
#include <string>
#include <vector>

#include <tiervec/rdma/dax_device.h>
#include <tiervec/rdma/dax_tier.h>
#include <tiervec/rdma/emulated_tier.h>
#include <tiervec/rdma/measure.h>
#include <tiervec/rdma/numa_nodes.h>
#include <tiervec/rdma/read_bytes.h>
#include <tiervec/rdma/ssd_tier.h>
#include <tiervec/rdma/tier.h>
#include <tiervec/rdma/tier_registry.h>

#include "arrays.h"
#include "register.h"

namespace nb = nanobind;

namespace tiervec::native {
namespace {

using rdma::DeviceProfile;
using rdma::Tier;

nb::str to_str(std::string_view text) {
  return nb::str(text.data(), text.size());
}

nb::dict profile_dict(const DeviceProfile& profile) {
  nb::list service;
  for (const rdma::ServicePoint& point : profile.service) {
    service.append(nb::make_tuple(point.bytes, point.ns));
  }
  nb::dict result;
  result["latency_us"] = profile.latency_us;
  result["reads_per_s"] = profile.reads_per_s;
  result["bytes_per_s"] = profile.bytes_per_s;
  result["block_bytes"] = profile.block_bytes;
  result["knee_bytes"] = rdma::knee_bytes(profile);
  result["emulated"] = profile.emulated;
  result["source"] = profile.source;
  result["note"] = profile.note;
  result["service"] = service;
  return result;
}

nb::dict check_tier_url(const std::string& text) {
  const rdma::TierUrl url = rdma::parse_tier_url(text);
  nb::dict result;
  result["url"] = url.text;
  result["scheme"] = url.scheme;
  result["rest"] = url.rest;
  return result;
}

nb::list tier_schemes() {
  nb::list schemes;
  for (const rdma::TierScheme& scheme : rdma::tier_schemes()) {
    nb::dict entry;
    entry["name"] = to_str(scheme.name);
    entry["form"] = to_str(scheme.form);
    entry["summary"] = to_str(scheme.summary);
    schemes.append(entry);
  }
  return schemes;
}

nb::list emulated_profiles() {
  nb::list profiles;
  for (const rdma::PublishedProfile& published : rdma::published_profiles()) {
    nb::dict entry = profile_dict(published.profile());
    entry["name"] = to_str(published.name);
    entry["summary"] = to_str(published.summary);
    profiles.append(entry);
  }
  return profiles;
}

nb::object measure_latency_ns(Tier& tier, std::uint32_t read_bytes, std::uint32_t reads, std::uint64_t seed) {
  std::vector<double> latencies_ns;
  {
    const nb::gil_scoped_release released;
    latencies_ns = rdma::measure_latency_ns(tier, read_bytes, reads, seed);
  }
  return to_numpy(std::move(latencies_ns), {reads});
}

double measure_reads_per_s(Tier& tier, std::uint32_t read_bytes, std::uint32_t threads, std::uint32_t reads_in_flight,
                           double seconds, std::uint64_t seed, double patience_s) {
  const nb::gil_scoped_release released;
  return rdma::measure_reads_per_s(tier, {.read_bytes = read_bytes,
                                          .threads = threads,
                                          .reads_in_flight = reads_in_flight,
                                          .seconds = seconds,
                                          .patience_s = patience_s,
                                          .seed = seed});
}

nb::bytes read_bytes(Tier& tier, std::uint64_t offset, std::uint64_t length, std::uint32_t attempt) {
  std::vector<std::byte> bytes;
  {
    const nb::gil_scoped_release released;
    bytes = rdma::read_bytes(tier, offset, length, attempt);
  }
  return nb::bytes(bytes.data(), bytes.size());
}

std::shared_ptr<Tier> open_tier(const std::string& url, const std::filesystem::path& path) {
  const nb::gil_scoped_release released;
  return rdma::open_tier(url, path);
}

void register_tier_class(nb::module_& module) {
  nb::class_<Tier>(module, "Tier", "A region of bytes on a tier; made by open_tier.")
      .def_prop_ro("url", &Tier::url, "The URL it was opened by.")
      .def_prop_ro("size_bytes", &Tier::size_bytes, "Bytes of the region.")
      .def_prop_ro(
          "emulated", [](const Tier& tier) { return tier.profile().emulated; },
          "True when a model of a device answers: every figure from it is an emulated one.")
      .def_prop_ro("verified_at_open", &Tier::verified_at_open,
                   "True when the bytes cannot change under a reader any more.")
      .def_prop_ro(
          "loaded_bytes",
          [](const Tier& tier) {
            const std::span<const std::byte> loaded = tier.loaded_bytes();
            return nb::ndarray<nb::numpy, const std::uint8_t, nb::ndim<1>>(loaded.data(), {loaded.size()});
          },
          nb::rv_policy::reference_internal, nb::sig("def loaded_bytes(self) -> numpy.typing.NDArray[numpy.uint8]"),
          "The region where it was loaded to, not copied; empty unless verified_at_open.")
      .def_prop_ro(
          "profile", [](const Tier& tier) { return profile_dict(tier.profile()); },
          nb::sig("def profile(self) -> dict[str, object]"),
          "What the device can do: latency_us, reads_per_s, bytes_per_s, block_bytes, knee_bytes, emulated, "
          "source (nominal, published, given, measured), note (a sentence or empty), service (list of (bytes, ns a "
          "read "
          "occupies it)).")
      .def_prop_ro(
          "note", [](const Tier& tier) { return tier.profile().note; },
          "The note of the profile: what the tier cannot do as asked, a sentence or empty.")
      .def_prop_ro(
          "counters",
          [](const Tier& tier) {
            nb::dict counters;
            for (const rdma::TierCounter& counter : tier.counters()) {
              counters[nb::str(counter.name.c_str())] = counter.value;
            }
            return counters;
          },
          nb::sig("def counters(self) -> dict[str, int]"),
          "What its queues did since it was opened, for example reads and doorbells; empty for a tier that does not "
          "count.")
      .def(
          "device_bound_qps",
          [](const Tier& tier, double reads_per_query, double bytes_per_query) {
            return rdma::device_bound_qps(tier.profile(), reads_per_query, bytes_per_query);
          },
          nb::arg("reads_per_query"), nb::arg("bytes_per_query"),
          "Queries/s at which the device is busy all the time; inf when a query reads nothing.")
      .def(
          "fraction_of_limit",
          [](const Tier& tier, double qps, double reads_per_query, double bytes_per_query) {
            return rdma::fraction_of_limit(tier.profile(), qps, reads_per_query, bytes_per_query);
          },
          nb::arg("qps"), nb::arg("reads_per_query"), nb::arg("bytes_per_query"),
          "Share of the device's time that such queries take.")
      .def_prop_ro(
          "reads_in_flight", [](const Tier& tier) { return rdma::reads_in_flight(tier.profile()); },
          "Reads that keep the device busy: reads/s times latency.")
      .def(
          "service_ns",
          [](const Tier& tier, double read_bytes) { return rdma::service_ns(tier.profile(), read_bytes); },
          nb::arg("read_bytes"), "Nanoseconds that a read of this size occupies the device, by its profile.")
      .def("measure_latency_ns", &measure_latency_ns, nb::arg("read_bytes"), nb::arg("reads"), nb::arg("seed"),
           nb::sig("def measure_latency_ns(self, read_bytes: int, reads: int, seed: int) -> "
                   "numpy.typing.NDArray[numpy.float64]"),
           "Times of single reads in nanoseconds, ascending.")
      .def(
          "measure_reads_per_s", &measure_reads_per_s, nb::arg("read_bytes"), nb::arg("threads"),
          nb::arg("reads_in_flight"), nb::arg("seconds"), nb::arg("seed"), nb::arg("patience_s") = 1.0,
          "Reads/s of all threads together, `reads_in_flight` for each thread. While none is back the run goes on, for "
          "`patience_s` at most; 0 then.")
      .def_prop_ro("replicas", &Tier::replicas, "Copies of the region that answer different attempts of a read.")
      .def("read", &read_bytes, nb::arg("offset"), nb::arg("length"), nb::arg("attempt") = 0,
           "A copy of bytes of the region, for checks; of another replica at each attempt.");
}

using rdma::DaxTier;

std::shared_ptr<DaxTier> attach_dax(const std::string& url, std::uint64_t size_bytes, std::uint64_t checksum) {
  const nb::gil_scoped_release released;
  return DaxTier::attach(rdma::parse_dax_place(rdma::parse_tier_url(url)), size_bytes, checksum);
}

std::shared_ptr<DaxTier> load_dax(const std::string& url, const std::filesystem::path& path) {
  const nb::gil_scoped_release released;
  return DaxTier::load(rdma::parse_dax_place(rdma::parse_tier_url(url)), path);
}

nb::list numa_nodes() {
  nb::list nodes;
  for (const rdma::NumaNode& node : rdma::numa_nodes()) {
    nb::list distances;
    for (const unsigned distance : node.distances) {
      distances.append(distance);
    }
    nb::dict entry;
    entry["id"] = node.id;
    entry["cpus"] = node.cpus;
    entry["total_bytes"] = node.total_bytes;
    entry["available_bytes"] = node.available_bytes;
    entry["distances"] = distances;
    nodes.append(entry);
  }
  return nodes;
}

nb::list dax_devices() {
  nb::list devices;
  for (const rdma::DaxDevice& device : rdma::dax_devices()) {
    nb::dict entry;
    entry["name"] = device.name;
    entry["size_bytes"] = device.size_bytes;
    entry["align_bytes"] = device.align_bytes;
    entry["node"] = device.node;
    devices.append(entry);
  }
  return devices;
}

void register_local_devices(nb::module_& module) {
  nb::class_<DaxTier, Tier>(module, "DaxTier", "A region of a dax: place; made by attach_dax and load_dax.")
      .def_prop_ro(
          "bytes",
          [](nb::handle_t<DaxTier> self) {
            const std::span<const std::byte> bytes = nb::cast<DaxTier&>(self).bytes();
            return nb::ndarray<nb::numpy, const std::uint8_t>(bytes.data(), {bytes.size()}, self);
          },
          nb::sig("def bytes(self) -> numpy.typing.NDArray[numpy.uint8]"), "The region itself, read-only.")
      .def("complete", &DaxTier::complete, nb::arg("checksum"), nb::arg("name"),
           "Marks a loaded region complete, so that attach_dax finds it. `name` is for people.");
  module.def(
      "attach_dax", &attach_dax, nb::arg("url"), nb::arg("size_bytes"), nb::arg("checksum"),
      nb::sig("def attach_dax(url: str, size_bytes: int, checksum: int) -> DaxTier | None"),
      "The complete region of that size and XXH3 at a dax: place, without reading it; None when the place is free.");
  module.def("load_dax", &load_dax, nb::arg("url"), nb::arg("path"),
             nb::sig("def load_dax(url: str, path: str | os.PathLike[str]) -> DaxTier"),
             "Copies the file `path` to a free dax: place. Not complete before DaxTier.complete.");
  module.def(
      "numa_nodes", &numa_nodes, nb::sig("def numa_nodes() -> list[dict[str, typing.Any]]"),
      "NUMA nodes of this machine: id, cpus, total_bytes, available_bytes, distances (to each node of the list); "
      "empty without NUMA support.");
  module.def("dax_devices", &dax_devices, nb::sig("def dax_devices() -> list[dict[str, typing.Any]]"),
             "DAX devices of this machine: name, size_bytes, align_bytes, node (-1: none).");
}

}  // namespace

void register_tiers(nb::module_& module) {
  register_tier_class(module);
  register_local_devices(module);
  module.def("open_tier", &open_tier, nb::arg("url"), nb::arg("path"),
             nb::sig("def open_tier(url: str, path: str | os.PathLike[str]) -> Tier"),
             "Opens the bytes of the file `path` on a tier.");
  module.def("check_tier_url", &check_tier_url, nb::arg("url"),
             nb::sig("def check_tier_url(url: str) -> dict[str, str]"),
             "Splits a tier URL into url, scheme and rest, or raises; touches no file.");
  module.def("tier_schemes", &tier_schemes, nb::sig("def tier_schemes() -> list[dict[str, str]]"),
             "The schemes this build knows: name, form, summary.");
  module.def(
      "io_uring_status",
      [] {
        const rdma::IoUringStatus status = rdma::io_uring_status();
        nb::dict result;
        result["available"] = status.available;
        result["reason"] = status.reason;
        return result;
      },
      nb::sig("def io_uring_status() -> dict[str, typing.Any]"),
      "Whether ssd: reads by io_uring here: available, reason (why not, or empty).");
  module.def("emulated_profiles", &emulated_profiles, nb::sig("def emulated_profiles() -> list[dict[str, object]]"),
             "The published devices that emulated: knows: name, summary and the keys of Tier.profile.");
}

}  // namespace tiervec::native
