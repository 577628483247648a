// Our declarations of libibverbs and librdmacm against their own, where their headers are installed. The compiler does
// the comparing.

#include "../../rdma/src/verbs/verbs_abi.h"

#include <dlfcn.h>

#include <string>

#include <gtest/gtest.h>

#include <tiervec/rdma/rdma_tier.h>

#include "../../rdma/src/verbs/verbs_library.h"

#if __has_include(<infiniband/verbs.h>) && __has_include(<rdma/rdma_cma.h>)
#define TIERVEC_VERBS_HEADERS
#include <cstddef>
#include <type_traits>

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

namespace tiervec::rdma::verbs::abi {

#define SAME(ours, our_field, theirs, their_field)                           \
  static_assert(offsetof(ours, our_field) == offsetof(theirs, their_field)); \
  static_assert(sizeof(ours::our_field) == sizeof(theirs::their_field))
#define WHOLE(ours, theirs)                      \
  static_assert(sizeof(ours) == sizeof(theirs)); \
  static_assert(alignof(ours) == alignof(theirs))

SAME(Context, device, ibv_context, device);
SAME(Context, poll, ibv_context, ops.poll_cq);
SAME(Context, post_send, ibv_context, ops.post_send);

WHOLE(DeviceLimits, ibv_device_attr);
SAME(DeviceLimits, queue_pair_requests, ibv_device_attr, max_qp_wr);
SAME(DeviceLimits, completion_queue_entries, ibv_device_attr, max_cqe);
SAME(DeviceLimits, reads_answered_at_once, ibv_device_attr, max_qp_rd_atom);
SAME(DeviceLimits, reads_asked_at_once, ibv_device_attr, max_qp_init_rd_atom);

SAME(Registration, context, ibv_mr, context);
SAME(Registration, domain, ibv_mr, pd);
SAME(Registration, address, ibv_mr, addr);
SAME(Registration, bytes, ibv_mr, length);
SAME(Registration, handle, ibv_mr, handle);
SAME(Registration, local_key, ibv_mr, lkey);
SAME(Registration, remote_key, ibv_mr, rkey);
static_assert(kLocalWrite == IBV_ACCESS_LOCAL_WRITE);
static_assert(kRemoteRead == IBV_ACCESS_REMOTE_READ);

SAME(CompletionQueue, context, ibv_cq, context);
SAME(QueuePair, context, ibv_qp, context);

WHOLE(QueuePairAttributes, ibv_qp_init_attr);
SAME(QueuePairAttributes, user, ibv_qp_init_attr, qp_context);
SAME(QueuePairAttributes, send_completions, ibv_qp_init_attr, send_cq);
SAME(QueuePairAttributes, receive_completions, ibv_qp_init_attr, recv_cq);
SAME(QueuePairAttributes, shared_receives, ibv_qp_init_attr, srq);
SAME(QueuePairAttributes, max_sends, ibv_qp_init_attr, cap.max_send_wr);
SAME(QueuePairAttributes, max_receives, ibv_qp_init_attr, cap.max_recv_wr);
SAME(QueuePairAttributes, max_send_pieces, ibv_qp_init_attr, cap.max_send_sge);
SAME(QueuePairAttributes, max_receive_pieces, ibv_qp_init_attr, cap.max_recv_sge);
SAME(QueuePairAttributes, max_inline_bytes, ibv_qp_init_attr, cap.max_inline_data);
SAME(QueuePairAttributes, type, ibv_qp_init_attr, qp_type);
SAME(QueuePairAttributes, signal_all, ibv_qp_init_attr, sq_sig_all);
static_assert(kReliableConnection == IBV_QPT_RC);

WHOLE(Piece, ibv_sge);
SAME(Piece, address, ibv_sge, addr);
SAME(Piece, bytes, ibv_sge, length);
SAME(Piece, local_key, ibv_sge, lkey);

WHOLE(SendRequest, ibv_send_wr);
SAME(SendRequest, id, ibv_send_wr, wr_id);
SAME(SendRequest, next, ibv_send_wr, next);
SAME(SendRequest, pieces, ibv_send_wr, sg_list);
SAME(SendRequest, piece_count, ibv_send_wr, num_sge);
SAME(SendRequest, opcode, ibv_send_wr, opcode);
SAME(SendRequest, flags, ibv_send_wr, send_flags);
SAME(SendRequest, immediate, ibv_send_wr, imm_data);
SAME(SendRequest, remote_address, ibv_send_wr, wr.rdma.remote_addr);
SAME(SendRequest, remote_key, ibv_send_wr, wr.rdma.rkey);
static_assert(kOpRead == IBV_WR_RDMA_READ);
static_assert(kSignaled == IBV_SEND_SIGNALED);

WHOLE(Completion, ibv_wc);
SAME(Completion, id, ibv_wc, wr_id);
SAME(Completion, status, ibv_wc, status);

#define STATUS(ours, theirs) static_assert(static_cast<unsigned>(CompletionStatus::ours) == theirs)
STATUS(kSuccess, IBV_WC_SUCCESS);
STATUS(kLocalLength, IBV_WC_LOC_LEN_ERR);
STATUS(kLocalQueuePair, IBV_WC_LOC_QP_OP_ERR);
STATUS(kLocalProtection, IBV_WC_LOC_PROT_ERR);
STATUS(kFlushed, IBV_WC_WR_FLUSH_ERR);
STATUS(kLocalAccess, IBV_WC_LOC_ACCESS_ERR);
STATUS(kRemoteRequest, IBV_WC_REM_INV_REQ_ERR);
STATUS(kRemoteAccess, IBV_WC_REM_ACCESS_ERR);
STATUS(kRemoteOperation, IBV_WC_REM_OP_ERR);
STATUS(kNoAnswer, IBV_WC_RETRY_EXC_ERR);
STATUS(kNotReady, IBV_WC_RNR_RETRY_EXC_ERR);

WHOLE(EventChannel, rdma_event_channel);
SAME(EventChannel, file, rdma_event_channel, fd);

SAME(Identifier, device, rdma_cm_id, verbs);
SAME(Identifier, channel, rdma_cm_id, channel);
SAME(Identifier, user, rdma_cm_id, context);
SAME(Identifier, queue_pair, rdma_cm_id, qp);

WHOLE(PortSpace, rdma_port_space);
static_assert(static_cast<unsigned>(PortSpace::kTcp) == RDMA_PS_TCP);
static_assert(kOptionsOfIdentifier == RDMA_OPTION_ID);
static_assert(kOptionAnswerTimeout == RDMA_OPTION_ID_ACK_TIMEOUT);

WHOLE(ConnectionParameters, rdma_conn_param);
SAME(ConnectionParameters, private_data, rdma_conn_param, private_data);
SAME(ConnectionParameters, private_bytes, rdma_conn_param, private_data_len);
SAME(ConnectionParameters, reads_answered_at_once, rdma_conn_param, responder_resources);
SAME(ConnectionParameters, reads_asked_at_once, rdma_conn_param, initiator_depth);
SAME(ConnectionParameters, flow_control, rdma_conn_param, flow_control);
SAME(ConnectionParameters, retries, rdma_conn_param, retry_count);
SAME(ConnectionParameters, not_ready_retries, rdma_conn_param, rnr_retry_count);
SAME(ConnectionParameters, shared_receives, rdma_conn_param, srq);
SAME(ConnectionParameters, queue_pair_number, rdma_conn_param, qp_num);

SAME(Event, identifier, rdma_cm_event, id);
SAME(Event, listener, rdma_cm_event, listen_id);
SAME(Event, type, rdma_cm_event, event);
SAME(Event, status, rdma_cm_event, status);
SAME(Event, connection, rdma_cm_event, param.conn);

#define EVENT(ours, theirs) static_assert(static_cast<unsigned>(EventType::ours) == theirs)
EVENT(kAddressResolved, RDMA_CM_EVENT_ADDR_RESOLVED);
EVENT(kAddressError, RDMA_CM_EVENT_ADDR_ERROR);
EVENT(kRouteResolved, RDMA_CM_EVENT_ROUTE_RESOLVED);
EVENT(kRouteError, RDMA_CM_EVENT_ROUTE_ERROR);
EVENT(kConnectRequest, RDMA_CM_EVENT_CONNECT_REQUEST);
EVENT(kConnectError, RDMA_CM_EVENT_CONNECT_ERROR);
EVENT(kUnreachable, RDMA_CM_EVENT_UNREACHABLE);
EVENT(kRejected, RDMA_CM_EVENT_REJECTED);
EVENT(kEstablished, RDMA_CM_EVENT_ESTABLISHED);
EVENT(kDisconnected, RDMA_CM_EVENT_DISCONNECTED);
EVENT(kDeviceRemoval, RDMA_CM_EVENT_DEVICE_REMOVAL);

#undef EVENT
#undef STATUS
#undef WHOLE
#undef SAME

// Theirs<T>: what the headers call our T. A function is the same when it is the same of their types.
template <class T>
struct TheirsOf {
  using Type = T;
};
template <class T>
using Theirs = typename TheirsOf<T>::Type;
template <class T>
  requires std::is_class_v<T>
struct TheirsOf<T*> {
  using Type = Theirs<T>*;
};
template <class T>
  requires std::is_pointer_v<T>
struct TheirsOf<T*> {
  using Type = Theirs<T>*;
};
template <class Result, class... Arguments>
struct TheirsOf<Result (*)(Arguments...)> {
  using Type = Theirs<Result> (*)(Theirs<Arguments>...);
};

#define CALLED(ours, theirs) \
  template <>                \
  struct TheirsOf<ours> {    \
    using Type = theirs;     \
  }
CALLED(Context, ibv_context);
CALLED(Device, ibv_device);
CALLED(DeviceLimits, ibv_device_attr);
CALLED(ProtectionDomain, ibv_pd);
CALLED(Registration, ibv_mr);
CALLED(CompletionQueue, ibv_cq);
CALLED(CompletionChannel, ibv_comp_channel);
CALLED(QueuePair, ibv_qp);
CALLED(QueuePairAttributes, ibv_qp_init_attr);
CALLED(SendRequest, ibv_send_wr);
CALLED(Completion, ibv_wc);
CALLED(EventChannel, rdma_event_channel);
CALLED(Identifier, rdma_cm_id);
CALLED(ConnectionParameters, rdma_conn_param);
CALLED(Event, rdma_cm_event);
CALLED(PortSpace, rdma_port_space);
#undef CALLED

#define CALLS(ours, theirs) static_assert(std::is_same_v<Theirs<decltype(VerbsLibrary::ours)>, decltype(&::theirs)>)
CALLS(alloc_pd, ibv_alloc_pd);
CALLS(dealloc_pd, ibv_dealloc_pd);
CALLS(reg_mr, ibv_reg_mr);
CALLS(dereg_mr, ibv_dereg_mr);
CALLS(create_cq, ibv_create_cq);
CALLS(destroy_cq, ibv_destroy_cq);
CALLS(query_device, ibv_query_device);
CALLS(device_name, ibv_get_device_name);
CALLS(create_event_channel, rdma_create_event_channel);
CALLS(destroy_event_channel, rdma_destroy_event_channel);
CALLS(get_cm_event, rdma_get_cm_event);
CALLS(ack_cm_event, rdma_ack_cm_event);
CALLS(create_id, rdma_create_id);
CALLS(destroy_id, rdma_destroy_id);
CALLS(set_option, rdma_set_option);
CALLS(bind_addr, rdma_bind_addr);
CALLS(listen, rdma_listen);
CALLS(src_port, rdma_get_src_port);
CALLS(resolve_addr, rdma_resolve_addr);
CALLS(resolve_route, rdma_resolve_route);
CALLS(connect, rdma_connect);
CALLS(accept, rdma_accept);
CALLS(reject, rdma_reject);
CALLS(disconnect, rdma_disconnect);
CALLS(create_qp, rdma_create_qp);
CALLS(destroy_qp, rdma_destroy_qp);
CALLS(get_devices, rdma_get_devices);
CALLS(free_devices, rdma_free_devices);
#undef CALLS
static_assert(std::is_same_v<Theirs<decltype(Context::poll)>, decltype(ibv_context_ops::poll_cq)>);
static_assert(std::is_same_v<Theirs<decltype(Context::post_send)>, decltype(ibv_context_ops::post_send)>);

}  // namespace tiervec::rdma::verbs::abi
#endif

