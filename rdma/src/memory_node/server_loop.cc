#include "server_loop.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <future>
#include <new>
#include <utility>

#include <tiervec/core/status.h>
#include <tiervec/core/system_error.h>

#include "watch.h"

namespace tiervec::rdma {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t kEventsAtOnce = 64;

double seconds(const timespec& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
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
    throw system_error("a region server needs epoll and an eventfd", errno);
  }
}

ServerLoop::~ServerLoop() {
  stop();
}

void ServerLoop::start() {
  const std::lock_guard lock(mutex_);
  thread_ = Thread("a memory node's data plane", [this] { run(); });
}

void ServerLoop::start_accepting(const Descriptor& listening, ReaderSlots& slots,
                                 std::function<void(Greeted)> on_greeted) {
  entrance_ = std::make_unique<Entrance>(listening, epoll_, regions_, slots, limits_, counters_, std::move(on_greeted));
  start();
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

void ServerLoop::adopt(Greeted client) {
  post([this, shared = std::make_shared<Greeted>(std::move(client))] { add(std::move(*shared)); });
}

void ServerLoop::close_region(std::uint64_t region_id) {
  std::promise<void> done;
  post([this, region_id, &done] {
    for (auto at = connections_.begin(); at != connections_.end();) {
      at = at->second->region().id == region_id ? close(at) : std::next(at);
    }
    done.set_value();
  });
  done.get_future().wait();
}

void ServerLoop::stop() {
  Thread thread;
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
  if (thread_.joinable() && ::pthread_getcpuclockid(thread_.native_handle(), &clock) == 0 &&
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
  while (stop_at_ == Time::max() || (!connections_.empty() && now_ < stop_at_)) {
    const int count = ::epoll_wait(epoll_.number(), events.data(), events.size(), queue_.empty() ? wait_ms() : 0);
    now_ = std::chrono::steady_clock::now();
    turns_.swap(queue_);  // whose turn is cut from now on waits for the next round
    const bool woken = take_events(std::span(events).first(static_cast<std::size_t>(std::max(count, 0))));
    take_turns();
    if (now_ >= next_sweep_) {
      sweep();
    }
    if (woken) {  // last: a task may close connections that have an event
      run_tasks();
    }
  }
  open_.fetch_sub(connections_.size(), std::memory_order_relaxed);
  queue_.clear();
  connections_.clear();
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  const std::lock_guard lock(mutex_);
  cpu_seconds_ = seconds(time);
}

bool ServerLoop::take_events(std::span<const epoll_event> events) {
  bool woken = false;
  bool arrivals = false;
  for (const epoll_event& event : events) {
    void* const what = event.data.ptr;
    if (what == &wake_) {
      woken = true;
    } else if (entrance_ != nullptr && entrance_->is_listening(what)) {
      arrivals = true;
    } else if (auto* const endpoint = static_cast<Endpoint*>(what); endpoint->is_stranger) {
      entrance_->advance(static_cast<Stranger&>(*endpoint));
    } else if (auto& connection = static_cast<ClientConnection&>(*endpoint); !connection.queued) {
      advance(connection);
    }
  }
  if (arrivals) {  // last: it may drop strangers that have an event
    entrance_->accept(now_);
  }
  timed_ = timed_ || (entrance_ != nullptr && entrance_->timed());
  return woken;
}

void ServerLoop::take_turns() {
  for (ClientConnection* const connection : turns_) {
    connection->queued = false;
    advance(*connection);
  }
  turns_.clear();
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

void ServerLoop::add(Greeted client) {
  if (stop_at_ != Time::max()) {
    return;
  }
  try {
    auto made = std::make_unique<ClientConnection>(std::move(client), counters_, limits_.turn_bytes, now_);
    ClientConnection& connection = *made;
    connections_.emplace(&connection, std::move(made));
    open_.fetch_add(1, std::memory_order_relaxed);
    if (watch(epoll_, EPOLL_CTL_ADD, connection.descriptor(), EPOLLIN, static_cast<Endpoint*>(&connection))) {
      advance(connection);  // the welcome
    } else {
      (void)close(connections_.find(&connection));
    }
  } catch (const std::bad_alloc&) {
    counters_.dropped.fetch_add(1, std::memory_order_relaxed);  // there is no memory for its buffers
  }
}

void ServerLoop::advance(ClientConnection& connection) {
  const ClientConnection::Turn turn = connection.advance(now_);
  if (turn == ClientConnection::Turn::kOver) {
    (void)close(connections_.find(&connection));
    return;
  }
  if (turn == ClientConnection::Turn::kMore) {
    connection.queued = true;
    queue_.push_back(&connection);
  } else if (connection.sending() != connection.watched_for_room) {
    wait_for(connection, connection.sending());
  }
  timed_ = timed_ || connection.sending();
}

// While a reply waits, requests are not even looked for: the client's own socket fills up, and it has to wait too.
void ServerLoop::wait_for(ClientConnection& connection, bool room) noexcept {
  connection.watched_for_room = room;
  (void)watch(epoll_, EPOLL_CTL_MOD, connection.descriptor(), room ? EPOLLOUT : EPOLLIN,
              static_cast<Endpoint*>(&connection));
}

ServerLoop::Connections::iterator ServerLoop::close(Connections::iterator at) {
  open_.fetch_sub(1, std::memory_order_relaxed);
  if (at->second->queued) {
    std::erase(queue_, at->first);
  }
  (void)watch(epoll_, EPOLL_CTL_DEL, at->second->descriptor(), 0, nullptr);
  return connections_.erase(at);
}

void ServerLoop::begin_stop() {
  stop_at_ = now_ + limits_.stop_timeout;
  timed_ = true;
  if (entrance_ != nullptr) {
    entrance_->close();
  }
  for (auto at = connections_.begin(); at != connections_.end();) {
    ClientConnection& connection = *(at++)->second;  // it may be over
    connection.finish();
    if (!connection.queued) {
      advance(connection);
    }
  }
}

void ServerLoop::sweep() {
  next_sweep_ = now_ + sweep_interval(limits_);
  if (entrance_ != nullptr) {
    entrance_->sweep(now_);
  }
  timed_ = stop_at_ != Time::max() || (entrance_ != nullptr && entrance_->timed());
  for (auto at = connections_.begin(); at != connections_.end();) {
    const ClientConnection& connection = *at->second;
    if (connection.sending() && now_ - connection.waiting_since() > limits_.stall_timeout) {
      counters_.dropped.fetch_add(1, std::memory_order_relaxed);
      at = close(at);
    } else {
      timed_ = timed_ || connection.sending();
      ++at;
    }
  }
}

// Without anything that can be late the thread sleeps until an event.
int ServerLoop::wait_ms() const noexcept {
  return timed_ ? static_cast<int>(sweep_interval(limits_).count()) : -1;
}

}  // namespace tiervec::rdma
