#pragma once

// What a fork does to a process with threads, and what this code promises about it.
//
// A forked child has a copy of the memory, the same descriptors, and one thread: the one that forked. Threads, io_uring
// rings, sockets and queue pairs stay the parent's. So everything that holds one of them has an Origin:
//
// - in a child it makes its own when it is first needed (PerProcess), or refuses with one sentence;
// - in a child its destructor closes descriptors and gives memory back, and does nothing that the parent, the kernel or
//   another machine would take for the parent's doing: no join, no shutdown, no goodbye.

#include <atomic>
#include <cstdint>
#include <memory>

namespace tiervec {

/// How many forks lie between the process that loaded this library and this one. Costs a load; a child differs from all
/// its ancestors.
std::uint64_t process_generation() noexcept;

/// The process in which something was made.
class Origin {
 public:
  Origin() noexcept : generation_(process_generation()) {}
  /// False in a process that was forked since.
  [[nodiscard]] bool here() const noexcept { return generation_ == process_generation(); }

 private:
  std::uint64_t generation_;
};

/// A T of each process: a forked child gets a new one at its first `get`. What it inherited is destroyed then, without
/// the threads that may have been changing it, so T's destructor must cope with that. Thread-safe.
template <class T>
class PerProcess {
 public:
  PerProcess() : copy_(new Copy) {}
  ~PerProcess() { delete copy_.load(std::memory_order_acquire); }
  PerProcess(const PerProcess&) = delete;
  PerProcess& operator=(const PerProcess&) = delete;

  [[nodiscard]] T& get() {
    Copy* const copy = copy_.load(std::memory_order_acquire);
    if (copy->origin.here()) [[likely]] {
      return *copy->value;
    }
    return renew(copy);
  }

 private:
  struct Copy {
    Origin origin;
    std::unique_ptr<T> value = std::make_unique<T>();
  };

  T& renew(Copy* inherited) {
    auto* const fresh = new Copy;
    Copy* current = inherited;
    if (!copy_.compare_exchange_strong(current, fresh, std::memory_order_acq_rel)) {
      delete fresh;  // another thread of this process came first
      return *current->value;
    }
    inherited->value.reset();  // the copy itself stays: another thread may be looking at its origin
    return *fresh->value;
  }

  std::atomic<Copy*> copy_;
};

}  // namespace tiervec
