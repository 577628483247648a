#include <tiervec/rdma/verbs_server.h>

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include <tiervec/core/system_error.h>
#include <tiervec/core/thread.h>

#include "../tcp/socket.h"
#include "handshake.h"
#include "verbs_connection.h"

namespace tiervec::rdma {

using namespace verbs;

namespace {

constexpr int kBacklog = 128;

struct Region {
  AttachToken token{};
  const std::byte* memory = nullptr;
  std::uint64_t size_bytes = 0;
  DomainHandle domain;
  RegistrationHandle registration;
};

struct Connection {
  std::uint64_t region_id = 0;
  IdentifierHandle identifier;
};

bool is_wildcard(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    return reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr == htonl(INADDR_ANY);
  }
  return IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
}

}  // namespace

/// The listener's thread owns everything that rdma_cm knows: it alone takes events and destroys identifiers, so that no
/// identifier goes while an event of it is looked at. Other threads register memory, and hand it the rest as tasks.
class VerbsServer::State {
 public:
  State(const std::string& host, std::uint16_t port, const std::string& device, std::uint32_t max_connections)
      : what_("RDMA data plane on " + host + ":" + std::to_string(port)),
        library_(require_device(what_)),
        max_connections_(max_connections) {
    listen(resolve_host(what_, host, port), device);
    thread_ = Thread("the RDMA data plane", [this] { run(); });
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  ~State() { stop(); }

  /// False in a forked child, where nothing of it may be touched: the listener and its connections are the parent's.
  [[nodiscard]] bool here() const noexcept { return origin_.here(); }

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] std::string device() const { return library_.device_name(context_->device); }

  [[nodiscard]] Stats stats() const {
    const std::lock_guard lock(mutex_);
    Stats stats{
        .connections = connections_.size(), .accepted = accepted_, .refused = refused_, .cpu_seconds = cpu_seconds_};
    clockid_t clock{};
    timespec used{};
    if (!stopped_ && thread_.joinable() && ::pthread_getcpuclockid(thread_.native_handle(), &clock) == 0 &&
        ::clock_gettime(clock, &used) == 0) {
      stats.cpu_seconds = static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
    }
    return stats;
  }

  RemoteKey serve(std::uint64_t region_id, const AttachToken& token, const std::byte* memory,
                  std::uint64_t size_bytes) {
    const std::string what = what_ + ": region " + std::to_string(region_id);
    if (memory == nullptr || size_bytes == 0) {
      throw Error(ErrorCode::kInvalidArgument, what + " is empty; a region has at least 1 byte");
    }
    const std::lock_guard lock(mutex_);
    if (closing_) {
      throw Error(ErrorCode::kUnavailable, what_ + " has stopped");
    }
    if (regions_.contains(region_id)) {
      throw Error(ErrorCode::kAlreadyExists, what + " is served already");
    }
    Region region{.token = token, .memory = memory, .size_bytes = size_bytes, .domain = {}, .registration = {}};
    region.domain.reset(library_.alloc_pd(context_));
    if (region.domain == nullptr) {
      throw Error(ErrorCode::kResourceExhausted,
                  what + ": allocating a protection domain failed: " + errno_text(errno));
    }
    region.registration.reset(
        library_.reg_mr(region.domain.get(), const_cast<std::byte*>(memory), size_bytes, abi::kRemoteRead));
    if (region.registration == nullptr) {
      const int error = errno;
      throw Error(ErrorCode::kResourceExhausted, what + ": " + registration_failure(error, size_bytes));
    }
    const std::uint32_t key = region.registration->remote_key;
    regions_.emplace(region_id, std::move(region));
    return {.address = reinterpret_cast<std::uintptr_t>(memory), .key = key};
  }

  void withdraw(std::uint64_t region_id) {
    bool found = false;
    on_thread([&] { found = drop_region(region_id); });
    if (!found) {
      throw Error(ErrorCode::kNotFound, what_ + ": region " + std::to_string(region_id) + " is not served");
    }
  }

