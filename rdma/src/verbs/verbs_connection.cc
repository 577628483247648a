#include "verbs_connection.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <memory>

#include "handshake.h"

namespace tiervec::rdma::verbs {

namespace {

// How often the device sends a request again when no answer comes: the most there is.
constexpr std::uint8_t kRetries = 7;

/// How long the device waits before that, as the exponent of 4.096 us: a quarter of the reader's time-out at most, so
/// that a lost packet costs a quarter of it, and not the seconds that are usual otherwise.
std::uint8_t retry_exponent(std::chrono::milliseconds timeout) noexcept {
  const auto quarter = static_cast<std::uint64_t>(timeout.count()) * 1'000'000 / 4 / 4096;
  return static_cast<std::uint8_t>(std::clamp(static_cast<int>(std::bit_width(quarter)) - 1, 1, 31));
}

constexpr const char* kRegistration = "registering its buffers";  // failure() explains this one

std::span<const std::byte> private_data(const rdma_cm_event& event) noexcept {
  return {static_cast<const std::byte*>(event.param.conn.private_data),
          event.param.conn.private_data == nullptr ? std::size_t{0} : event.param.conn.private_data_len};
}

}  // namespace

sockaddr_storage resolve_host(const std::string& what, const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int failure = ::getaddrinfo(host.empty() ? nullptr : host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (failure != 0) {
    throw Error(ErrorCode::kInvalidArgument,
                what + ": the host '" + host + "' has no address: " + ::gai_strerror(failure));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(list, &::freeaddrinfo);
  sockaddr_storage address{};
  std::memcpy(&address, list->ai_addr, std::min<std::size_t>(list->ai_addrlen, sizeof address));
  return address;
}

VerbsConnection::VerbsConnection(const VerbsLibrary& library, const Endpoint& endpoint, std::span<std::byte> buffers,
                                 std::uint32_t depth) noexcept
    : library_(library), endpoint_(endpoint), buffers_(buffers), depth_(depth) {
  give_up_ = TickClock::after(endpoint.timeout * 2);
  channel_ = make_event_channel(library_);
  if (channel_ == nullptr || library_.create_id(channel_, &id_, nullptr, RDMA_PS_TCP) != 0) {
    fail(ErrorCode::kUnavailable, "asking the connection manager (rdma_ucm)", errno);
    return;
  }
  std::uint8_t exponent = retry_exponent(endpoint.timeout);
  (void)library_.set_option(id_, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &exponent, sizeof exponent);  // a wish
  sockaddr_storage address = endpoint.address;
  if (library_.resolve_addr(id_, nullptr, reinterpret_cast<sockaddr*>(&address),
                            static_cast<int>(endpoint.timeout.count())) != 0) {
    fail(ErrorCode::kUnavailable, "finding an RDMA device that reaches it", errno);
  }
}

VerbsConnection::~VerbsConnection() {
  if (!origin_.here()) {
    return;  // the queue pair is the parent's: whatever were destroyed here would be destroyed there
  }
  if (id_ != nullptr) {
    if (id_->qp != nullptr) {
      (void)library_.disconnect(id_);  // so that the node need not find out
      library_.destroy_qp(id_);
    }
    library_.destroy_id(id_);
  }
  // The queue pair is gone, so nothing holds the others any more.
  if (completion_queue_ != nullptr) {
    library_.destroy_cq(completion_queue_);
  }
  if (registration_ != nullptr) {
    library_.dereg_mr(registration_);
  }
  if (domain_ != nullptr) {
    library_.dealloc_pd(domain_);
  }
  if (channel_ != nullptr) {
    library_.destroy_event_channel(channel_);
  }
}

bool VerbsConnection::progress() noexcept {
  rdma_cm_event* event = nullptr;
  while (state_ != State::kFailed && library_.get_cm_event(channel_, &event) == 0) {
    on_event(*event);
    library_.ack_cm_event(event);
  }
  if (state_ < State::kUp && TickClock::now() >= give_up_) {
    fail(ErrorCode::kUnavailable, "waiting for its answer", ETIMEDOUT);
  }
  return state_ != State::kFailed;
}

bool VerbsConnection::wait() noexcept {
  while (progress() && !up()) {
    pollfd waited{.fd = channel_->fd, .events = POLLIN, .revents = 0};
    (void)::poll(&waited, 1, 10);  // ms; an interrupted wait is a short one
  }
  return up();
}

void VerbsConnection::on_event(const rdma_cm_event& event) noexcept {
  switch (event.event) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
      state_ = State::kResolvingRoute;
      if (library_.resolve_route(id_, static_cast<int>(endpoint_.timeout.count())) != 0) {
        fail(ErrorCode::kUnavailable, "finding a route to it", errno);
      }
      return;
    case RDMA_CM_EVENT_ROUTE_RESOLVED:
      state_ = State::kConnecting;
      make_queue_pair();
      if (state_ == State::kConnecting) {
        connect();
      }
      return;
    case RDMA_CM_EVENT_ESTABLISHED:
      on_accept(event);
      return;
    case RDMA_CM_EVENT_REJECTED:
      on_reject(event);
      return;
    case RDMA_CM_EVENT_ADDR_ERROR:
      fail(ErrorCode::kUnavailable, "finding an RDMA device that reaches it", -event.status);
      return;
    case RDMA_CM_EVENT_ROUTE_ERROR:
      fail(ErrorCode::kUnavailable, "finding a route to it", -event.status);
      return;
    case RDMA_CM_EVENT_CONNECT_ERROR:
    case RDMA_CM_EVENT_UNREACHABLE:
      fail(ErrorCode::kUnavailable, "connecting to it", event.status < 0 ? -event.status : ETIMEDOUT);
      return;
    case RDMA_CM_EVENT_DISCONNECTED:
      fail(ErrorCode::kUnavailable, "it ended the connection");
      return;
    case RDMA_CM_EVENT_DEVICE_REMOVAL:
      fail(ErrorCode::kUnavailable, "the RDMA device was removed");
      return;
    default:  // a change of address, the end of the quiet time: nothing to do
      return;
  }
}

void VerbsConnection::make_queue_pair() noexcept {
  ibv_device_attr device{};
  if (const int error = library_.query_device(id_->verbs, &device); error != 0) {
    fail(ErrorCode::kUnavailable, "asking the RDMA device for its limits", error);
    return;
  }
  if (endpoint_.max_outstanding != 0) {
    depth_ = std::min(depth_, endpoint_.max_outstanding);
  }
  depth_ = std::min({depth_, static_cast<std::uint32_t>(std::max(device.max_qp_wr, 1)),
                     static_cast<std::uint32_t>(std::max(device.max_cqe - 1, 1))});
  reads_outstanding_ = static_cast<std::uint32_t>(std::clamp(device.max_qp_init_rd_atom, 1, 255));
  domain_ = library_.alloc_pd(id_->verbs);
  if (domain_ == nullptr) {
    fail(ErrorCode::kResourceExhausted, "allocating a protection domain", errno);
    return;
  }
  registration_ = library_.reg_mr(domain_, buffers_.data(), buffers_.size(), IBV_ACCESS_LOCAL_WRITE);
  if (registration_ == nullptr) {
    fail(ErrorCode::kResourceExhausted, kRegistration, errno);
    return;
  }
  // An error completes every read, signalled or not, so there is room for all of them.
  completion_queue_ = library_.create_cq(id_->verbs, static_cast<int>(depth_) + 1, nullptr, nullptr, 0);
  if (completion_queue_ == nullptr) {
    fail(ErrorCode::kResourceExhausted, "making a completion queue", errno);
    return;
  }
  ibv_qp_init_attr attributes{};  // NOLINT(bugprone-invalid-enum-default-initialization): set below
  attributes.send_cq = completion_queue_;
  attributes.recv_cq = completion_queue_;
  attributes.qp_type = IBV_QPT_RC;
  attributes.cap.max_send_wr = depth_;
  attributes.cap.max_recv_wr = 1;
  attributes.cap.max_send_sge = 1;
  attributes.cap.max_recv_sge = 1;
  if (library_.create_qp(id_, domain_, &attributes) != 0) {
    fail(ErrorCode::kResourceExhausted, "making a queue pair", errno);
  }
}

void VerbsConnection::connect() noexcept {
  const auto request = encode(ConnectRequest{.region_id = endpoint_.region_id, .token = endpoint_.token});
  rdma_conn_param parameters{};
  parameters.private_data = request.data();
  parameters.private_data_len = static_cast<std::uint8_t>(request.size());
  parameters.initiator_depth = static_cast<std::uint8_t>(reads_outstanding_);
  parameters.retry_count = kRetries;
  parameters.rnr_retry_count = kRetries;
  if (library_.connect(id_, &parameters) != 0) {
    fail(ErrorCode::kUnavailable, "connecting to it", errno);
  }
}

void VerbsConnection::on_accept(const rdma_cm_event& event) noexcept {
  const auto accept = decode_accept(private_data(event));
  if (!accept) {
    fail(ErrorCode::kUnsupported, "it answers, and is no memory node of TierVec");
  } else if (accept->version != kProtocolVersion) {
    fail(ErrorCode::kUnsupported, "the node speaks another version of the protocol");
  } else if (accept->size_bytes != endpoint_.size_bytes) {
    fail(ErrorCode::kInvalidArgument, "the region there has another size than the one that was attached");
  } else {
    remote_address_ = accept->address;
    remote_key_ = accept->key;
    state_ = State::kUp;
  }
}

void VerbsConnection::on_reject(const rdma_cm_event& event) noexcept {
  const auto reject = decode_reject(private_data(event));
  if (!reject) {  // the kernel of the other side says that nobody listens
    fail(ErrorCode::kUnavailable, "connecting to it", ECONNREFUSED);
    return;
  }
  switch (reject->refusal) {
    case Refusal::kVersion:
      fail(ErrorCode::kUnsupported, "the node speaks another version of the protocol");
      return;
    case Refusal::kRegion:
      fail(ErrorCode::kNotFound, "the node does not serve this region (any more)");
      return;
    case Refusal::kToken:
      fail(ErrorCode::kPermissionDenied, "the node refuses the attach token");
      return;
    case Refusal::kConnections:
      fail(ErrorCode::kUnavailable, "the node has as many connections as it takes");
      return;
  }
  fail(ErrorCode::kUnavailable, "the node refuses the connection");
}

void VerbsConnection::fail(ErrorCode code, const char* what, int error) noexcept {
  if (state_ != State::kFailed) {
    state_ = State::kFailed;
    failure_code_ = code;
    failure_ = what;
    failure_errno_ = error;
  }
}

Error VerbsConnection::failure(const std::string& what) const {
  if (failure_ == kRegistration) {
    return {failure_code_, what + ": " + registration_failure(failure_errno_, buffers_.size())};
  }
  return {failure_code_,
          what + ": " + failure_ + (failure_errno_ == 0 ? "" : " failed: " + errno_text(failure_errno_))};
}

ErrorCode error_of(ibv_wc_status status) noexcept {
  switch (status) {
    case IBV_WC_SUCCESS:
      return ErrorCode::kOk;
    case IBV_WC_LOC_LEN_ERR:
    case IBV_WC_LOC_QP_OP_ERR:
    case IBV_WC_LOC_PROT_ERR:
    case IBV_WC_LOC_ACCESS_ERR:
      return ErrorCode::kInternal;  // this side asked for something it may not
    case IBV_WC_REM_ACCESS_ERR:     // the region was withdrawn, or is another one now
    case IBV_WC_REM_INV_REQ_ERR:
    case IBV_WC_REM_OP_ERR:
    case IBV_WC_RETRY_EXC_ERR:  // no answer
    case IBV_WC_RNR_RETRY_EXC_ERR:
    case IBV_WC_WR_FLUSH_ERR:  // the connection ended
    default:
      return ErrorCode::kUnavailable;
  }
}

}  // namespace tiervec::rdma::verbs
