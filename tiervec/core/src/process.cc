#include <tiervec/core/process.h>

#include <pthread.h>

namespace tiervec {
namespace {

std::atomic<std::uint64_t> generation{0};

// Registered while the library is loaded, before anything of it can run. Fails only without memory.
[[maybe_unused]] const int kRegistered =
    pthread_atfork(nullptr, nullptr, [] { generation.fetch_add(1, std::memory_order_relaxed); });

}  // namespace

std::uint64_t process_generation() noexcept {
  return generation.load(std::memory_order_relaxed);
}

}  // namespace tiervec
