// Stands in for src/verbs where the headers of libibverbs and librdmacm were not found at build time (CMakeLists.txt).

#include <tiervec/rdma/rdma_tier.h>
#include <tiervec/rdma/verbs_server.h>

namespace tiervec::rdma {

namespace {

constexpr const char* kReason =
    "this build of TierVec has no RDMA, because the machine that made it lacked libibverbs and librdmacm; the wheels "
    "have it";

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorCode::kUnsupported, what + ": " + kReason);
}

}  // namespace

std::shared_ptr<Tier> open_rdma_tier(const std::string& url, const Attachment& /*attachment*/,
                                     RdmaOptions /*options*/) {
  refuse("tier " + url);
}

VerbsStatus verbs_status() {
  VerbsStatus status;
  status.reason = kReason;
  return status;
}

class VerbsServer::State {};

VerbsServer::VerbsServer(const std::string& host, std::uint16_t /*port*/, const std::string& /*device*/,
                         std::uint32_t /*max_connections*/) {
  refuse("RDMA data plane on " + host);
}
VerbsServer::~VerbsServer() = default;
std::uint16_t VerbsServer::port() const noexcept {
  return 0;
}
std::string VerbsServer::device() const {
  return "";
}
VerbsServer::Stats VerbsServer::stats() const {
  return {};
}
VerbsServer::RemoteKey VerbsServer::serve(std::uint64_t /*region_id*/, const AttachToken& /*token*/,
                                          const std::byte* /*memory*/, std::uint64_t /*size_bytes*/) {
  return {};
}
void VerbsServer::withdraw(std::uint64_t /*region_id*/) {}
void VerbsServer::stop() {}

}  // namespace tiervec::rdma
