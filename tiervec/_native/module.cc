// tiervec._core, the one extension module: the only place where C++ meets Python.

#include "register.h"

NB_MODULE(_core, module) {
  using namespace tiervec::native;
  module.doc() = "Native part of TierVec; use the tiervec package instead.";
  register_errors(module);  // first: the others may throw tiervec::Error
  register_build_info(module);
  register_process_limits(module);
  register_tiers(module);
  register_memory_node(module);
  register_remote_tiers(module);
  register_verbs(module);
  register_codes(module);
  register_engine(module);
  register_graph_index(module);
  register_cluster_build(module);
  register_cluster_index(module);
}
