#include <tiervec/rdma/node_memory.h>

#include <sys/mman.h>

#include <fstream>
#include <string>

#include <tiervec/core/status.h>
#include <tiervec/rdma/available_memory.h>

namespace tiervec::rdma {

namespace {

std::uint64_t checked(std::uint64_t size_bytes) {
  if (size_bytes == 0) {
    throw Error(ErrorCode::kInvalidArgument, "a memory node lends at least 1 byte, got 0");
  }
  if (const std::uint64_t available = available_memory_bytes(); size_bytes > available) {
    throw Error(ErrorCode::kResourceExhausted, "a memory node is to lend " + std::to_string(size_bytes >> 20U) +
                                                   " MiB, but only " + std::to_string(available >> 20U) +
                                                   " MiB are available");
  }
  return size_bytes;
}

// The kernel takes the advice even where it is set never to follow it.
bool huge_pages_switched_off() {
  std::ifstream setting("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string text;
  return !std::getline(setting, text) || text.find("[never]") != std::string::npos;
}

}  // namespace

NodeMemory::NodeMemory(std::uint64_t size_bytes, bool lock)
    : size_bytes_(checked(size_bytes)),
      buffer_(size_bytes),
      locked_(lock && ::mlock(buffer_.as<void>(), buffer_.bytes()) == 0),
      huge_pages_(::madvise(buffer_.as<void>(), buffer_.bytes(), MADV_HUGEPAGE) == 0 && !huge_pages_switched_off()) {}

}  // namespace tiervec::rdma
