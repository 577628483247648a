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

std::span<const std::byte> private_data(const abi::Event& event) noexcept {
  return {static_cast<const std::byte*>(event.connection.private_data),
          event.connection.private_data == nullptr ? std::size_t{0} : event.connection.private_bytes};
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
  if (channel_ != nullptr) {
    identifier_ = make_identifier(library_, *channel_);
  }
  if (identifier_ == nullptr) {
    const int error = errno;
    fail(manager_failure(error), "asking the connection manager (rdma_ucm)", error);
    return;
  }
  std::uint8_t exponent = retry_exponent(endpoint.timeout);
  (void)library_.set_option(identifier_.get(), abi::kOptionsOfIdentifier, abi::kOptionAnswerTimeout, &exponent,
                            sizeof exponent);  // a wish
  sockaddr_storage address = endpoint.address;
  if (library_.resolve_addr(identifier_.get(), nullptr, reinterpret_cast<sockaddr*>(&address),
                            static_cast<int>(endpoint.timeout.count())) != 0) {
    fail(ErrorCode::kUnavailable, "finding an RDMA device that reaches it", errno);
  }
}

bool VerbsConnection::progress() noexcept {
  while (state_ != State::kFailed) {
    const EventHandle event = next_event(library_, *channel_);
    if (event == nullptr) {
      break;
    }
    on_event(*event);
  }
  if (state_ < State::kUp && TickClock::now() >= give_up_) {
    fail(ErrorCode::kUnavailable, "waiting for its answer", ETIMEDOUT);
  }
  return state_ != State::kFailed;
}

bool VerbsConnection::wait() noexcept {
  while (progress() && !up()) {
    pollfd waited{.fd = channel_->file, .events = POLLIN, .revents = 0};
    (void)::poll(&waited, 1, 10);  // ms; an interrupted wait is a short one
  }
  return up();
}

void VerbsConnection::on_event(const abi::Event& event) noexcept {
  switch (event.type) {
    case abi::EventType::kAddressResolved:
      state_ = State::kResolvingRoute;
      if (library_.resolve_route(identifier_.get(), static_cast<int>(endpoint_.timeout.count())) != 0) {
        fail(ErrorCode::kUnavailable, "finding a route to it", errno);
      }
      return;
    case abi::EventType::kRouteResolved:
      state_ = State::kConnecting;
      make_queue_pair();
      if (state_ == State::kConnecting) {
        connect();
      }
      return;
    case abi::EventType::kEstablished:
      on_accept(event);
      return;
    case abi::EventType::kRejected:
      on_reject(event);
      return;
    case abi::EventType::kAddressError:
      fail(ErrorCode::kUnavailable, "finding an RDMA device that reaches it", -event.status);
      return;
    case abi::EventType::kRouteError:
      fail(ErrorCode::kUnavailable, "finding a route to it", -event.status);
      return;
    case abi::EventType::kConnectError:
    case abi::EventType::kUnreachable:
      fail(ErrorCode::kUnavailable, "connecting to it", event.status < 0 ? -event.status : ETIMEDOUT);
      return;
    case abi::EventType::kDisconnected:
      fail(ErrorCode::kUnavailable, "it ended the connection");
      return;
    case abi::EventType::kDeviceRemoval:
      fail(ErrorCode::kUnavailable, "the RDMA device was removed");
      return;
    default:  // a change of address, the end of the quiet time: nothing to do
      return;
  }
}

void VerbsConnection::make_queue_pair() noexcept {
  abi::DeviceLimits device{};
  if (const int error = library_.query_device(identifier_->device, &device); error != 0) {
    fail(ErrorCode::kUnavailable, "asking the RDMA device for its limits", error);
    return;
  }
  if (endpoint_.max_outstanding != 0) {
    depth_ = std::min(depth_, endpoint_.max_outstanding);
  }
  depth_ = std::min({depth_, static_cast<std::uint32_t>(std::max(device.queue_pair_requests, 1)),
                     static_cast<std::uint32_t>(std::max(device.completion_queue_entries - 1, 1))});
  reads_outstanding_ = static_cast<std::uint32_t>(std::clamp(device.reads_asked_at_once, 1, 255));
  domain_.reset(library_.alloc_pd(identifier_->device));
  if (domain_ == nullptr) {
    fail(ErrorCode::kResourceExhausted, "allocating a protection domain", errno);
    return;
  }
  registration_.reset(library_.reg_mr(domain_.get(), buffers_.data(), buffers_.size(), abi::kLocalWrite));
  if (registration_ == nullptr) {
    fail(ErrorCode::kResourceExhausted, kRegistration, errno);
    return;
  }
  // An error completes every read, signalled or not, so there is room for all of them.
  completion_queue_.reset(library_.create_cq(identifier_->device, static_cast<int>(depth_) + 1, nullptr, nullptr, 0));
  if (completion_queue_ == nullptr) {
    fail(ErrorCode::kResourceExhausted, "making a completion queue", errno);
    return;
  }
  abi::QueuePairAttributes attributes{};
  attributes.send_completions = completion_queue_.get();
  attributes.receive_completions = completion_queue_.get();
  attributes.type = abi::kReliableConnection;
  attributes.max_sends = depth_;
  attributes.max_receives = 1;
  attributes.max_send_pieces = 1;
  attributes.max_receive_pieces = 1;
  if (library_.create_qp(identifier_.get(), domain_.get(), &attributes) != 0) {
    fail(ErrorCode::kResourceExhausted, "making a queue pair", errno);
  }
}

void VerbsConnection::connect() noexcept {
  const auto request = encode(ConnectRequest{.region_id = endpoint_.region_id, .token = endpoint_.token});
  abi::ConnectionParameters parameters{};
  parameters.private_data = request.data();
  parameters.private_bytes = static_cast<std::uint8_t>(request.size());
  parameters.reads_asked_at_once = static_cast<std::uint8_t>(reads_outstanding_);
  parameters.retries = kRetries;
  parameters.not_ready_retries = kRetries;
  if (library_.connect(identifier_.get(), &parameters) != 0) {
    fail(ErrorCode::kUnavailable, "connecting to it", errno);
  }
}

void VerbsConnection::on_accept(const abi::Event& event) noexcept {
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

void VerbsConnection::on_reject(const abi::Event& event) noexcept {
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

ErrorCode error_of(abi::CompletionStatus status) noexcept {
  switch (status) {
    case abi::CompletionStatus::kSuccess:
      return ErrorCode::kOk;
    case abi::CompletionStatus::kLocalLength:
    case abi::CompletionStatus::kLocalQueuePair:
    case abi::CompletionStatus::kLocalProtection:
    case abi::CompletionStatus::kLocalAccess:
      return ErrorCode::kInternal;              // this side asked for something it may not
    case abi::CompletionStatus::kRemoteAccess:  // the region was withdrawn, or is another one now
    case abi::CompletionStatus::kRemoteRequest:
    case abi::CompletionStatus::kRemoteOperation:
    case abi::CompletionStatus::kNoAnswer:  // no answer
    case abi::CompletionStatus::kNotReady:
    case abi::CompletionStatus::kFlushed:  // the connection ended
    default:
      return ErrorCode::kUnavailable;
  }
}

}  // namespace tiervec::rdma::verbs
