#include <tiervec/core/huge_buffer.h>

#include <sys/mman.h>

#include <cstdint>
#include <limits>
#include <string>

#include <tiervec/core/status.h>

namespace tiervec {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

}  // namespace

HugeBuffer::HugeBuffer(std::size_t bytes) : bytes_((bytes + kHugePage - 1) / kHugePage * kHugePage) {
  if (bytes == 0) {
    return;
  }
  if (bytes > std::numeric_limits<std::size_t>::max() - 2 * kHugePage) {  // rounding it up would overflow
    throw Error(ErrorCode::kResourceExhausted, "cannot allocate " + std::to_string(bytes) + " bytes of memory");
  }
  // One page more than needed, then give the unaligned ends back.
  const std::size_t reserved = bytes_ + kHugePage;
  void* base = mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) {
    throw Error(ErrorCode::kResourceExhausted, "cannot allocate " + std::to_string(bytes) + " bytes of memory");
  }
  const auto start = reinterpret_cast<std::uintptr_t>(base);
  const std::uintptr_t aligned = (start + kHugePage - 1) / kHugePage * kHugePage;
  auto* first = static_cast<std::byte*>(base) + (aligned - start);
  if (aligned > start) {
    munmap(base, aligned - start);
  }
  if (start + reserved > aligned + bytes_) {
    munmap(first + bytes_, start + reserved - aligned - bytes_);
  }
  data_ = first;
  madvise(data_, bytes_, MADV_HUGEPAGE);  // advice: without huge pages it is only slower
}

HugeBuffer::~HugeBuffer() {
  if (data_ != nullptr) {
    munmap(data_, bytes_);
  }
}

}  // namespace tiervec
