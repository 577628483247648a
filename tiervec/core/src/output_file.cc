#include <tiervec/core/output_file.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <tiervec/core/system_error.h>

namespace tiervec {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{4} << 20;

}  // namespace

OutputFile::OutputFile(const std::string& path)
    : path_(path), descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) fail(errno);
  buffer_.reserve(kBufferBytes);
}

OutputFile::~OutputFile() {
  ::close(descriptor_);
}

std::byte* OutputFile::append(std::size_t bytes) {
  if (buffer_.size() + bytes > kBufferBytes) flush();
  buffer_.resize(buffer_.size() + bytes);
  return buffer_.data() + buffer_.size() - bytes;
}

void OutputFile::append_zeros(std::size_t bytes) {
  while (bytes > 0) {
    const std::size_t part = std::min(bytes, kBufferBytes);
    std::memset(append(part), 0, part);
    bytes -= part;
  }
}

void OutputFile::write(std::span<const std::byte> bytes) {
  flush();
  write_through(bytes);
}

void OutputFile::flush() {
  write_through(buffer_);
  buffer_.clear();
}

void OutputFile::write_through(std::span<const std::byte> bytes) {
  const std::byte* from = bytes.data();
  for (std::size_t left = bytes.size(); left > 0;) {
    const ssize_t written = ::write(descriptor_, from, left);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(errno);
    from += written;
    left -= static_cast<std::size_t>(written);
  }
}

void OutputFile::fail(int error) const {
  throw system_error("cannot write " + path_, error);
}

}  // namespace tiervec
