#pragma once

// libibverbs and librdmacm, loaded when they are first needed: TierVec runs where they are not installed.

#include <string>

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

namespace tiervec::rdma::verbs {

/// The functions used, by their names. What verbs.h defines inline (ibv_post_send, ibv_poll_cq) goes through the
/// context's own table and needs no entry.
struct VerbsLibrary {
  // libibverbs
  decltype(&::ibv_alloc_pd) alloc_pd;
  decltype(&::ibv_dealloc_pd) dealloc_pd;
  decltype(&::ibv_reg_mr) reg_mr;
  decltype(&::ibv_dereg_mr) dereg_mr;
  decltype(&::ibv_create_cq) create_cq;
  decltype(&::ibv_destroy_cq) destroy_cq;
  decltype(&::ibv_query_device) query_device;
  decltype(&::ibv_get_device_name) device_name;

  // librdmacm
  decltype(&::rdma_create_event_channel) create_event_channel;
  decltype(&::rdma_destroy_event_channel) destroy_event_channel;
  decltype(&::rdma_get_cm_event) get_cm_event;
  decltype(&::rdma_ack_cm_event) ack_cm_event;
  decltype(&::rdma_create_id) create_id;
  decltype(&::rdma_destroy_id) destroy_id;
  decltype(&::rdma_set_option) set_option;
  decltype(&::rdma_bind_addr) bind_addr;
  decltype(&::rdma_listen) listen;
  decltype(&::rdma_get_src_port) src_port;
  decltype(&::rdma_resolve_addr) resolve_addr;
  decltype(&::rdma_resolve_route) resolve_route;
  decltype(&::rdma_connect) connect;
  decltype(&::rdma_accept) accept;
  decltype(&::rdma_reject) reject;
  decltype(&::rdma_disconnect) disconnect;
  decltype(&::rdma_create_qp) create_qp;
  decltype(&::rdma_destroy_qp) destroy_qp;
  decltype(&::rdma_get_devices) get_devices;
  decltype(&::rdma_free_devices) free_devices;
};

/// Throws Error(kUnsupported) saying which library is missing and how to get it. They stay loaded.
const VerbsLibrary& verbs_library();

/// Throws Error(kUnsupported) when the libraries or a device are missing, naming `what` needs them.
const VerbsLibrary& require_device(const std::string& what);

/// Throws Error(kUnsupported) in a child that was forked after RDMA was used: the devices that librdmacm holds open,
/// and all that was made with them, are the parent's.
void refuse_inherited_devices(const std::string& what);

/// An event channel on which get_cm_event does not wait; null when it cannot be had. An event that poll() announced is
/// gone again when its identifier was destroyed meanwhile, and waiting for the next one may take for ever.
rdma_event_channel* make_event_channel(const VerbsLibrary& library) noexcept;

/// "Cannot allocate memory" and the like.
std::string errno_text(int error);

/// What to do when memory cannot be registered: names the limit of locked memory, when that may be why.
std::string registration_failure(int error, std::uint64_t bytes);

}  // namespace tiervec::rdma::verbs
