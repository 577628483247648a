#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace tiervec::rdma {

/// Bytes of this process that a load/store tier hands out views into: read-only, fixed in size and place.
class MemoryRegion {
 public:
  /// Huge-page backed memory filled with the bytes of a file, read in pieces: needs no memory beside the region.
  /// Throws Error: kNotFound, kInvalidArgument (not a regular file, not readable), kDataLoss (empty, or it shrank
  /// while it was read), kResourceExhausted (more than this machine has available), kUnavailable (read error).
  static MemoryRegion load(const std::string& path);
  /// The file itself, mapped for random access. It must not shrink while mapped. Throws as load does.
  static MemoryRegion map(const std::string& path);
  /// Huge-page backed memory with a copy of `bytes`. Throws kInvalidArgument when empty, kResourceExhausted.
  static MemoryRegion copy_of(std::span<const std::byte> bytes);

  MemoryRegion(MemoryRegion&& other) noexcept;
  MemoryRegion& operator=(MemoryRegion&& other) noexcept;
  ~MemoryRegion();

  [[nodiscard]] const std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept { return size_bytes_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_bytes_}; }

 private:
  MemoryRegion(std::byte* data, std::uint64_t size_bytes, std::uint64_t mapped_bytes) noexcept
      : data_(data), size_bytes_(size_bytes), mapped_bytes_(mapped_bytes) {}
  static MemoryRegion anonymous(std::uint64_t size_bytes, const std::string& what);

  std::byte* data_ = nullptr;
  std::uint64_t size_bytes_ = 0;
  std::uint64_t mapped_bytes_ = 0;
};

}  // namespace tiervec::rdma
