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

#include <tiervec/core/thread.h>

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
  ibv_pd* domain = nullptr;
  ibv_mr* registration = nullptr;
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
    try {
      listen(resolve_host(what_, host, port), device);
      thread_ = Thread("the RDMA data plane", [this] { run(); });
    } catch (...) {
      close();
      throw;
    }
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  ~State() {
    stop();
    close();
  }

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
    Region region{.token = token, .memory = memory, .size_bytes = size_bytes};
    region.domain = library_.alloc_pd(context_);
    if (region.domain == nullptr) {
      throw Error(ErrorCode::kResourceExhausted,
                  what + ": allocating a protection domain failed: " + errno_text(errno));
    }
    region.registration =
        library_.reg_mr(region.domain, const_cast<std::byte*>(memory), size_bytes, IBV_ACCESS_REMOTE_READ);
    if (region.registration == nullptr) {
      const int error = errno;
      library_.dealloc_pd(region.domain);
      throw Error(ErrorCode::kResourceExhausted, what + ": " + registration_failure(error, size_bytes));
    }
    regions_.emplace(region_id, region);
    return {.address = reinterpret_cast<std::uintptr_t>(memory), .key = region.registration->rkey};
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
    wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    channel_ = make_event_channel(library_);
    if (wake_ < 0 || channel_ == nullptr || library_.create_id(channel_, &listener_, nullptr, RDMA_PS_TCP) != 0) {
      throw Error(ErrorCode::kUnavailable,
                  what_ + ": asking the connection manager failed: " + errno_text(errno) + "; is rdma_ucm loaded?");
    }
    if (library_.bind_addr(listener_, reinterpret_cast<sockaddr*>(&address)) != 0) {
      refuse_address(errno);
    }
    if (listener_->verbs == nullptr && !is_wildcard(address)) {
      refuse_address(ENODEV);
    }
    choose_device(device);
    if (library_.listen(listener_, kBacklog) != 0) {
      refuse_address(errno);
    }
    port_ = ntohs(library_.src_port(listener_));
    // What connects here never posts a request, so one entry serves all.
    completion_queue_ = library_.create_cq(context_, 1, nullptr, nullptr, 0);
    if (completion_queue_ == nullptr) {
      throw Error(ErrorCode::kResourceExhausted, what_ + ": making a completion queue failed: " + errno_text(errno));
    }
  }

  [[noreturn]] void refuse_address(int error) const {
    if (error == EADDRINUSE) {
      throw Error(ErrorCode::kAlreadyExists, what_ + ": the port is taken; 0 takes a free one");
    }
    if (error == ENODEV || error == EADDRNOTAVAIL) {
      throw Error(ErrorCode::kUnsupported,
                  what_ + ": no RDMA device has this address; `rdma link` and `ip addr` show which one has");
    }
    throw Error(ErrorCode::kUnavailable, what_ + ": listening failed: " + errno_text(error));
  }

  void choose_device(const std::string& name) {
    int count = 0;
    devices_ = library_.get_devices(&count);
    std::string known;
    for (int i = 0; devices_ != nullptr && i < count; ++i) {
      const std::string found = library_.device_name(devices_[i]->device);
      known += (known.empty() ? "" : ", ") + found;
      const bool right = listener_->verbs == nullptr || listener_->verbs == devices_[i];
      if (context_ == nullptr && right && (name.empty() || name == found)) {
        context_ = devices_[i];
      }
    }
    if (context_ == nullptr) {
      throw Error(name.empty() ? ErrorCode::kUnsupported : ErrorCode::kInvalidArgument,
                  what_ + ": no RDMA device " + (name.empty() ? "" : "'" + name + "' ") +
                      "at this address; there are: " + (known.empty() ? "none" : known));
    }
  }

  void run() {
    std::array<pollfd, 2> waited = {
        {{.fd = channel_->fd, .events = POLLIN, .revents = 0}, {.fd = wake_, .events = POLLIN, .revents = 0}}};
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
    (void)::eventfd_write(wake_, 1);
    ran.get();
  }

  void run_tasks() {
    eventfd_t ignored = 0;
    (void)::eventfd_read(wake_, &ignored);
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
    rdma_cm_event* event = nullptr;
    if (library_.get_cm_event(channel_, &event) != 0) {
      return;
    }
    rdma_cm_id* const id = event->id;
    bool over = false;
    switch (event->event) {
      case RDMA_CM_EVENT_CONNECT_REQUEST:
        over = !answer(*event);
        break;
      case RDMA_CM_EVENT_DISCONNECTED:
      case RDMA_CM_EVENT_CONNECT_ERROR:
      case RDMA_CM_EVENT_UNREACHABLE:
      case RDMA_CM_EVENT_REJECTED:
      case RDMA_CM_EVENT_DEVICE_REMOVAL:
        over = id != listener_;
        break;
      default:
        break;
    }
    library_.ack_cm_event(event);  // before its identifier goes
    if (over) {
      end(id);
    }
  }

  /// Accepts the request or rejects it; false when its identifier is to go.
  bool answer(const rdma_cm_event& event) {
    const rdma_conn_param& parameters = event.param.conn;
    const std::span data(static_cast<const std::byte*>(parameters.private_data),
                         parameters.private_data == nullptr ? std::size_t{0} : parameters.private_data_len);
    const std::lock_guard lock(mutex_);
    const auto request = decode_request(data);
    if (!request || request->version != kProtocolVersion) {
      return reject(event.id, Refusal::kVersion);
    }
    const auto found = regions_.find(request->region_id);
    if (found == regions_.end() || event.id->verbs != context_) {
      return reject(event.id, Refusal::kRegion);
    }
    if (!same_token(request->token, found->second.token)) {
      return reject(event.id, Refusal::kToken);
    }
    if (connections_.size() >= max_connections_ || !accept(event.id, found->second, parameters)) {
      return reject(event.id, Refusal::kConnections);
    }
    connections_.emplace(event.id, request->region_id);
    ++accepted_;
    return true;
  }

  bool reject(rdma_cm_id* id, Refusal refusal) {
    ++refused_;
    const auto data = encode(ConnectReject{.refusal = refusal});
    (void)library_.reject(id, data.data(), static_cast<std::uint8_t>(data.size()));
    return false;
  }

  bool accept(rdma_cm_id* id, const Region& region, const rdma_conn_param& asked) {
    ibv_device_attr device{};
    ibv_qp_init_attr attributes{};  // NOLINT(bugprone-invalid-enum-default-initialization): set below
    attributes.send_cq = completion_queue_;
    attributes.recv_cq = completion_queue_;
    attributes.qp_type = IBV_QPT_RC;
    attributes.cap.max_send_wr = 1;
    attributes.cap.max_recv_wr = 1;
    attributes.cap.max_send_sge = 1;
    attributes.cap.max_recv_sge = 1;
    if (library_.query_device(context_, &device) != 0 || library_.create_qp(id, region.domain, &attributes) != 0) {
      return false;
    }
    const auto data = encode(ConnectAccept{.address = reinterpret_cast<std::uintptr_t>(region.memory),
                                           .size_bytes = region.size_bytes,
                                           .key = region.registration->rkey});
    rdma_conn_param parameters{};
    parameters.private_data = data.data();
    parameters.private_data_len = static_cast<std::uint8_t>(data.size());
    // As many reads at once as the client asks for and the device takes.
    parameters.responder_resources =
        std::min(asked.responder_resources, static_cast<std::uint8_t>(std::clamp(device.max_qp_rd_atom, 1, 255)));
    parameters.rnr_retry_count = 7;
    return library_.accept(id, &parameters) == 0;
  }

  void end(rdma_cm_id* id) {
    {
      const std::lock_guard lock(mutex_);
      connections_.erase(id);
    }
    if (id->qp != nullptr) {
      (void)library_.disconnect(id);
      library_.destroy_qp(id);
    }
    library_.destroy_id(id);
  }

  bool drop_region(std::uint64_t region_id) {
    Region region;
    std::vector<rdma_cm_id*> readers;
    {
      const std::lock_guard lock(mutex_);
      const auto found = regions_.find(region_id);
      if (found == regions_.end()) {
        return false;
      }
      region = found->second;
      regions_.erase(found);
      for (const auto& [id, read] : connections_) {
        if (read == region_id) {
          readers.push_back(id);
        }
      }
    }
    std::for_each(readers.begin(), readers.end(), [this](rdma_cm_id* id) { end(id); });
    library_.dereg_mr(region.registration);
    library_.dealloc_pd(region.domain);
    return true;
  }

  /// What is left when no thread runs and no region is served.
  void close() {
    if (listener_ != nullptr) {
      library_.destroy_id(listener_);
    }
    if (completion_queue_ != nullptr) {
      library_.destroy_cq(completion_queue_);
    }
    if (devices_ != nullptr) {
      library_.free_devices(devices_);
    }
    if (channel_ != nullptr) {
      library_.destroy_event_channel(channel_);
    }
    if (wake_ >= 0) {
      ::close(wake_);
    }
  }

  const std::string what_;
  const VerbsLibrary& library_;
  const std::uint32_t max_connections_;
  int wake_ = -1;
  std::uint16_t port_ = 0;
  rdma_event_channel* channel_ = nullptr;
  rdma_cm_id* listener_ = nullptr;
  ibv_context** devices_ = nullptr;
  ibv_context* context_ = nullptr;
  ibv_cq* completion_queue_ = nullptr;
  bool ending_ = false;  // the listener's thread only

  std::mutex stop_mutex_;
  mutable std::mutex mutex_;  // of what follows
  std::map<std::uint64_t, Region> regions_;
  std::unordered_map<rdma_cm_id*, std::uint64_t> connections_;  // region of each
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
