#pragma once

// The seam between the queue and what reads sectors: io_uring, or a pool of threads.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace tiervec::rdma::ssd {

struct SectorRead {
  std::uint64_t offset = 0;
  std::uint32_t bytes = 0;
  std::byte* to = nullptr;
  std::uint32_t slot = 0;  // names it when it lands
};

struct Landed {
  std::uint32_t slot = 0;
  std::int32_t result = 0;  // bytes read, or minus an errno
};

/// Reads of one file by one thread. No call allocates or throws. Memory that is being read to must outlive it.
class SectorReader {
 public:
  SectorReader() = default;
  SectorReader(const SectorReader&) = delete;
  SectorReader& operator=(const SectorReader&) = delete;
  virtual ~SectorReader() = default;

  /// Takes a read. No more than `depth` may be between add and poll.
  virtual void add(const SectorRead& read) noexcept = 0;
  /// Starts all that were added.
  virtual void send() noexcept = 0;
  /// May block until one has landed, for up to 1 ms. Returns whether it is a wait that blocks.
  virtual bool wait() noexcept { return false; }
  /// Those that have landed, never blocks.
  virtual std::size_t poll(std::span<Landed> landed) noexcept = 0;
  /// The errno with which the kernel refused to keep the buffers' pages; 0 when it keeps them, or was not to.
  [[nodiscard]] virtual int registration_error() const noexcept { return 0; }
};

struct ReaderSetup {
  int descriptor = -1;           // opened with O_DIRECT; stays open
  std::span<std::byte> buffers;  // where reads go to
  std::uint32_t depth = 0;
};

/// Throws Error: kUnsupported (no io_uring), kResourceExhausted (too many open files, no memory).
std::unique_ptr<SectorReader> make_uring_reader(const ReaderSetup& setup);
/// Throws Error(kResourceExhausted) when the system gives no threads.
std::unique_ptr<SectorReader> make_thread_reader(const ReaderSetup& setup);

}  // namespace tiervec::rdma::ssd
