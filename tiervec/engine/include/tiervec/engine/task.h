#pragma once

// Task<T>: a lazy coroutine with one owner.
//
//   Task<int> length(ReadBatch& batch) { ...; co_return n; }      // nothing runs yet
//   int n = co_await length(batch);                               // runs now; the frame is gone after the expression
//
// Guarantees:
// - Nothing runs before co_await (or before a Worker takes the task); a task that is dropped before never runs.
// - Move-only; the Task owns the frame and destroys it. Destroying a suspended task destroys what its frame holds, so
//   a frame that owns a batch in flight must not be dropped: Worker::run never does.
// - Starting a task and returning to its caller are symmetric transfers: a loop of any length does not grow the stack
//   in an optimised build.
// - Frames come from FramePool: no malloc in a steady state.
// - An exception leaves through co_await. The read path itself reports errors as values.
//
// Rules: no coroutine lambdas with captures; no reference parameters except to what the caller's frame holds; no
// co_await inside ?: (g++ 12 runs both arms).

#include <coroutine>
#include <cstddef>
#include <exception>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include <tiervec/engine/frame_pool.h>

namespace tiervec::engine {

template <class T = void>
class Task;

namespace detail {

class TaskPromise {
 public:
  static void* operator new(std::size_t bytes) { return FramePool::allocate(bytes); }
  static void operator delete(void* frame, std::size_t bytes) noexcept { FramePool::release(frame, bytes); }

  struct ToCaller {
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    [[nodiscard]] std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) const noexcept {
      return self.promise().caller_;
    }
    void await_resume() const noexcept {}
  };

  [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
  [[nodiscard]] ToCaller final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { exception_ = std::current_exception(); }

  void set_caller(std::coroutine_handle<> caller) noexcept { caller_ = caller; }
  void rethrow_if_failed() const {
    if (exception_) [[unlikely]] {
      std::rethrow_exception(exception_);
    }
  }

 private:
  std::coroutine_handle<> caller_ = std::noop_coroutine();  // a task started by a Worker returns to its loop
  std::exception_ptr exception_;
};

template <class T>
class ValuePromise : public TaskPromise {
 public:
  [[nodiscard]] Task<T> get_return_object() noexcept;
  template <class U>
  void return_value(U&& value) {
    value_.emplace(std::forward<U>(value));
  }
  [[nodiscard]] T take() {
    rethrow_if_failed();
    return std::move(*value_);
  }

 private:
  std::optional<T> value_;
};

class VoidPromise : public TaskPromise {
 public:
  [[nodiscard]] Task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void take() const { rethrow_if_failed(); }
};

}  // namespace detail

template <class T>
class [[nodiscard]] Task {
 public:
  using promise_type = std::conditional_t<std::is_void_v<T>, detail::VoidPromise, detail::ValuePromise<T>>;
  using Handle = std::coroutine_handle<promise_type>;

  Task() = default;  // no coroutine: false
  explicit Task(Handle handle) noexcept : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      reset();
      handle_ = std::exchange(other.handle_, {});
    }
    return *this;
  }
  ~Task() { reset(); }

  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(handle_); }
  /// The coroutine, for a scheduler that starts it itself; the Task stays its owner.
  [[nodiscard]] Handle handle() const noexcept { return handle_; }
  void reset() noexcept {
    if (handle_) {
      std::exchange(handle_, {}).destroy();
    }
  }

  auto operator co_await() && noexcept {
    struct Awaiter {
      Handle callee;
      [[nodiscard]] bool await_ready() const noexcept { return false; }
      [[nodiscard]] std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) const noexcept {
        callee.promise().set_caller(caller);
        return callee;
      }
      T await_resume() const { return callee.promise().take(); }
    };
    return Awaiter{handle_};
  }

 private:
  Handle handle_;
};

namespace detail {

template <class T>
Task<T> ValuePromise<T>::get_return_object() noexcept {
  return Task<T>(std::coroutine_handle<ValuePromise>::from_promise(*this));
}

inline Task<void> VoidPromise::get_return_object() noexcept {
  return Task<void>(std::coroutine_handle<VoidPromise>::from_promise(*this));
}

}  // namespace detail

}  // namespace tiervec::engine
