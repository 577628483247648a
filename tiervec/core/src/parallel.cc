#include <tiervec/core/parallel.h>

#include <tiervec/core/process_limits.h>

#include <thread>

namespace tiervec {

unsigned resolve_threads(unsigned threads) {
  return threads != 0 ? threads : cpu_limit().threads();
}

}  // namespace tiervec
