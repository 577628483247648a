#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

namespace tiervec::rdma {

/// Up to `capacity` objects of one thread, made when they are first needed and kept: what is never needed is memory
/// that is never touched. Taking and giving back does not allocate.
template <class T>
class LazyPool {
  static_assert(std::is_trivially_destructible_v<T>);

 public:
  explicit LazyPool(std::size_t capacity) : places_(std::make_unique_for_overwrite<Place[]>(capacity)) {
    free_.reserve(capacity);
  }

  /// The object as it was given back, or a new one. The caller stays within the capacity.
  [[nodiscard]] T& take() noexcept {
    if (free_.empty()) {
      return *new (&places_[made_++]) T;
    }
    T* const taken = free_.back();
    free_.pop_back();
    return *taken;
  }
  void give_back(T& object) noexcept { free_.push_back(&object); }

 private:
  struct Place {
    alignas(T) std::byte bytes[sizeof(T)];
  };

  std::unique_ptr<Place[]> places_;
  std::size_t made_ = 0;
  std::vector<T*> free_;
};

}  // namespace tiervec::rdma
