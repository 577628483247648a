#include <tiervec/engine/cancel_token.h>

#include <memory>

namespace tiervec::engine {

void CancelToken::cancel() noexcept {
  if (cancelled_.exchange(true)) return;
  cancels_.fetch_add(1, std::memory_order_release);
  Watchers* const all = watchers_.load();
  if (all == nullptr || !all->origin.here()) return;
  const std::lock_guard lock(all->mutex);
  for (Watcher* at = all->first; at != nullptr; at = at->next_) at->cancelled();
}

// The flag is set before the list is read, and read after the list was changed: one of the two threads tells it.
void CancelToken::watch(Watcher& watcher) const {
  Watchers& all = watchers();
  const std::lock_guard lock(all.mutex);
  watcher.next_ = all.first;
  watcher.previous_ = nullptr;
  if (all.first != nullptr) all.first->previous_ = &watcher;
  all.first = &watcher;
  if (cancelled_.load()) watcher.cancelled();
}

void CancelToken::unwatch(Watcher& watcher) const noexcept {
  Watchers* const all = watchers_.load();
  if (all == nullptr || !all->origin.here()) return;  // its list is the parent's
  const std::lock_guard lock(all->mutex);
  if (watcher.previous_ == nullptr && all->first != &watcher) return;
  (watcher.previous_ == nullptr ? all->first : watcher.previous_->next_) = watcher.next_;
  if (watcher.next_ != nullptr) watcher.next_->previous_ = watcher.previous_;
  watcher.previous_ = watcher.next_ = nullptr;
}

CancelToken::Watchers& CancelToken::watchers() const {
  Watchers* current = watchers_.load();
  while (current == nullptr || !current->origin.here()) {
    auto fresh = std::make_unique<Watchers>();
    // What a child inherited stays: a thread of the parent may have been changing it.
    if (watchers_.compare_exchange_strong(current, fresh.get())) return *fresh.release();
  }
  return *current;
}

}  // namespace tiervec::engine
