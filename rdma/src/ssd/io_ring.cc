#include "io_ring.h"

#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

namespace tiervec::rdma::ssd {

namespace {

std::uint32_t acquire(std::uint32_t* word) noexcept {
  return std::atomic_ref(*word).load(std::memory_order_acquire);
}
void release(std::uint32_t* word, std::uint32_t value) noexcept {
  std::atomic_ref(*word).store(value, std::memory_order_release);
}

long enter(int ring, unsigned submissions, unsigned wanted, unsigned flags,
           const abi::WaitArgument* argument) noexcept {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-vararg)
  return ::syscall(abi::kSysEnter, ring, submissions, wanted, flags, argument,
                   argument == nullptr ? 0 : sizeof *argument);
}

int register_with(int ring, unsigned what, const void* argument) noexcept {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-vararg)
  return ::syscall(abi::kSysRegister, ring, what, argument, 1) < 0 ? errno : 0;
}

}  // namespace

int IoRing::open(std::uint32_t entries) noexcept {
  // Completions are taken in when the owner looks for them, instead of interrupting it. Older kernels do not know.
  int error = setup(entries, abi::kSetupCooperative | abi::kSetupTaskRunFlag);
  if (error == EINVAL) error = setup(entries, 0);
  if (error == 0) error = map_rings();
  if (error != 0) close();
  return error;
}

int IoRing::setup(std::uint32_t entries, std::uint32_t flags) noexcept {
  parameters_ = {};
  parameters_.flags = flags;
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-vararg)
  descriptor_ = static_cast<int>(::syscall(abi::kSysSetup, entries, &parameters_));
  return descriptor_ < 0 ? errno : 0;
}

int IoRing::map(Map& map, std::size_t bytes, std::uint64_t what) const noexcept {
  void* const data =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, descriptor_, static_cast<off_t>(what));
  if (data == MAP_FAILED) return errno;
  map = {static_cast<std::byte*>(data), bytes};
  return 0;
}

int IoRing::map_rings() noexcept {
  const abi::SubmissionOffsets& submission = parameters_.submission;
  const abi::CompletionOffsets& completion = parameters_.completion;
  std::size_t submission_bytes = submission.array + parameters_.submission_entries * sizeof(std::uint32_t);
  const std::size_t completion_bytes =
      completion.completions + parameters_.completion_entries * sizeof(abi::Completion);
  const bool is_single = (parameters_.features & abi::kFeatureSingleMap) != 0;
  if (is_single) submission_bytes = std::max(submission_bytes, completion_bytes);
  if (const int error = map(submission_map_, submission_bytes, abi::kMapSubmissions)) return error;
  if (!is_single) {
    if (const int error = map(completion_map_, completion_bytes, abi::kMapCompletions)) return error;
  }
  const std::size_t entry_bytes = parameters_.submission_entries * sizeof(abi::SubmissionEntry);
  if (const int error = map(entry_map_, entry_bytes, abi::kMapEntries)) return error;

  std::byte* const in = submission_map_.data;
  std::byte* const out = is_single ? in : completion_map_.data;
  const auto word = [](std::byte* ring, std::uint32_t offset) {
    return reinterpret_cast<std::uint32_t*>(ring + offset);
  };
  submission_head_ = word(in, submission.head);
  submission_tail_ = word(in, submission.tail);
  submission_flags_ = word(in, submission.flags);
  completion_head_ = word(out, completion.head);
  completion_tail_ = word(out, completion.tail);
  submission_mask_ = *word(in, submission.ring_mask);
  completion_mask_ = *word(out, completion.ring_mask);
  entries_ = reinterpret_cast<abi::SubmissionEntry*>(entry_map_.data);
  completions_ = reinterpret_cast<const abi::Completion*>(out + completion.completions);
  // The ring holds numbers of entries; here each place always names the entry of the same number.
  std::uint32_t* const numbers = word(in, submission.array);
  for (std::uint32_t i = 0; i < parameters_.submission_entries; ++i) numbers[i] = i;
  return 0;
}

void IoRing::close() noexcept {
  for (Map* map : {&submission_map_, &completion_map_, &entry_map_}) {
    if (map->data != nullptr) ::munmap(map->data, map->bytes);
    *map = {};
  }
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
}

int IoRing::register_file(int descriptor) noexcept {
  return register_with(descriptor_, abi::kRegisterFiles, &descriptor);
}

int IoRing::register_buffer(std::span<std::byte> buffer) noexcept {
  const iovec memory{buffer.data(), buffer.size()};
  return register_with(descriptor_, abi::kRegisterBuffers, &memory);
}

std::uint32_t IoRing::unsubmitted() const noexcept {
  return next_ - acquire(submission_head_);
}

abi::SubmissionEntry* IoRing::next_entry() noexcept {
  if (unsubmitted() > submission_mask_) return nullptr;
  abi::SubmissionEntry& entry = entries_[next_++ & submission_mask_];
  entry = {};
  return &entry;
}

void IoRing::submit() noexcept {
  release(submission_tail_, next_);
  (void)enter(descriptor_, unsubmitted(), 0, 0, nullptr);
}

std::uint32_t IoRing::completed() const noexcept {
  return acquire(completion_tail_) - *completion_head_;  // only the owner moves the head
}

bool IoRing::wait(std::chrono::nanoseconds at_most) noexcept {
  // Before Linux 5.11 a wait could be ended only by an entry of its own, whose completion would be taken for a read.
  if ((parameters_.features & abi::kFeatureWaitTime) == 0) return false;
  if (completed() > 0) return true;
  const abi::TimeSpec time{at_most.count() / 1'000'000'000, at_most.count() % 1'000'000'000};
  const abi::WaitArgument argument{
      .signal_mask = 0, .signal_mask_bytes = 0, .padding = 0, .time = reinterpret_cast<std::uintptr_t>(&time)};
  (void)enter(descriptor_, 0, 1, abi::kEnterGetEvents | abi::kEnterWaitTime, &argument);
  return true;
}

std::size_t IoRing::take(std::span<abi::Completion> completions) noexcept {
  std::uint32_t ready = completed();
  if (ready == 0) {
    // What has completed may wait for its owner to enter the kernel, or for room in the ring.
    if ((acquire(submission_flags_) & (abi::kSubmissionTaskRun | abi::kSubmissionOverflow)) == 0) return 0;
    (void)enter(descriptor_, 0, 0, abi::kEnterGetEvents, nullptr);
    ready = completed();
  }
  const auto count = static_cast<std::uint32_t>(std::min<std::size_t>(ready, completions.size()));
  const std::uint32_t head = *completion_head_;
  for (std::uint32_t i = 0; i < count; ++i) completions[i] = completions_[(head + i) & completion_mask_];
  release(completion_head_, head + count);
  return count;
}

}  // namespace tiervec::rdma::ssd
