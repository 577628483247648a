#include <tiervec/rdma/node_memory.h>

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include <tiervec/core/process_limits.h>
#include <tiervec/core/status.h>
#include <tiervec/core/system_file.h>

namespace tiervec::rdma {

namespace {

constexpr std::uint64_t kHugePage = std::uint64_t{2} << 20U;

std::uint64_t whole_pages(std::uint64_t bytes) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

/// From one huge page on the memory begins at one: more than needed is mapped, and the ends given back.
std::byte* map(std::uint64_t bytes) {
  const std::uint64_t reserved = bytes < kHugePage ? bytes : bytes + kHugePage;
  void* const base = ::mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) {
    throw Error(ErrorCode::kResourceExhausted,
                "a memory node is to lend " + std::to_string(bytes) + " bytes, which the system does not map");
  }
  auto* const first = static_cast<std::byte*>(base);
  if (reserved == bytes) {
    return first;
  }
  const std::uint64_t before = (kHugePage - reinterpret_cast<std::uintptr_t>(base) % kHugePage) % kHugePage;
  if (before > 0) {
    (void)::munmap(first, before);
  }
  if (before < kHugePage) {
    (void)::munmap(first + before + bytes, kHugePage - before);
  }
  return first + before;
}

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
  const std::string setting = read_system_file("/sys/kernel/mm/transparent_hugepage/enabled");
  return setting.empty() || setting.find("[never]") != std::string::npos;
}

}  // namespace

NodeMemory::NodeMemory(std::uint64_t size_bytes, bool lock)
    : size_bytes_(checked(size_bytes)),
      mapped_bytes_(whole_pages(size_bytes)),
      data_(map(mapped_bytes_)),
      huge_pages_(mapped_bytes_ >= kHugePage && ::madvise(data_, mapped_bytes_, MADV_HUGEPAGE) == 0 &&
                  !huge_pages_switched_off()) {
  // After the advice, so that the pages that are brought in are huge ones.
  locked_ = lock && ::mlock(data_, mapped_bytes_) == 0;
}

NodeMemory::~NodeMemory() {
  (void)::munmap(data_, mapped_bytes_);
}

}  // namespace tiervec::rdma
