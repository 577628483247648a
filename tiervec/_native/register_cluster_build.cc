#include <string>

#include <tiervec/cluster_index/closure.h>
#include <tiervec/cluster_index/group_order.h>
#include <tiervec/core/parallel.h>

#include "arrays.h"
#include "register.h"

namespace nb = nanobind;

namespace tiervec::native {
namespace {

using namespace cluster_index;

template <class T>
using Rows = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T>
using Output = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void closure(const Rows<const float>& centroids, const Rows<const std::int64_t>& ids,
             const Rows<const float>& distances, float most_distance, float rng, const Rows<std::uint32_t>& lists,
             unsigned threads) {
  const ClosureCandidates candidates{ids.data(), distances.data(), ids.shape(0), ids.shape(1)};
  if (distances.shape(0) != candidates.rows || distances.shape(1) != candidates.width ||
      lists.shape(0) != candidates.rows || lists.shape(1) == 0) {
    throw Error(ErrorCode::kInvalidArgument, "ids, distances and lists must have one row per vector");
  }
  const nb::gil_scoped_release release;
  choose_closure({centroids.data(), centroids.size()}, centroids.shape(1), candidates,
                 {.most_distance = most_distance, .rng = rng}, lists.shape(1), lists.data(), resolve_threads(threads));
}

void members(const Rows<const std::uint32_t>& lists, const Output<std::int64_t>& next,
             const Output<std::uint32_t>& rows) {
  const nb::gil_scoped_release release;
  list_members(lists.data(), lists.shape(0), lists.shape(1), {next.data(), next.size()}, {rows.data(), rows.size()});
}

void order(const Output<const std::int64_t>& posting_offsets, const Output<const std::uint32_t>& members_by_cluster,
           const Output<const std::uint32_t>& groups, const Rows<const std::uint32_t>& probes,
           const Output<std::uint32_t>& chain, const Output<std::uint32_t>& rows, unsigned threads,
           WorkMonitor* monitor) {
  GroupSample sample;
  sample.posting_offsets = {posting_offsets.data(), posting_offsets.size()};
  sample.members = {members_by_cluster.data(), members_by_cluster.size()};
  sample.groups = {groups.data(), groups.size()};
  sample.probes = {probes.data(), probes.size()};
  sample.width = probes.shape(1);
  const nb::gil_scoped_release release;
  order_groups(sample, {chain.data(), chain.size()}, {rows.data(), rows.size()}, resolve_threads(threads), monitor);
}

}  // namespace

void register_cluster_build(nb::module_& module) {
  module.def(
      "cluster_closure", &closure, nb::arg("centroids").noconvert(), nb::arg("ids").noconvert(),
      nb::arg("distances").noconvert(), nb::arg("most_distance"), nb::arg("rng"), nb::arg("lists").noconvert(),
      nb::arg("threads"),
      nb::sig("def cluster_closure(centroids: numpy.typing.NDArray[numpy.float32], "
              "ids: numpy.typing.NDArray[numpy.int64], distances: numpy.typing.NDArray[numpy.float32], "
              "most_distance: float, rng: float, lists: numpy.typing.NDArray[numpy.uint32], threads: int) -> None"),
      "Chooses the clusters that list each vector among its nearest (rows, width); fills lists (rows, replicas).");
  module.def("cluster_members", &members, nb::arg("lists").noconvert(), nb::arg("next").noconvert(),
             nb::arg("rows").noconvert(),
             nb::sig("def cluster_members(lists: numpy.typing.NDArray[numpy.uint32], "
                     "next: numpy.typing.NDArray[numpy.int64], rows: numpy.typing.NDArray[numpy.uint32]) -> None"),
             "Fills `rows` with the members of each cluster, ascending, from the offsets `next` on.");
  module.def(
      "cluster_group_order", &order, nb::arg("posting_offsets").noconvert(), nb::arg("members").noconvert(),
      nb::arg("groups").noconvert(), nb::arg("probes").noconvert(), nb::arg("chain").noconvert(),
      nb::arg("rows").noconvert(), nb::arg("threads"), nb::arg("monitor") = nb::none(),
      nb::sig("def cluster_group_order(posting_offsets: numpy.typing.NDArray[numpy.int64], "
              "members: numpy.typing.NDArray[numpy.uint32], groups: numpy.typing.NDArray[numpy.uint32], "
              "probes: numpy.typing.NDArray[numpy.uint32], chain: numpy.typing.NDArray[numpy.uint32], "
              "rows: numpy.typing.NDArray[numpy.uint32], threads: int, monitor: WorkMonitor | None = None) "
              "-> None"),
      "Fills `chain` (clusters,) with the clusters and `rows` (n,) with the rows in the order of the grouped layout.");
}

}  // namespace tiervec::native
