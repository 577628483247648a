#include <liburing.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <string>
#include <system_error>

#include <tiervec/core/status.h>
#include <tiervec/core/system_error.h>
#include <tiervec/rdma/ssd_tier.h>

#include "sector_reader.h"

namespace tiervec::rdma {

namespace ssd {
namespace {

constexpr std::size_t kLandedAtOnce = 64;

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

class Ring {
 public:
  /// Minus an errno, or 0.
  int open(std::uint32_t entries) noexcept {
    // Completions are taken in when the owner looks for them, instead of interrupting it. Older kernels do not know.
    int error = init(entries, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
    if (error == -EINVAL) {
      error = init(entries, 0);
    }
    is_open_ = error == 0;
    return error;
  }
  Ring() = default;
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  // Reads that are with the device go on; the kernel holds the pages they go to until they have landed.
  ~Ring() {
    if (is_open_) {
      ::io_uring_queue_exit(&ring_);
    }
  }

  [[nodiscard]] io_uring* get() noexcept { return &ring_; }

 private:
  int init(std::uint32_t entries, unsigned flags) noexcept {
    io_uring_params parameters{};
    parameters.flags = flags;
    return ::io_uring_queue_init_params(entries, &ring_, &parameters);
  }

  io_uring ring_{};
  bool is_open_ = false;
};

class UringReader final : public SectorReader {
 public:
  explicit UringReader(const ReaderSetup& setup) {
    if (const int error = -ring_.open(setup.depth); error != 0) {
      if (code_of_errno(error) == ErrorCode::kResourceExhausted) {
        throw system_error("a queue of ssd: needs an io_uring", error);
      }
      throw Error(ErrorCode::kUnsupported, refusal(error));
    }
    if (const int error = -::io_uring_register_files(ring_.get(), &setup.descriptor, 1); error != 0) {
      throw Error(ErrorCode::kUnsupported, "io_uring does not register files: " + errno_text(error));
    }
    // Where they are refused (limit of locked memory) the kernel finds the pages of every read anew: the tier says so.
    const iovec buffers{setup.buffers.data(), setup.buffers.size()};
    registration_error_ = -::io_uring_register_buffers(ring_.get(), &buffers, 1);
  }

  void add(const SectorRead& read) noexcept override {
    io_uring_sqe* entry = ::io_uring_get_sqe(ring_.get());
    assert(entry != nullptr);
    if (registration_error_ == 0) {
      ::io_uring_prep_read_fixed(entry, 0, read.to, read.bytes, read.offset, 0);
    } else {
      ::io_uring_prep_read(entry, 0, read.to, read.bytes, read.offset);
    }
    entry->flags |= IOSQE_FIXED_FILE;
    entry->user_data = read.slot;
  }

  // What the kernel does not take now, it is offered again by poll.
  void send() noexcept override {
    if (::io_uring_sq_ready(ring_.get()) > 0) {
      (void)::io_uring_submit(ring_.get());
    }
  }

  // A thread that looked again and again would take the processor from the kernel's side of the reads, and on a virtual
  // machine from its host.
  bool wait() noexcept override {
    if (::io_uring_sq_ready(ring_.get()) > 0) {
      return false;  // the kernel has not taken all: poll offers them again
    }
    if ((ring_.get()->features & IORING_FEAT_EXT_ARG) == 0) {
      return false;  // before Linux 5.11 liburing would add a time-out to the reads, which poll would take for one
    }
    __kernel_timespec at_most{.tv_sec = 0, .tv_nsec = 1'000'000};
    io_uring_cqe* first = nullptr;
    (void)::io_uring_wait_cqe_timeout(ring_.get(), &first, &at_most);
    return true;
  }

  std::size_t poll(std::span<Landed> landed) noexcept override {
    send();
    std::array<io_uring_cqe*, kLandedAtOnce> entries;
    const auto wanted = static_cast<unsigned>(std::min(landed.size(), entries.size()));
    const unsigned got = ::io_uring_peek_batch_cqe(ring_.get(), entries.data(), wanted);
    for (unsigned i = 0; i < got; ++i) {
      landed[i] = {static_cast<std::uint32_t>(entries[i]->user_data), entries[i]->res};
    }
    ::io_uring_cq_advance(ring_.get(), got);
    return got;
  }

  [[nodiscard]] int registration_error() const noexcept override { return registration_error_; }

 private:
  Ring ring_;
  int registration_error_ = 0;
};

}  // namespace

std::unique_ptr<SectorReader> make_uring_reader(const ReaderSetup& setup) {
  return std::make_unique<UringReader>(setup);
}

}  // namespace ssd

IoUringStatus io_uring_status() {
  ssd::Ring ring;
  const int error = -ring.open(1);
  if (error == EMFILE || error == ENFILE || error == ENOMEM) {
    return {true, ""};  // refused for now; a queue will say so
  }
  return error == 0 ? IoUringStatus{true, ""} : IoUringStatus{false, ssd::refusal(error)};
}

}  // namespace tiervec::rdma
