#pragma once

// One function per area; module.cc calls each once. To bind a new area: write register_<area>.cc, declare it here, and
// add its call to module.cc. Names go straight into tiervec._core.

#include <nanobind/nanobind.h>

namespace tiervec::native {

void register_errors(nanobind::module_& module);
void register_build_info(nanobind::module_& module);
void register_process_limits(nanobind::module_& module);
void register_tiers(nanobind::module_& module);
void register_memory_node(nanobind::module_& module);
void register_remote_tiers(nanobind::module_& module);
void register_verbs(nanobind::module_& module);
void register_codes(nanobind::module_& module);
void register_engine(nanobind::module_& module);
void register_graph_index(nanobind::module_& module);
void register_cluster_build(nanobind::module_& module);
void register_cluster_index(nanobind::module_& module);

}  // namespace tiervec::native
