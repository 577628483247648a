#include "dax_mapping.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include <tiervec/core/status.h>
#include <tiervec/core/system_error.h>
#include <tiervec/rdma/dax_device.h>

#include "cache_lines.h"

namespace tiervec::rdma {

namespace {

std::string reason(int number) {
  return std::generic_category().message(number);
}

std::string known_devices() {
  std::string names;
  for (const DaxDevice& device : dax_devices()) {
    names.append(names.empty() ? "" : ", ").append("/dev/").append(device.name);
  }
  return names.empty() ? "this machine has no DAX device" : "the DAX devices of this machine are " + names;
}

/// Its folder in sysfs, or empty when the character device is another kind.
std::filesystem::path folder_of_device(const struct stat& status) {
  const std::filesystem::path folder =
      "/sys/dev/char/" + std::to_string(major(status.st_rdev)) + ":" + std::to_string(minor(status.st_rdev));
  std::error_code error;
  const std::filesystem::path device = std::filesystem::canonical(folder, error);
  const std::filesystem::path subsystem = std::filesystem::canonical(folder / "subsystem", error);
  return !error && subsystem.filename() == "dax" ? device : std::filesystem::path();
}

}  // namespace

bool is_device_path(const std::string& path) {
  return path.rfind("/dev/", 0) == 0 && path.rfind("/dev/shm/", 0) != 0;
}

DaxMapping::DaxMapping(std::string path, Use use) : path_(std::move(path)), writable_(use == Use::kWrite) {
  try {
    open_descriptor(use);
    lock(use);
    struct stat status{};
    if (::fstat(descriptor_, &status) != 0) {
      throw system_error(path_, errno);
    }
    if (S_ISREG(status.st_mode)) {
      size_bytes_ = static_cast<std::uint64_t>(status.st_size);
    } else {
      const std::filesystem::path folder = S_ISCHR(status.st_mode) ? folder_of_device(status) : std::filesystem::path();
      if (folder.empty()) {
        throw Error(ErrorCode::kInvalidArgument,
                    path_ + " is neither a DAX device nor a regular file; " + known_devices());
      }
      const DaxDevice device = read_dax_device(folder);
      is_device_ = true;
      size_bytes_ = device.size_bytes / device.align_bytes * device.align_bytes;
      if (writable_ && !can_write_back_cache_lines()) {
        throw Error(ErrorCode::kUnsupported,
                    path_ + ": writing to a DAX device needs an x86-64 CPU; use a file on a DAX file system");
      }
    }
    map();
  } catch (...) {
    unmap();
    ::close(descriptor_);
    throw;
  }
}

DaxMapping::~DaxMapping() {
  unmap();
  ::close(descriptor_);
}

// O_NONBLOCK: a named pipe must fail in the constructor instead of waiting for its other end.
void DaxMapping::open_descriptor(Use use) {
  int flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (use == Use::kWrite ? O_RDWR : O_RDONLY);
  if (use == Use::kWrite && !is_device_path(path_)) {
    flags |= O_CREAT;
  }
  descriptor_ = ::open(path_.c_str(), flags, 0600);
  if (descriptor_ < 0) {
    const int number = errno;
    const bool no_device = code_of_errno(number) == ErrorCode::kNotFound && is_device_path(path_);
    throw Error(code_of_errno(number),
                "cannot open " + path_ + ": " + reason(number) + (no_device ? "; " + known_devices() : ""));
  }
}

void DaxMapping::lock(Use use) {
  if (::flock(descriptor_, (use == Use::kWrite ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0) {
    throw Error(ErrorCode::kUnavailable,
                path_ + (use == Use::kWrite ? " is in use by another process" : " is being loaded by another process"));
  }
}

void DaxMapping::map() {
  if (size_bytes_ == 0) {
    return;
  }
  const int protection = PROT_READ | (writable_ ? PROT_WRITE : 0);
  // MAP_SYNC is refused for everything but a file on a DAX file system: so this also finds out what the file is.
  void* memory = ::mmap(nullptr, size_bytes_, protection, MAP_SHARED_VALIDATE | MAP_SYNC, descriptor_, 0);
  direct_ = memory != MAP_FAILED || is_device_;
  if (memory == MAP_FAILED) {
    memory = ::mmap(nullptr, size_bytes_, protection, MAP_SHARED, descriptor_, 0);
  }
  if (memory == MAP_FAILED) {
    const int number = errno;
    throw system_error("mapping " + path_, number);
  }
  data_ = static_cast<std::byte*>(memory);
  if (!is_device_) {
    ::madvise(memory, size_bytes_, MADV_RANDOM);  // reads are small and scattered: no read-ahead
  }
}

void DaxMapping::unmap() noexcept {
  if (data_ != nullptr) {
    ::munmap(data_, size_bytes_);
    data_ = nullptr;
  }
}

void DaxMapping::reserve(std::uint64_t size_bytes) {
  if (is_device_) {
    if (size_bytes > size_bytes_) {
      throw Error(ErrorCode::kResourceExhausted, path_ + " has " + std::to_string(size_bytes_ >> 20U) +
                                                     " MiB; the region and its header need " +
                                                     std::to_string((size_bytes + (1U << 20U) - 1) >> 20U) + " MiB");
    }
    return;
  }
  require_disk(size_bytes);
  // Also over what is there already: a hole in a file would end the process when the disk is full.
  int number = 0;
  do {
    number = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(size_bytes));
  } while (number == EINTR);
  if (number != 0) {
    const bool is_freed = ::ftruncate(descriptor_, static_cast<off_t>(size_bytes_)) == 0;
    throw Error(code_of_errno(number), path_ + " cannot take the " + std::to_string(size_bytes) +
                                           " bytes of the region and its header: " + reason(number) +
                                           (is_freed ? "" : "; it keeps what it took before that"));
  }
  if (size_bytes > size_bytes_) {
    unmap();
    size_bytes_ = size_bytes;
    map();
  }
}

/// Before anything is taken: allocating more than there is would fill the disk first and fail then.
void DaxMapping::require_disk(std::uint64_t size_bytes) const {
  struct stat file{};
  struct statvfs disk{};
  if (::fstat(descriptor_, &file) != 0 || ::fstatvfs(descriptor_, &disk) != 0 || disk.f_blocks == 0) {
    return;  // not known; a file system without a limit
  }
  const std::uint64_t free_bytes = std::uint64_t{disk.f_bavail} * disk.f_frsize;
  const std::uint64_t taken_bytes = static_cast<std::uint64_t>(file.st_blocks) * 512;
  if (size_bytes > taken_bytes + free_bytes) {
    throw Error(ErrorCode::kDiskFull, path_ + " needs " + std::to_string(size_bytes >> 20U) +
                                          " MiB for the region and its header, but its " + "file system has " +
                                          std::to_string(free_bytes >> 20U) + " MiB free");
  }
}

void DaxMapping::persist(std::uint64_t offset, std::uint64_t bytes) {
  if (is_device_) {
    write_back_cache_lines(data_ + offset, bytes);
    return;
  }
  if (::msync(data_ + offset, bytes, MS_SYNC) != 0) {
    const int number = errno;
    throw system_error("writing " + path_, number);
  }
}

void DaxMapping::become_reader() {
  ::mprotect(data_, size_bytes_, PROT_READ);  // a guard against our own mistakes: works without
  writable_ = false;
  lock(Use::kRead);
}

}  // namespace tiervec::rdma
