// Our declarations of io_uring against the kernel's, where its headers are installed. The compiler does the comparing.

#include "../../../rdma/src/ssd/io_uring_abi.h"

#include <gtest/gtest.h>

#if __has_include(<linux/io_uring.h>)
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/uio.h>

namespace tiervec::rdma::ssd::abi {

#define SAME(ours, our_field, theirs, their_field)                           \
  static_assert(offsetof(ours, our_field) == offsetof(theirs, their_field)); \
  static_assert(sizeof(ours::our_field) == sizeof(theirs::their_field))

static_assert(sizeof(SubmissionEntry) == sizeof(io_uring_sqe));
SAME(SubmissionEntry, opcode, io_uring_sqe, opcode);
SAME(SubmissionEntry, flags, io_uring_sqe, flags);
SAME(SubmissionEntry, priority, io_uring_sqe, ioprio);
SAME(SubmissionEntry, file, io_uring_sqe, fd);
SAME(SubmissionEntry, offset, io_uring_sqe, off);
SAME(SubmissionEntry, address, io_uring_sqe, addr);
SAME(SubmissionEntry, bytes, io_uring_sqe, len);
SAME(SubmissionEntry, read_flags, io_uring_sqe, rw_flags);
SAME(SubmissionEntry, user_data, io_uring_sqe, user_data);
SAME(SubmissionEntry, buffer, io_uring_sqe, buf_index);
SAME(SubmissionEntry, personality, io_uring_sqe, personality);

static_assert(sizeof(Completion) == sizeof(io_uring_cqe));
SAME(Completion, user_data, io_uring_cqe, user_data);
SAME(Completion, result, io_uring_cqe, res);
SAME(Completion, flags, io_uring_cqe, flags);

static_assert(sizeof(SubmissionOffsets) == sizeof(io_sqring_offsets));
SAME(SubmissionOffsets, head, io_sqring_offsets, head);
SAME(SubmissionOffsets, tail, io_sqring_offsets, tail);
SAME(SubmissionOffsets, ring_mask, io_sqring_offsets, ring_mask);
SAME(SubmissionOffsets, ring_entries, io_sqring_offsets, ring_entries);
SAME(SubmissionOffsets, flags, io_sqring_offsets, flags);
SAME(SubmissionOffsets, array, io_sqring_offsets, array);

static_assert(sizeof(CompletionOffsets) == sizeof(io_cqring_offsets));
SAME(CompletionOffsets, head, io_cqring_offsets, head);
SAME(CompletionOffsets, tail, io_cqring_offsets, tail);
SAME(CompletionOffsets, ring_mask, io_cqring_offsets, ring_mask);
SAME(CompletionOffsets, completions, io_cqring_offsets, cqes);

static_assert(sizeof(Parameters) == sizeof(io_uring_params));
SAME(Parameters, submission_entries, io_uring_params, sq_entries);
SAME(Parameters, completion_entries, io_uring_params, cq_entries);
SAME(Parameters, flags, io_uring_params, flags);
SAME(Parameters, features, io_uring_params, features);
SAME(Parameters, submission, io_uring_params, sq_off);
SAME(Parameters, completion, io_uring_params, cq_off);

static_assert(kOpReadFixed == IORING_OP_READ_FIXED);
static_assert(kOpRead == IORING_OP_READ);
static_assert(kFixedFile == IOSQE_FIXED_FILE);
static_assert(kFeatureSingleMap == IORING_FEAT_SINGLE_MMAP);
static_assert(kSubmissionOverflow == IORING_SQ_CQ_OVERFLOW);
static_assert(kMapSubmissions == IORING_OFF_SQ_RING);
static_assert(kMapCompletions == IORING_OFF_CQ_RING);
static_assert(kMapEntries == IORING_OFF_SQES);
static_assert(kEnterGetEvents == IORING_ENTER_GETEVENTS);
static_assert(kRegisterBuffers == IORING_REGISTER_BUFFERS);
static_assert(kRegisterFiles == IORING_REGISTER_FILES);
#ifdef SYS_io_uring_setup
static_assert(kSysSetup == SYS_io_uring_setup);
static_assert(kSysEnter == SYS_io_uring_enter);
static_assert(kSysRegister == SYS_io_uring_register);
#endif
#ifdef IORING_ENTER_EXT_ARG  // Linux 5.11
static_assert(kEnterWaitTime == IORING_ENTER_EXT_ARG);
static_assert(kFeatureWaitTime == IORING_FEAT_EXT_ARG);
static_assert(sizeof(WaitArgument) == sizeof(io_uring_getevents_arg));
SAME(WaitArgument, signal_mask, io_uring_getevents_arg, sigmask);
SAME(WaitArgument, signal_mask_bytes, io_uring_getevents_arg, sigmask_sz);
SAME(WaitArgument, time, io_uring_getevents_arg, ts);
#endif
#ifdef IORING_SETUP_COOP_TASKRUN  // Linux 5.19
static_assert(kSetupCooperative == IORING_SETUP_COOP_TASKRUN);
static_assert(kSetupTaskRunFlag == IORING_SETUP_TASKRUN_FLAG);
static_assert(kSubmissionTaskRun == IORING_SQ_TASKRUN);
#endif
static_assert(sizeof(TimeSpec) == sizeof(__kernel_timespec));

#undef SAME

}  // namespace tiervec::rdma::ssd::abi
#endif

namespace tiervec::rdma::ssd {
namespace {

TEST(IoUringAbi, IsTheKernels) {
#if __has_include(<linux/io_uring.h>)
  SUCCEED() << "compiled";
#else
  GTEST_SKIP() << "linux/io_uring.h is not installed";
#endif
}

}  // namespace
}  // namespace tiervec::rdma::ssd
