#include <tiervec/rdma/tier.h>

namespace tiervec::rdma {

std::unique_ptr<TierQueue> Tier::open_queue(QueueLimits limits) {
  if (limits.max_reads == 0 || limits.max_read_bytes == 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "a queue of tier " + url() + " needs room for at least 1 read of 1 byte, got " +
                    std::to_string(limits.max_reads) + " reads of " + std::to_string(limits.max_read_bytes) + " bytes");
  }
  return make_queue(limits);
}

}  // namespace tiervec::rdma
