#include <tiervec/core/thread.h>

#include <string>

namespace tiervec {
namespace {

std::atomic<long> starts_left{std::numeric_limits<long>::max()};

}  // namespace

void Thread::allow_starts(long starts) noexcept {
  starts_left = starts;
}

void Thread::take_start() {
  if (starts_left.load(std::memory_order_relaxed) != std::numeric_limits<long>::max() &&
      starts_left.fetch_sub(1) <= 0) {
    throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
  }
}

Error Thread::refused(const char* what, const std::system_error& error) {
  return {ErrorCode::kResourceExhausted,
          std::string(what) + " needs a thread and the system gives no more (" + error.code().message() +
              "); raise the limit of processes (ulimit -u, or pids.max of the container)"};
}

}  // namespace tiervec
