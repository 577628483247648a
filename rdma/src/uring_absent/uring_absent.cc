// Stands in for src/ssd/uring_reader.cc where liburing was not found at build time (CMakeLists.txt).

#include <tiervec/core/status.h>
#include <tiervec/rdma/ssd_tier.h>

#include "../ssd/sector_reader.h"

namespace tiervec::rdma {

namespace {

constexpr const char* kReason =
    "this build of TierVec has no io_uring: liburing was absent when it was compiled; apt-get install liburing-dev and "
    "install TierVec again";

}  // namespace

std::unique_ptr<ssd::SectorReader> ssd::make_uring_reader(const ReaderSetup& /*setup*/) {
  throw Error(ErrorCode::kUnsupported, kReason);
}

IoUringStatus io_uring_status() {
  return {false, kReason};
}

}  // namespace tiervec::rdma
