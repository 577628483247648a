#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace tiervec {

/// A file that is written once from start to end, through a buffer. Throws Error(kResourceExhausted) when the disk is
/// full, Error(kUnavailable) for anything else; the caller removes the file.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();

  /// Room for `bytes` more, to be filled before the next call.
  std::byte* append(std::size_t bytes);
  void append_zeros(std::size_t bytes);
  /// Writes what is buffered. Due at the end.
  void flush();
  /// Past the buffer, which must be empty.
  void write(std::span<const std::byte> bytes);

 private:
  [[noreturn]] void fail(int error) const;

  std::string path_;
  int descriptor_;
  std::vector<std::byte> buffer_;
};

}  // namespace tiervec