  void stop() {
    const std::lock_guard stopping(stop_mutex_);
    if (!thread_.joinable()) {
      return;
    }
    const double used = stats().cpu_seconds;
    on_thread(
        [this] {
          while (!regions_.empty()) {
            drop_region(regions_.begin()->first);
          }
          ending_ = true;
        },
        true);
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
      cpu_seconds_ = used;
    }
    thread_.join();
  }

 private:
  void listen(sockaddr_storage address, const std::string& device) {
    wake_ = Descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_) {
      throw system_error(what_ + ": making an eventfd", errno);
    }
    channel_ = make_event_channel(library_);
    if (channel_ != nullptr) {
      listener_ = make_identifier(library_, *channel_);
    }
    if (listener_ == nullptr) {
      const int error = errno;
      throw Error(manager_failure(error),
                  what_ + ": asking the connection manager failed: " + errno_text(error) + "; is rdma_ucm loaded?");
    }
    if (library_.bind_addr(listener_.get(), reinterpret_cast<sockaddr*>(&address)) != 0) {
      refuse_address(errno);
    }
    if (listener_->device == nullptr && !is_wildcard(address)) {
      refuse_address(ENODEV);
    }
    choose_device(device);
    if (library_.listen(listener_.get(), kBacklog) != 0) {
      refuse_address(errno);
    }
    port_ = ntohs(library_.src_port(listener_.get()));
    // What connects here never posts a request, so one entry serves all.
    completion_queue_.reset(library_.create_cq(context_, 1, nullptr, nullptr, 0));
    if (completion_queue_ == nullptr) {
      throw Error(ErrorCode::kResourceExhausted, what_ + ": making a completion queue failed: " + errno_text(errno));
    }
  }

  [[noreturn]] void refuse_address(int error) const {
    if (error == EADDRINUSE) {
      throw Error(code_of_errno(error), what_ + ": the port is taken; 0 takes a free one");
    }
    if (error == ENODEV || error == EADDRNOTAVAIL) {
      throw Error(ErrorCode::kUnsupported,
                  what_ + ": no RDMA device has this address; `rdma link` and `ip addr` show which one has");
    }
    throw system_error(what_ + ": listening failed", error);
  }

  void choose_device(const std::string& name) {
    int count = 0;
    devices_.reset(library_.get_devices(&count));
    abi::Context* const* const devices = devices_.get();
    std::string known;
    for (int i = 0; devices != nullptr && i < count; ++i) {
      const std::string found = library_.device_name(devices[i]->device);
      known += (known.empty() ? "" : ", ") + found;
      const bool right = listener_->device == nullptr || listener_->device == devices[i];
      if (context_ == nullptr && right && (name.empty() || name == found)) {
        context_ = devices[i];
      }
    }
    if (context_ == nullptr) {
      throw Error(name.empty() ? ErrorCode::kUnsupported : ErrorCode::kInvalidArgument,
                  what_ + ": no RDMA device " + (name.empty() ? "" : "'" + name + "' ") +
                      "at this address; there are: " + (known.empty() ? "none" : known));
    }
  }

  void run() {
    std::array<pollfd, 2> waited = {{{.fd = channel_->file, .events = POLLIN, .revents = 0},
                                     {.fd = wake_.number(), .events = POLLIN, .revents = 0}}};
    while (!ending_) {
      (void)::poll(waited.data(), waited.size(), -1);
      if ((waited[1].revents & POLLIN) != 0) {
        run_tasks();
      }
      if (!ending_ && (waited[0].revents & POLLIN) != 0) {
        take_event();
      }
    }
  }

  /// Runs `task` on the listener's thread and waits for it. After the last one no other is run.
  void on_thread(std::function<void()> task, bool is_last = false) {
    std::packaged_task<void()> packaged(std::move(task));
    std::future<void> ran = packaged.get_future();
    {
      const std::lock_guard lock(mutex_);
      if (closing_) {
        return;
      }
      closing_ = is_last;
      tasks_.push_back(std::move(packaged));
    }
    (void)::eventfd_write(wake_.number(), 1);
    ran.get();
  }

  void run_tasks() {
    eventfd_t ignored = 0;
    (void)::eventfd_read(wake_.number(), &ignored);
    std::vector<std::packaged_task<void()>> tasks;
    {
      const std::lock_guard lock(mutex_);
      tasks.swap(tasks_);
    }
    for (std::packaged_task<void()>& task : tasks) {
      task();
    }
  }

  void take_event() {
    IdentifierHandle over;  // goes after the event is acknowledged
    const EventHandle event = next_event(library_, *channel_);
    if (event == nullptr) {
      return;
    }
    switch (event->type) {
      case abi::EventType::kConnectRequest:
        over = answer(*event);
        break;
      case abi::EventType::kDisconnected:
      case abi::EventType::kConnectError:
      case abi::EventType::kUnreachable:
      case abi::EventType::kRejected:
      case abi::EventType::kDeviceRemoval:
        over = forget(event->identifier);
        break;
      default:
        break;
    }
  }

  /// Accepts the request, or rejects it and returns its identifier, which is to go.
  IdentifierHandle answer(const abi::Event& event) {
    const abi::ConnectionParameters& parameters = event.connection;
    const std::span data(static_cast<const std::byte*>(parameters.private_data),
                         parameters.private_data == nullptr ? std::size_t{0} : parameters.private_bytes);
    IdentifierHandle identifier(event.identifier);
    const std::lock_guard lock(mutex_);
    const auto request = decode_request(data);
    if (!request || request->version != kProtocolVersion) {
      return reject(std::move(identifier), Refusal::kVersion);
    }
    const auto found = regions_.find(request->region_id);
    if (found == regions_.end() || identifier->device != context_) {
      return reject(std::move(identifier), Refusal::kRegion);
    }
    if (!same_token(request->token, found->second.token)) {
      return reject(std::move(identifier), Refusal::kToken);
    }
    if (connections_.size() >= max_connections_ || !accept(*identifier, found->second, parameters)) {
      return reject(std::move(identifier), Refusal::kConnections);
    }
    connections_.emplace(event.identifier, Connection{request->region_id, std::move(identifier)});
    ++accepted_;
    return nullptr;
  }

  IdentifierHandle reject(IdentifierHandle identifier, Refusal refusal) {
    ++refused_;
    const auto data = encode(ConnectReject{.refusal = refusal});
    (void)library_.reject(identifier.get(), data.data(), static_cast<std::uint8_t>(data.size()));
    return identifier;
  }

  bool accept(abi::Identifier& identifier, const Region& region, const abi::ConnectionParameters& asked) {
    abi::DeviceLimits device{};
    abi::QueuePairAttributes attributes{};
    attributes.send_completions = completion_queue_.get();
    attributes.receive_completions = completion_queue_.get();
    attributes.type = abi::kReliableConnection;
    attributes.max_sends = 1;
    attributes.max_receives = 1;
    attributes.max_send_pieces = 1;
    attributes.max_receive_pieces = 1;
    if (library_.query_device(context_, &device) != 0 ||
        library_.create_qp(&identifier, region.domain.get(), &attributes) != 0) {
      return false;
    }
    const auto data = encode(ConnectAccept{.address = reinterpret_cast<std::uintptr_t>(region.memory),
                                           .size_bytes = region.size_bytes,
                                           .key = region.registration->remote_key});
    abi::ConnectionParameters parameters{};
    parameters.private_data = data.data();
    parameters.private_bytes = static_cast<std::uint8_t>(data.size());
    // As many reads at once as the client asks for and the device takes.
    parameters.reads_answered_at_once = std::min(
        asked.reads_answered_at_once, static_cast<std::uint8_t>(std::clamp(device.reads_answered_at_once, 1, 255)));
    parameters.not_ready_retries = 7;
    return library_.accept(&identifier, &parameters) == 0;
  }

  /// The identifier of a connection that has ended; null when it is none, as the listener.
  IdentifierHandle forget(abi::Identifier* identifier) {
    const std::lock_guard lock(mutex_);
    const auto found = connections_.find(identifier);
    if (found == connections_.end()) {
      return nullptr;
    }
    IdentifierHandle ended = std::move(found->second.identifier);
    connections_.erase(found);
    return ended;
  }

  bool drop_region(std::uint64_t region_id) {
    decltype(regions_)::node_type region;
    std::vector<IdentifierHandle> readers;  // go before the region, which they hold
    {
      const std::lock_guard lock(mutex_);
      region = regions_.extract(region_id);
      for (auto at = connections_.begin(); at != connections_.end();) {
        if (at->second.region_id == region_id) {
          readers.push_back(std::move(at->second.identifier));
          at = connections_.erase(at);
        } else {
          ++at;
        }
      }
    }
    return !region.empty();
  }

  const std::string what_;
  const VerbsLibrary& library_;
  const std::uint32_t max_connections_;
  std::uint16_t port_ = 0;
  Descriptor wake_;
  // Given back from the last to the first.
  ChannelHandle channel_;
  DeviceListHandle devices_;
  abi::Context* context_ = nullptr;  // one of them
  CompletionQueueHandle completion_queue_;
  IdentifierHandle listener_;
  bool ending_ = false;  // the listener's thread only

  std::mutex stop_mutex_;
  mutable std::mutex mutex_;  // of what follows
  std::map<std::uint64_t, Region> regions_;
  std::unordered_map<abi::Identifier*, Connection> connections_;  // go before the regions, which they hold
  std::vector<std::packaged_task<void()>> tasks_;
  std::uint64_t accepted_ = 0;
  std::uint64_t refused_ = 0;
  double cpu_seconds_ = 0;  // once stopped
  bool closing_ = false;    // serves and runs nothing more
  bool stopped_ = false;    // the thread is about to be joined, or was

  const Origin origin_;
  Thread thread_;
};

