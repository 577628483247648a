#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <chrono>
#include <string>
#include <system_error>

#include <tiervec/core/status.h>
#include <tiervec/core/system_error.h>
#include <tiervec/rdma/ssd_tier.h>

#include "io_ring.h"
#include "sector_reader.h"

namespace tiervec::rdma {

namespace ssd {
namespace {

constexpr std::size_t kLandedAtOnce = 64;
constexpr std::chrono::milliseconds kLongestWait{1};

std::string errno_text(int error) {
  return std::generic_category().message(error);
}

/// Why a ring was refused; says what a user can do about it.
std::string refusal(int error) {
  switch (error) {
    case ENOSYS:
      return "this kernel has no io_uring";
    case EPERM:
    case EACCES:
      return "this process may not use io_uring (a sandbox, or the sysctl kernel.io_uring_disabled)";
    default:
      return "io_uring was refused: " + errno_text(error);
  }
}

class UringReader final : public SectorReader {
 public:
  explicit UringReader(const ReaderSetup& setup) {
    if (const int error = ring_.open(setup.depth); error != 0) {
      if (code_of_errno(error) == ErrorCode::kResourceExhausted) {
        throw Error(ErrorCode::kResourceExhausted, "a queue of ssd: needs an io_uring: " + errno_text(error));
      }
      throw Error(ErrorCode::kUnsupported, refusal(error));
    }
    if (const int error = ring_.register_file(setup.descriptor); error != 0) {
      throw Error(ErrorCode::kUnsupported, "io_uring does not register files: " + errno_text(error));
    }
    // Where they are refused (limit of locked memory) the kernel finds the pages of every read anew: the tier says so.
    registration_error_ = ring_.register_buffer(setup.buffers);
  }

  void add(const SectorRead& read) noexcept override {
    abi::SubmissionEntry* entry = ring_.next_entry();
    assert(entry != nullptr);
    entry->opcode = registration_error_ == 0 ? abi::kOpReadFixed : abi::kOpRead;
    entry->flags = abi::kFixedFile;  // the file and the buffer have the number 0
    entry->offset = read.offset;
    entry->address = reinterpret_cast<std::uintptr_t>(read.to);
    entry->bytes = read.bytes;
    entry->user_data = read.slot;
  }

  // What the kernel does not take now, it is offered again by poll.
  void send() noexcept override {
    if (ring_.unsubmitted() > 0) ring_.submit();
  }

  // A thread that looked again and again would take the processor from the kernel's side of the reads, and on a virtual
  // machine from its host. When the kernel has not taken all, poll offers them again.
  bool wait() noexcept override { return ring_.unsubmitted() == 0 && ring_.wait(kLongestWait); }

  std::size_t poll(std::span<Landed> landed) noexcept override {
    send();
    std::array<abi::Completion, kLandedAtOnce> completions;
    const std::size_t got = ring_.take(std::span(completions).first(std::min(landed.size(), completions.size())));
    for (std::size_t i = 0; i < got; ++i) {
      landed[i] = {static_cast<std::uint32_t>(completions[i].user_data), completions[i].result};
    }
    return got;
  }

  [[nodiscard]] int registration_error() const noexcept override { return registration_error_; }

 private:
  IoRing ring_;
  int registration_error_ = 0;
};

}  // namespace

std::unique_ptr<SectorReader> make_uring_reader(const ReaderSetup& setup) {
  return std::make_unique<UringReader>(setup);
}

}  // namespace ssd

IoUringStatus io_uring_status() {
  ssd::IoRing ring;
  const int error = ring.open(1);
  if (error == EMFILE || error == ENFILE || error == ENOMEM) {
    return {true, ""};  // refused for now; a queue will say so
  }
  return error == 0 ? IoUringStatus{true, ""} : IoUringStatus{false, ssd::refusal(error)};
}

}  // namespace tiervec::rdma
