#include <tiervec/rdma/memory_region.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <tiervec/core/process_limits.h>
#include <tiervec/core/status.h>
#include <tiervec/core/system_error.h>

#include "numa/numa_memory.h"
#include "region_file.h"

namespace tiervec::rdma {

namespace {

constexpr std::uint64_t kHugePageBytes = 2U << 20U;

}  // namespace

MemoryRegion MemoryRegion::anonymous(std::uint64_t size_bytes, const std::string& what) {
  const std::uint64_t available = available_memory_bytes();
  if (size_bytes > available) {
    throw Error(ErrorCode::kResourceExhausted, what + " needs " + std::to_string(size_bytes >> 20U) +
                                                   " MiB of memory, but only " + std::to_string(available >> 20U) +
                                                   " MiB are available");
  }
  const std::uint64_t mapped = (size_bytes + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  void* memory = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw system_error(what + " needs " + std::to_string(mapped) + " bytes", errno);
  }
  // A request, not a need: without transparent huge pages the region works, with more TLB misses.
  ::madvise(memory, mapped, MADV_HUGEPAGE);
  return {static_cast<std::byte*>(memory), size_bytes, mapped};
}

MemoryRegion MemoryRegion::load(const std::string& path) {
  const RegionFile file(path);
  MemoryRegion region = anonymous(file.size_bytes(), "region file '" + path + "'");
  file.read_into(region.data_);
  return region;
}

MemoryRegion MemoryRegion::load_on_node(const std::string& path, unsigned node) {
  const RegionFile file(path);
  const std::string what = "region file '" + path + "'";
  MemoryRegion region = anonymous(file.size_bytes(), what);
  place_on_node({region.data_, region.mapped_bytes_}, node, what);
  file.read_into(region.data_);
  return region;
}

MemoryRegion MemoryRegion::map(const std::string& path) {
  const RegionFile file(path);
  void* memory = ::mmap(nullptr, file.size_bytes(), PROT_READ, MAP_SHARED, file.descriptor(), 0);
  if (memory == MAP_FAILED) {
    throw system_error("mapping region file '" + path + "'", errno);
  }
  ::madvise(memory, file.size_bytes(), MADV_RANDOM);  // reads are small and scattered: no read-ahead
  return {static_cast<std::byte*>(memory), file.size_bytes(), file.size_bytes()};
}

MemoryRegion MemoryRegion::copy_of(std::span<const std::byte> bytes) {
  if (bytes.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "a region holds at least 1 byte, got 0");
  }
  MemoryRegion region = anonymous(bytes.size(), "a region");
  std::memcpy(region.data_, bytes.data(), bytes.size());
  return region;
}

MemoryRegion::MemoryRegion(MemoryRegion&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      mapped_bytes_(std::exchange(other.mapped_bytes_, 0)) {}

MemoryRegion& MemoryRegion::operator=(MemoryRegion&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  std::swap(mapped_bytes_, other.mapped_bytes_);
  return *this;
}

MemoryRegion::~MemoryRegion() {
  if (data_ != nullptr) {
    ::munmap(data_, mapped_bytes_);
  }
}

}  // namespace tiervec::rdma
