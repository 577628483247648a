#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <sys/socket.h>

#include <tiervec/core/status.h>
#include <tiervec/core/tick_clock.h>
#include <tiervec/rdma/attachment.h>

#include "verbs_library.h"

namespace tiervec::rdma::verbs {

/// Whom to connect to, and with what.
struct Endpoint {
  sockaddr_storage address{};
  std::uint64_t region_id = 0;
  std::uint64_t size_bytes = 0;
  AttachToken token{};
  std::chrono::milliseconds timeout{500};
  std::uint32_t max_outstanding = 0;  // reads posted at once; 0: as many as the device takes
};

/// The address of a host's name, with `port`. Throws Error(kInvalidArgument) naming `what`.
sockaddr_storage resolve_host(const std::string& what, const std::string& host, std::uint16_t port);

/// One reliable connected queue pair to a memory node, from the first packet to the last, and all that belongs to it:
/// its own events, protection domain, registration of the reader's buffers, and completion queue.
///
///   resolving address -> resolving route -> connecting -> up -> failed
///          `------------------`-----------------`---------------^
///
/// After the destructor no device writes into the buffers any more. One thread.
class VerbsConnection {
 public:
  /// Starts connecting. `buffers` are where reads may end up, at most `depth` at once; they outlive the connection.
  VerbsConnection(const VerbsLibrary& library, const Endpoint& endpoint, std::span<std::byte> buffers,
                  std::uint32_t depth) noexcept;
  VerbsConnection(const VerbsConnection&) = delete;
  VerbsConnection& operator=(const VerbsConnection&) = delete;

  /// Takes what the connection manager has to say; never blocks. False once the connection has failed.
  bool progress() noexcept;
  /// Waits until the connection is up or has failed, at most for the end point's time-out twice over: once for the
  /// address, once for the node.
  bool wait() noexcept;

  [[nodiscard]] bool up() const noexcept { return state_ == State::kUp; }
  [[nodiscard]] bool failed() const noexcept { return state_ == State::kFailed; }
  /// Why it failed: an error that names what was tried, for the tier `what`.
  [[nodiscard]] Error failure(const std::string& what) const;
  [[nodiscard]] ErrorCode failure_code() const noexcept { return failure_code_; }

  // Once it is up.

  /// Posts the list that begins at `first`: one doorbell. False when the device refuses it.
  bool post(abi::SendRequest& first) noexcept {
    abi::SendRequest* refused = nullptr;
    return abi::post_send(*identifier_->queue_pair, first, refused) == 0;
  }
  /// Fills `completions`; negative when the completion queue is broken.
  int poll(std::span<abi::Completion> completions) noexcept {
    return abi::poll(*completion_queue_, static_cast<int>(completions.size()), completions.data());
  }
  [[nodiscard]] std::uint32_t depth() const noexcept { return depth_; }  // reads posted at once, at most
  [[nodiscard]] std::uint32_t local_key() const noexcept { return registration_->local_key; }
  [[nodiscard]] std::uint64_t remote_address() const noexcept { return remote_address_; }
  [[nodiscard]] std::uint32_t remote_key() const noexcept { return remote_key_; }

 private:
  enum class State : std::uint8_t { kResolvingAddress, kResolvingRoute, kConnecting, kUp, kFailed };

  void on_event(const abi::Event& event) noexcept;
  void make_queue_pair() noexcept;
  void connect() noexcept;
  void on_accept(const abi::Event& event) noexcept;
  void on_reject(const abi::Event& event) noexcept;
  void fail(ErrorCode code, const char* what, int error = 0) noexcept;

  const VerbsLibrary& library_;
  const Endpoint& endpoint_;
  std::span<std::byte> buffers_;
  std::uint32_t depth_;
  State state_ = State::kResolvingAddress;
  Ticks give_up_ = kNever;

  // Given back from the last to the first: the queue pair, which goes with the identifier, holds the others.
  ChannelHandle channel_;
  DomainHandle domain_;
  RegistrationHandle registration_;
  CompletionQueueHandle completion_queue_;
  IdentifierHandle identifier_;

  std::uint32_t reads_outstanding_ = 1;  // on the wire; the queue pair holds back what exceeds it
  std::uint64_t remote_address_ = 0;
  std::uint32_t remote_key_ = 0;

  ErrorCode failure_code_ = ErrorCode::kOk;
  const char* failure_ = "";
  int failure_errno_ = 0;
};

/// What a completion that is no success means to the reader.
ErrorCode error_of(abi::CompletionStatus status) noexcept;

}  // namespace tiervec::rdma::verbs
