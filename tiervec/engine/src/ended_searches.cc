#include <tiervec/engine/ended_searches.h>

#include <cerrno>

#include <sys/eventfd.h>
#include <unistd.h>

#include <tiervec/core/system_error.h>

namespace tiervec::engine {

EndedSearches::EndedSearches() : descriptor_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (descriptor_ < 0) {
    throw system_error("waiting for searches on an event loop", errno);
  }
}

EndedSearches::~EndedSearches() {
  ::close(descriptor_);
}

void EndedSearches::expect() {
  const std::lock_guard lock(mutex_);
  tickets_.reserve(expected_ + 1);
  ++expected_;
}

void EndedSearches::unexpect() noexcept {
  const std::lock_guard lock(mutex_);
  --expected_;
}

void EndedSearches::search_ended(std::uint64_t ticket) noexcept {
  const std::lock_guard lock(mutex_);
  tickets_.push_back(ticket);
  if (tickets_.size() > 1) return;
  const std::uint64_t one = 1;
  // Can fail only when the count is full, and then it is readable.
  [[maybe_unused]] const ssize_t written = ::write(descriptor_, &one, sizeof(one));
}

std::vector<std::uint64_t> EndedSearches::take() {
  const std::lock_guard lock(mutex_);
  std::vector<std::uint64_t> taken = tickets_;
  tickets_.clear();
  expected_ -= taken.size();
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(descriptor_, &count, sizeof(count));
  return taken;
}

}  // namespace tiervec::engine