namespace tiervec::rdma::verbs {
namespace {

TEST(VerbsAbi, IsTheLibraries) {
#ifdef TIERVEC_VERBS_HEADERS
  SUCCEED() << "compiled";
#else
  GTEST_SKIP()
      << "infiniband/verbs.h or rdma/rdma_cma.h is not installed: apt-get install libibverbs-dev librdmacm-dev";
#endif
}

// Whatever this was compiled with: every function is found, by its version, where the libraries are installed.
TEST(VerbsAbi, EveryFunctionIsFoundInTheLibraries) {
  for (const char* name : {"libibverbs.so.1", "librdmacm.so.1"}) {
    if (::dlopen(name, RTLD_NOW | RTLD_LOCAL) == nullptr) {
      EXPECT_NE(verbs_status().reason.find(name), std::string::npos) << verbs_status().reason;
      GTEST_SKIP() << name << " is not installed: apt-get install libibverbs1 librdmacm1";
    }
  }
  EXPECT_NO_THROW((void)verbs_library());
  const VerbsStatus status = verbs_status();
  EXPECT_EQ(status.available, !status.devices.empty()) << status.reason;
  EXPECT_EQ(status.reason.find(".so"), std::string::npos) << status.reason;
}

}  // namespace
}  // namespace tiervec::rdma::verbs
