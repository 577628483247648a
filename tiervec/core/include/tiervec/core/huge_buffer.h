#pragma once

#include <cstddef>
#include <utility>

namespace tiervec {

/// Zeroed anonymous memory, 2 MiB aligned and advised to use huge pages: random reads of large arrays then miss the
/// TLB far less. Move-only. Pages that were never written cost nothing.
class HugeBuffer {
 public:
  HugeBuffer() = default;
  /// Throws Error(kResourceExhausted) when the system has no such memory.
  explicit HugeBuffer(std::size_t bytes);
  HugeBuffer(HugeBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  HugeBuffer& operator=(HugeBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~HugeBuffer();

  template <class T>
  [[nodiscard]] T* as() noexcept {
    return static_cast<T*>(data_);
  }
  template <class T>
  [[nodiscard]] const T* as() const noexcept {
    return static_cast<const T*>(data_);
  }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace tiervec
