#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace tiervec::rdma {

/// A regular file that is open for reading and not empty. Throws Error naming the path otherwise.
class RegionFile {
 public:
  explicit RegionFile(const std::string& path);
  ~RegionFile();
  RegionFile(const RegionFile&) = delete;
  RegionFile& operator=(const RegionFile&) = delete;

  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept { return size_bytes_; }
  /// Reads the whole file to `target`, in pieces. Throws kUnavailable (read error), kDataLoss (it shrank meanwhile).
  void read_into(std::byte* target) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace tiervec::rdma
