#pragma once

// Memory of coroutine frames: one free list per size class and thread, so that a worker in a steady state never calls
// malloc per query.
//
// Guarantees:
// - A freed frame goes to the list of the thread that frees it; a frame may be freed on another thread than its own.
// - Bounded: a class keeps at most kKeptPerClass blocks; frames above kMaxPooledBytes go straight to the heap.
// - A thread that ends gives its blocks back; a frame freed later than that goes straight to the heap.
// - Under AddressSanitizer a block in a list is poisoned, so a use after free is still caught.

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace tiervec::engine {

class FramePool {
 public:
  static constexpr std::size_t kClassBytes = 128;
  static constexpr std::size_t kMaxPooledBytes = 16 * 1024;
  static constexpr std::uint32_t kKeptPerClass = 1024;
  static constexpr std::align_val_t kAlignment{64};  // frames start on a cache line

  [[nodiscard]] static void* allocate(std::size_t bytes) {
    if (bytes <= kMaxPooledBytes) [[likely]] {
      List& list = lists()[class_of(bytes)];
      if (Block* block = list.head) [[likely]] {
        unpoison(block, block_bytes(bytes));
        list.head = block->next;
        --list.kept;
        return block;
      }
      give_back_at_thread_end();
      bytes = block_bytes(bytes);
    }
    return ::operator new(bytes, kAlignment);
  }

  static void release(void* frame, std::size_t bytes) noexcept {
    if (bytes <= kMaxPooledBytes) [[likely]] {
      List& list = lists()[class_of(bytes)];
      if (list.kept < list.limit) [[likely]] {
        auto* block = ::new (frame) Block{list.head};
        poison(block, block_bytes(bytes));
        list.head = block;
        ++list.kept;
        return;
      }
    }
    ::operator delete(frame, kAlignment);
  }

 private:
  static constexpr std::size_t kClasses = kMaxPooledBytes / kClassBytes;

  struct Block {
    Block* next;
  };
  struct List {
    Block* head = nullptr;
    std::uint32_t kept = 0;
    std::uint32_t limit = kKeptPerClass;  // 0 once the thread ends
  };
  using Lists = std::array<List, kClasses>;

  struct GiveBack {
    ~GiveBack() {
      for (List& list : lists()) {
        list.limit = 0;
        while (Block* block = list.head) {
          unpoison(block, sizeof(Block));
          list.head = block->next;
          ::operator delete(block, kAlignment);
        }
        list.kept = 0;
      }
    }
  };

  static std::size_t class_of(std::size_t bytes) noexcept { return (bytes - 1) / kClassBytes; }
  static std::size_t block_bytes(std::size_t bytes) noexcept { return (class_of(bytes) + 1) * kClassBytes; }

  // Trivially destructible and constant-initialised: reading it needs no guard. The destructor lives in GiveBack,
  // which only the slow path touches.
  static Lists& lists() noexcept {
    static constinit thread_local Lists lists{};
    return lists;
  }

  static void give_back_at_thread_end() noexcept {
    static thread_local GiveBack give_back;
    (void)&give_back;
  }

#if defined(__SANITIZE_ADDRESS__)
  static void poison(void* block, std::size_t bytes) noexcept { ASAN_POISON_MEMORY_REGION(block, bytes); }
  static void unpoison(void* block, std::size_t bytes) noexcept { ASAN_UNPOISON_MEMORY_REGION(block, bytes); }
#else
  static void poison(void*, std::size_t) noexcept {}
  static void unpoison(void*, std::size_t) noexcept {}
#endif
};

}  // namespace tiervec::engine
