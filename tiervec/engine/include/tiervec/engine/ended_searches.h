#pragma once

// Tells an event loop of searches that have ended: a descriptor that is readable while there are some.
//
//   worker:  search_ended(ticket) -> list; the first one makes the descriptor readable
//   loop:    readable -> take() -> all tickets at once
//
// So many searches that end while the loop is busy wake it once. Workers need nothing of the loop's language.

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include <tiervec/engine/request_queue.h>

namespace tiervec::engine {

class EndedSearches final : public SearchListener {
 public:
  /// Throws Error when the system gives no descriptor.
  EndedSearches();
  ~EndedSearches() override;

  /// To be watched for reading.
  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  /// Room for one more ticket: before a search begins.
  void expect();
  /// The search did not begin.
  void unexpect() noexcept;
  void search_ended(std::uint64_t ticket) noexcept override;
  /// Tickets of those that ended since the last take.
  [[nodiscard]] std::vector<std::uint64_t> take();

 private:
  int descriptor_;
  std::mutex mutex_;
  std::size_t expected_ = 0;  // tickets that are listed or will be
  std::vector<std::uint64_t> tickets_;
};

}  // namespace tiervec::engine
