#pragma once

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

 private:
  int descriptor_ = -1;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace tiervec::rdma
