#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace tiervec::rdma {

/// True for a path in /dev, where a file must not be created; /dev/shm is a folder like others.
bool is_device_path(const std::string& path);

/// A DAX device or a regular file: open, locked against other processes, and mapped as a whole.
///
/// A reader shares it with readers; a writer is alone. Locks are the kernel's (flock) and end with the process.
class DaxMapping {
 public:
  enum class Use : std::uint8_t { kRead, kWrite };

  /// `kWrite` creates a file that is not there, but nothing in /dev. Throws Error naming the path: kNotFound,
  /// kInvalidArgument (neither a DAX device nor a file, or no right to it), kUnavailable (another process loads it, or
  /// uses it when this one wants to write).
  DaxMapping(std::string path, Use use);
  ~DaxMapping();
  DaxMapping(const DaxMapping&) = delete;
  DaxMapping& operator=(const DaxMapping&) = delete;

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {data_, size_bytes_}; }
  /// True when loads and stores go to the device itself; false for a file that the page cache holds.
  [[nodiscard]] bool direct() const noexcept { return direct_; }

  /// Makes room for that many bytes: a file grows. Throws kResourceExhausted when the device is smaller or the disk
  /// full.
  void reserve(std::uint64_t size_bytes);
  /// Waits until a range that was stored to is on the medium. `offset` is a multiple of a page.
  void persist(std::uint64_t offset, std::uint64_t bytes);
  /// Lets other readers in. Throws kUnavailable when a writer was quicker.
  void become_reader();

 private:
  void open_descriptor(Use use);
  void lock(Use use);
  void require_disk(std::uint64_t size_bytes) const;
  void map();
  void unmap() noexcept;

  std::string path_;
  int descriptor_ = -1;
  bool is_device_ = false;
  bool direct_ = false;
  bool writable_ = false;
  std::byte* data_ = nullptr;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace tiervec::rdma
