#include "region_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include <tiervec/core/status.h>
#include <tiervec/core/system_error.h>

namespace tiervec::rdma {

namespace {

constexpr std::uint64_t kPieceBytes = 8U << 20U;  // read at a time

}  // namespace

// O_NONBLOCK: opening a named pipe must fail below instead of waiting for its writer.
RegionFile::RegionFile(const std::string& path)
    : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (descriptor_ < 0) {
    const int number = errno;
    throw system_error("cannot open region file '" + path + "'", number);
  }
  struct stat status{};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    throw Error(ErrorCode::kInvalidArgument, "region file '" + path + "' is not a regular file");
  }
  if (status.st_size <= 0) {
    ::close(descriptor_);
    throw Error(ErrorCode::kDataLoss, "region file '" + path + "' is empty; a region holds at least 1 byte");
  }
  size_bytes_ = static_cast<std::uint64_t>(status.st_size);
}

RegionFile::~RegionFile() {
  ::close(descriptor_);
}

void RegionFile::read_into(std::byte* target) const {
  ::posix_fadvise(descriptor_, 0, 0, POSIX_FADV_SEQUENTIAL);
  std::uint64_t filled = 0;
  while (filled < size_bytes_) {
    const std::uint64_t wanted = std::min(kPieceBytes, size_bytes_ - filled);
    const ssize_t got = ::pread(descriptor_, target + filled, wanted, static_cast<off_t>(filled));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      const int number = errno;
      throw system_error("reading region file '" + path_ + "'", number);
    }
    if (got == 0) {
      throw Error(ErrorCode::kDataLoss, "region file '" + path_ + "' ends at byte " + std::to_string(filled) + " of " +
                                            std::to_string(size_bytes_) + ": it shrank while it was loaded");
    }
    filled += static_cast<std::uint64_t>(got);
  }
}

}  // namespace tiervec::rdma
