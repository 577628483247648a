#include "server_loop.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <future>
#include <utility>

#include <tiervec/core/status.h>

namespace tiervec::rdma {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t kEventsAtOnce = 64;

double seconds(const timespec& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

bool watch(const Descriptor& epoll, int operation, int descriptor, std::uint32_t events, void* what) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.ptr = what;
  return ::epoll_ctl(epoll.number(), operation, descriptor, &event) == 0;
}

/// How often the time-outs are looked at: a fraction of the shortest.
milliseconds sweep_interval(const RegionServerLimits& limits) {
  const milliseconds shortest = std::min({limits.handshake_timeout, limits.stall_timeout, limits.stop_timeout});
  return std::clamp(shortest / 4, milliseconds{5}, milliseconds{500});
}

}  // namespace

ServerLoop::ServerLoop(const RegionTable& regions, const RegionServerLimits& limits)
    : regions_(regions),
      limits_(limits),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!epoll_ || !wake_ || !watch(epoll_, EPOLL_CTL_ADD, wake_.number(), EPOLLIN, &wake_)) {
    throw Error(ErrorCode::kUnavailable, with_errno("a region server needs epoll and an eventfd", errno));
  }
}

ServerLoop::~ServerLoop() {
  stop();
}

void ServerLoop::start(const Descriptor* listening, std::function<void(Descriptor)> on_accept) {
  listening_ = listening;
  on_accept_ = std::move(on_accept);
  const std::lock_guard lock(mutex_);
  thread_ = std::thread([this] { run(); });
}

// ---- from any thread
// ----------------------------------------------------------------------------------------------------

void ServerLoop::post(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  const std::uint64_t one = 1;
  (void)!::write(wake_.number(), &one, sizeof one);
}

void ServerLoop::adopt(Descriptor socket) {
  open_.fetch_add(1, std::memory_order_relaxed);
  post([this, shared = std::make_shared<Descriptor>(std::move(socket))] { add(std::move(*shared)); });
}

void ServerLoop::close_region(std::uint64_t region_id) {
  std::promise<void> done;
  post([this, region_id, &done] {
    for (auto at = connections_.begin(); at != connections_.end();) {
      const ServedRegion* const region = at->second->region();
      at = region != nullptr && region->id == region_id ? close(at) : std::next(at);
    }
    done.set_value();
  });
  done.get_future().wait();
}

void ServerLoop::stop() {
  std::thread thread;
  {
    const std::lock_guard lock(mutex_);
    thread = std::move(thread_);
  }
  if (thread.joinable()) {
    post([this] { begin_stop(); });
    thread.join();
  }
}

double ServerLoop::cpu_seconds() const {
  const std::lock_guard lock(mutex_);
  clockid_t clock{};
  timespec time{};
  if (thread_.joinable() && ::pthread_getcpuclockid(const_cast<std::thread&>(thread_).native_handle(), &clock) == 0 &&
      ::clock_gettime(clock, &time) == 0) {
    return seconds(time);
  }
  return cpu_seconds_;
}

// ---- of the thread
// ------------------------------------------------------------------------------------------------------

void ServerLoop::run() {
  std::array<epoll_event, kEventsAtOnce> events{};
  now_ = std::chrono::steady_clock::now();
  listen_again();
  while (stop_at_ == Time::max() || (!connections_.empty() && now_ < stop_at_)) {
    const int count = ::epoll_wait(epoll_.number(), events.data(), events.size(), wait_ms());
    now_ = std::chrono::steady_clock::now();
    bool woken = false;
    for (int i = 0; i < count; ++i) {
      void* const what = events[static_cast<std::size_t>(i)].data.ptr;
      if (what == &wake_) {
        woken = true;
      } else if (what == listening_) {
        accept_all();
      } else {
        advance(*static_cast<ClientConnection*>(what));
      }
    }
    if (now_ >= next_sweep_) {
      sweep();
    }
    if (woken) {  // last: a task may close connections that have an event
      run_tasks();
    }
  }
  open_.fetch_sub(connections_.size(), std::memory_order_relaxed);
  connections_.clear();
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  const std::lock_guard lock(mutex_);
  cpu_seconds_ = seconds(time);
}

