#pragma once

// What the kernel's interface io_uring looks like, as far as it is used here: declared here, because the headers of the
// machine that compiles say nothing about the kernel that runs. tests/rdma/ssd/io_uring_abi_test.cc compares every
// size, offset and value with <linux/io_uring.h>.

#include <cstddef>
#include <cstdint>

namespace tiervec::rdma::ssd::abi {

// System calls; the same numbers on every architecture that has them and Linux 5.1.
inline constexpr long kSysSetup = 425;
inline constexpr long kSysEnter = 426;
inline constexpr long kSysRegister = 427;

struct SubmissionEntry {
  std::uint8_t opcode = 0;
  std::uint8_t flags = 0;
  std::uint16_t priority = 0;
  std::int32_t file = 0;
  std::uint64_t offset = 0;
  std::uint64_t address = 0;
  std::uint32_t bytes = 0;
  std::uint32_t read_flags = 0;
  std::uint64_t user_data = 0;
  std::uint16_t buffer = 0;
  std::uint16_t personality = 0;
  std::uint32_t unused[5] = {};
};
inline constexpr std::uint8_t kOpReadFixed = 4;
inline constexpr std::uint8_t kOpRead = 22;
inline constexpr std::uint8_t kFixedFile = 1U << 0U;

struct Completion {
  std::uint64_t user_data;
  std::int32_t result;
  std::uint32_t flags;
};

struct SubmissionOffsets {
  std::uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, reserved;
  std::uint64_t user_address;
};

struct CompletionOffsets {
  std::uint32_t head, tail, ring_mask, ring_entries, overflow, completions, flags, reserved;
  std::uint64_t user_address;
};

struct Parameters {
  std::uint32_t submission_entries;
  std::uint32_t completion_entries;
  std::uint32_t flags;
  std::uint32_t thread_cpu;
  std::uint32_t thread_idle;
  std::uint32_t features;
  std::uint32_t workers;
  std::uint32_t reserved[3];
  SubmissionOffsets submission;
  CompletionOffsets completion;
};
inline constexpr std::uint32_t kSetupCooperative = 1U << 8U;    // IORING_SETUP_COOP_TASKRUN, Linux 5.19
inline constexpr std::uint32_t kSetupTaskRunFlag = 1U << 9U;    // IORING_SETUP_TASKRUN_FLAG, Linux 5.19
inline constexpr std::uint32_t kFeatureSingleMap = 1U << 0U;    // IORING_FEAT_SINGLE_MMAP, Linux 5.4
inline constexpr std::uint32_t kFeatureWaitTime = 1U << 8U;     // IORING_FEAT_EXT_ARG, Linux 5.11
inline constexpr std::uint32_t kSubmissionOverflow = 1U << 1U;  // IORING_SQ_CQ_OVERFLOW
inline constexpr std::uint32_t kSubmissionTaskRun = 1U << 2U;   // IORING_SQ_TASKRUN

inline constexpr std::uint64_t kMapSubmissions = 0;
inline constexpr std::uint64_t kMapCompletions = 0x8000000;
inline constexpr std::uint64_t kMapEntries = 0x10000000;

inline constexpr unsigned kEnterGetEvents = 1U << 0U;
inline constexpr unsigned kEnterWaitTime = 1U << 3U;  // IORING_ENTER_EXT_ARG

struct TimeSpec {
  std::int64_t seconds;
  std::int64_t nanoseconds;
};
struct WaitArgument {  // io_uring_getevents_arg
  std::uint64_t signal_mask;
  std::uint32_t signal_mask_bytes;
  std::uint32_t padding;
  std::uint64_t time;  // address of a TimeSpec
};

inline constexpr unsigned kRegisterBuffers = 0;
inline constexpr unsigned kRegisterFiles = 2;

}  // namespace tiervec::rdma::ssd::abi
