#pragma once

// An executable that links `allocation_counter` (tests/CMakeLists.txt) counts its calls of operator new.

#include <atomic>
#include <cstdint>

namespace tiervec::rdma::testing {

inline std::atomic<std::uint64_t> allocation_count{0};

}  // namespace tiervec::rdma::testing