void ServerLoop::run_tasks() {
  std::uint64_t ignored = 0;
  (void)!::read(wake_.number(), &ignored, sizeof ignored);
  std::vector<std::function<void()>> tasks;
  {
    const std::lock_guard lock(mutex_);
    tasks.swap(tasks_);
  }
  for (const std::function<void()>& task : tasks) {
    task();
  }
}

void ServerLoop::accept_all() {
  for (;;) {
    Descriptor socket(::accept4(listening_->number(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket) {
      on_accept_(std::move(socket));
      continue;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      // The client stays in the backlog. Without the pause the loop would be told of it all the time.
      (void)watch(epoll_, EPOLL_CTL_DEL, listening_->number(), 0, nullptr);
      accepting_ = false;
      timed_ = true;
      return;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    }  // else it is about that one connection
  }
}

void ServerLoop::listen_again() {
  if (listening_ != nullptr && !accepting_ && stop_at_ == Time::max()) {
    accepting_ = watch(epoll_, EPOLL_CTL_ADD, listening_->number(), EPOLLIN, const_cast<Descriptor*>(listening_));
  }
}

void ServerLoop::add(Descriptor socket) {
  auto connection = std::make_unique<ClientConnection>(std::move(socket), regions_, counters_, now_);
  ClientConnection* const key = connection.get();
  if (stop_at_ != Time::max() || !watch(epoll_, EPOLL_CTL_ADD, key->descriptor(), EPOLLIN, key)) {
    open_.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
  connections_.emplace(key, std::move(connection));
  timed_ = true;
}

void ServerLoop::advance(ClientConnection& connection) {
  const bool was_sending = connection.sending();
  if (!connection.advance(now_)) {
    (void)close(connections_.find(&connection));
    return;
  }
  if (connection.sending() != was_sending) {
    wait_for(connection, connection.sending());
  }
  timed_ = timed_ || connection.sending();
}

// While a reply waits, requests are not even looked for: the client's own socket fills up, and it has to wait too.
void ServerLoop::wait_for(const ClientConnection& connection, bool writable) noexcept {
  (void)watch(epoll_, EPOLL_CTL_MOD, connection.descriptor(), writable ? EPOLLOUT : EPOLLIN,
              const_cast<ClientConnection*>(&connection));
}

ServerLoop::Connections::iterator ServerLoop::close(Connections::iterator at) {
  open_.fetch_sub(1, std::memory_order_relaxed);
  return connections_.erase(at);  // closing the descriptor takes it out of the epoll
}

void ServerLoop::begin_stop() {
  stop_at_ = now_ + limits_.stop_timeout;
  timed_ = true;
  if (accepting_) {
    (void)watch(epoll_, EPOLL_CTL_DEL, listening_->number(), 0, nullptr);
    accepting_ = false;
  }
  for (auto at = connections_.begin(); at != connections_.end();) {
    ClientConnection& connection = *at->second;
    const bool was_sending = connection.sending();
    bool open = connection.advance(now_);  // what has arrived is answered
    connection.finish();
    open = open && connection.sending();
    if (open && !was_sending) {
      wait_for(connection, true);
    }
    at = open ? std::next(at) : close(at);
  }
}

void ServerLoop::sweep() {
  next_sweep_ = now_ + sweep_interval(limits_);
  listen_again();
  timed_ = stop_at_ != Time::max() || (listening_ != nullptr && !accepting_);
  for (auto at = connections_.begin(); at != connections_.end();) {
    const ClientConnection& connection = *at->second;
    const auto waited = now_ - connection.waiting_since();
    if (!connection.greeted() && waited > limits_.handshake_timeout) {
      counters_.refused.fetch_add(1, std::memory_order_relaxed);
      at = close(at);
    } else if (connection.sending() && waited > limits_.stall_timeout) {
      counters_.dropped.fetch_add(1, std::memory_order_relaxed);
      at = close(at);
    } else {
      timed_ = timed_ || connection.sending() || !connection.greeted();
      ++at;
    }
  }
}

// Without anything that can be late the thread sleeps until an event.
int ServerLoop::wait_ms() const noexcept {
  return timed_ ? static_cast<int>(sweep_interval(limits_).count()) : -1;
}

}  // namespace tiervec::rdma
