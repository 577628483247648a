#pragma once

#include <cstdint>

namespace tiervec::rdma {

/// Bytes this process can still use without swapping: the kernel's estimate, and the limit of its control group.
/// The largest value there is when neither is known.
std::uint64_t available_memory_bytes();

}  // namespace tiervec::rdma
