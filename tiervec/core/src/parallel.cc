#include <tiervec/core/parallel.h>

#include <sched.h>

namespace tiervec {

unsigned resolve_threads(unsigned threads) noexcept {
  if (threads != 0) {
    return threads;
  }
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
    return static_cast<unsigned>(CPU_COUNT(&allowed));
  }
  const unsigned cpus = std::thread::hardware_concurrency();
  return cpus == 0 ? 1 : cpus;
}

}  // namespace tiervec
