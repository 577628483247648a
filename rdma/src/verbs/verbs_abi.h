#pragma once

// What libibverbs and librdmacm look like, as far as they are used here: declared here, because the headers of the
// machine that compiles say nothing about the libraries that are there at run time. Those keep their interface stable
// under the symbol versions kVerbsVersion and kManagerVersion. tests/rdma/verbs_abi_test.cc compares every size, offset
// and value, and the functions of VerbsLibrary, with <infiniband/verbs.h> and <rdma/rdma_cma.h>.
//
// Structures that a library makes end with the last field that is used; those that are made here are whole.

#include <cstddef>
#include <cstdint>

namespace tiervec::rdma::verbs::abi {

// ---- libibverbs ----

inline constexpr const char* kVerbsVersion = "IBVERBS_1.1";

struct Device;            // ibv_device
struct ProtectionDomain;  // ibv_pd
struct CompletionChannel;
struct SharedQueue;
struct QueuePair;
struct CompletionQueue;
struct SendRequest;
struct Completion;

/// ibv_context. Posting and polling are no functions of the library: they go through this table of the device's driver.
struct Context {
  Device* device;
  void (*before_poll[11])();
  int (*poll)(CompletionQueue*, int, Completion*);
  void (*before_post_send[13])();
  int (*post_send)(QueuePair*, SendRequest*, SendRequest**);
};

struct DeviceLimits {  // ibv_device_attr
  std::byte unused_1[112];
  std::int32_t queue_pair_requests;  // max_qp_wr
  std::byte unused_2[16];
  std::int32_t completion_queue_entries;  // max_cqe
  std::byte unused_3[8];
  std::int32_t reads_answered_at_once;  // max_qp_rd_atom
  std::byte unused_4[8];
  std::int32_t reads_asked_at_once;  // max_qp_init_rd_atom
  alignas(std::uint64_t) std::byte unused_5[72];
};

struct Registration {  // ibv_mr
  Context* context;
  ProtectionDomain* domain;
  void* address;
  std::size_t bytes;
  std::uint32_t handle;
  std::uint32_t local_key;
  std::uint32_t remote_key;
};
inline constexpr int kLocalWrite = 1;        // IBV_ACCESS_LOCAL_WRITE
inline constexpr int kRemoteRead = 1 << 2U;  // IBV_ACCESS_REMOTE_READ

struct CompletionQueue {  // ibv_cq
  Context* context;
};

struct QueuePair {  // ibv_qp
  Context* context;
};

struct QueuePairAttributes {  // ibv_qp_init_attr
  void* user;
  CompletionQueue* send_completions;
  CompletionQueue* receive_completions;
  SharedQueue* shared_receives;
  std::uint32_t max_sends;
  std::uint32_t max_receives;
  std::uint32_t max_send_pieces;
  std::uint32_t max_receive_pieces;
  std::uint32_t max_inline_bytes;
  std::uint32_t type;
  std::int32_t signal_all;
};
inline constexpr std::uint32_t kReliableConnection = 2;  // IBV_QPT_RC

struct Piece {  // ibv_sge
  std::uint64_t address;
  std::uint32_t bytes;
  std::uint32_t local_key;
};

struct SendRequest {  // ibv_send_wr
  std::uint64_t id;
  SendRequest* next;
  Piece* pieces;
  std::int32_t piece_count;
  std::uint32_t opcode;
  std::uint32_t flags;
  std::uint32_t immediate;
  std::uint64_t remote_address;
  std::uint32_t remote_key;
  std::uint32_t unused[19];
};
inline constexpr std::uint32_t kOpRead = 4;          // IBV_WR_RDMA_READ
inline constexpr std::uint32_t kSignaled = 1U << 1;  // IBV_SEND_SIGNALED

enum class CompletionStatus : std::uint32_t {  // ibv_wc_status
  kSuccess = 0,
  kLocalLength = 1,
  kLocalQueuePair = 2,
  kLocalProtection = 4,
  kFlushed = 5,
  kLocalAccess = 8,
  kRemoteRequest = 9,
  kRemoteAccess = 10,
  kRemoteOperation = 11,
  kNoAnswer = 12,  // IBV_WC_RETRY_EXC_ERR
  kNotReady = 13,  // IBV_WC_RNR_RETRY_EXC_ERR
};

struct Completion {  // ibv_wc
  std::uint64_t id;
  CompletionStatus status;
  std::uint32_t unused[9];
};

inline int post_send(QueuePair& queue_pair, SendRequest& first, SendRequest*& refused) noexcept {
  return queue_pair.context->post_send(&queue_pair, &first, &refused);
}

inline int poll(CompletionQueue& queue, int count, Completion* completions) noexcept {
  return queue.context->poll(&queue, count, completions);
}

// ---- librdmacm ----

inline constexpr const char* kManagerVersion = "RDMACM_1.0";

struct EventChannel {  // rdma_event_channel
  int file;
};

struct Identifier {  // rdma_cm_id: an end of a connection, or a listener
  Context* device;
  EventChannel* channel;
  void* user;
  QueuePair* queue_pair;
};

enum class PortSpace : std::uint32_t { kTcp = 0x0106 };  // rdma_port_space

inline constexpr int kOptionsOfIdentifier = 0;  // RDMA_OPTION_ID
inline constexpr int kOptionAnswerTimeout = 3;  // RDMA_OPTION_ID_ACK_TIMEOUT, since librdmacm 23

struct ConnectionParameters {  // rdma_conn_param
  const void* private_data;
  std::uint8_t private_bytes;
  std::uint8_t reads_answered_at_once;  // responder_resources
  std::uint8_t reads_asked_at_once;     // initiator_depth
  std::uint8_t flow_control;
  std::uint8_t retries;
  std::uint8_t not_ready_retries;
  std::uint8_t shared_receives;
  std::uint32_t queue_pair_number;
};

enum class EventType : std::uint32_t {  // rdma_cm_event_type
  kAddressResolved = 0,
  kAddressError = 1,
  kRouteResolved = 2,
  kRouteError = 3,
  kConnectRequest = 4,
  kConnectError = 6,
  kUnreachable = 7,
  kRejected = 8,
  kEstablished = 9,
  kDisconnected = 10,
  kDeviceRemoval = 11,
};

struct Event {  // rdma_cm_event
  Identifier* identifier;
  Identifier* listener;
  EventType type;
  std::int32_t status;
  ConnectionParameters connection;
};

}  // namespace tiervec::rdma::verbs::abi