VerbsServer::VerbsServer(const std::string& host, std::uint16_t port, const std::string& device,
                         std::uint32_t max_connections)
    : state_(std::make_unique<State>(host, port, device, max_connections)) {}

VerbsServer::~VerbsServer() {
  if (!state_->here()) {
    [[maybe_unused]] const State* const left = state_.release();
  }
}

std::uint16_t VerbsServer::port() const noexcept {
  return state_->port();
}
std::string VerbsServer::device() const {
  return state_->device();
}
VerbsServer::Stats VerbsServer::stats() const {
  check_here();
  return state_->stats();
}
VerbsServer::RemoteKey VerbsServer::serve(std::uint64_t region_id, const AttachToken& token, const std::byte* memory,
                                          std::uint64_t size_bytes) {
  check_here();
  return state_->serve(region_id, token, memory, size_bytes);
}
void VerbsServer::withdraw(std::uint64_t region_id) {
  check_here();
  state_->withdraw(region_id);
}
void VerbsServer::stop() {
  if (state_->here()) {
    state_->stop();
  }
}
void VerbsServer::check_here() const {
  if (!state_->here()) {
    throw Error(ErrorCode::kUnsupported,
                "an RDMA data plane serves in the process that started it, and not in one forked from that");
  }
}

}  // namespace tiervec::rdma
