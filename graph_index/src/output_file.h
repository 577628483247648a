#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include <tiervec/core/status.h>

namespace tiervec::graph_index {

/// A file that is written once from start to end.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path)
      : path_(path), descriptor_(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
    if (descriptor_ < 0) fail(errno);
    buffer_.reserve(kBufferBytes);
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile() { ::close(descriptor_); }

  /// Room for `bytes` more, to be filled before the next call.
  std::byte* append(std::size_t bytes) {
    if (buffer_.size() + bytes > kBufferBytes) flush();
    buffer_.resize(buffer_.size() + bytes);
    return buffer_.data() + buffer_.size() - bytes;
  }
  void flush() {
    write(buffer_);
    buffer_.clear();
  }
  /// Past the buffer, which must be empty.
  void write(std::span<const std::byte> bytes) {
    const std::byte* from = bytes.data();
    for (std::size_t left = bytes.size(); left > 0;) {
      const ssize_t written = ::write(descriptor_, from, left);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail(errno);
      from += written;
      left -= static_cast<std::size_t>(written);
    }
  }

 private:
  static constexpr std::size_t kBufferBytes = std::size_t{4} << 20;

  [[noreturn]] void fail(int error) const {
    const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
    throw Error(full ? ErrorCode::kResourceExhausted : ErrorCode::kUnavailable,
                "cannot write " + path_ + ": " + std::generic_category().message(error));
  }

  std::string path_;
  int descriptor_;
  std::vector<std::byte> buffer_;
};

}  // namespace tiervec::graph_index
