#pragma once

// The tiers every test of this folder runs on. A new tier adds a line; one that needs a server starts it in `open`.

#include <cstring>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include <tiervec/rdma/memory_region.h>
#include <tiervec/rdma/region_server.h>
#include <tiervec/rdma/tcp_tier.h>
#include <tiervec/rdma/tier.h>

namespace tiervec::rdma::conformance {

struct TierCase {
  std::string name;
  std::function<std::shared_ptr<Tier>(const std::string& region_path)> open;
};

inline std::ostream& operator<<(std::ostream& out, const TierCase& tier_case) {
  return out << tier_case.name;
}

inline TierCase by_url(const std::string& name, const std::string& url) {
  return {name, [url](const std::string& region_path) { return open_tier(url, region_path); }};
}

/// Serves the bytes of the file from this process. The server outlives the tests: a tier may outlive its test's
/// fixture.
inline std::shared_ptr<Tier> open_tcp(const std::string& region_path) {
  static RegionServer server("127.0.0.1", 0);
  static std::uint64_t last_region_id = 0;
  const MemoryRegion region = MemoryRegion::load(region_path);
  auto memory = std::make_shared<NodeMemory>(region.size_bytes(), false);
  std::memcpy(memory->data(), region.data(), region.size_bytes());
  const Attachment attachment{.transport = "tcp",
                              .host = "127.0.0.1",
                              .port = server.port(),
                              .region_id = ++last_region_id,
                              .size_bytes = region.size_bytes(),
                              .token = {std::byte{42}}};
  server.serve(attachment.region_id, attachment.token, std::move(memory), 0, region.size_bytes());
  return open_tcp_tier("tcp://127.0.0.1:" + std::to_string(server.port()) + "/region", attachment);
}

inline const std::vector<TierCase>& tier_cases() {
  static const std::vector<TierCase> cases = {
      by_url("dram", "dram:"),
      by_url("mmap", "mmap:"),
      by_url("emulated_rdma", "emulated:rdma-200g"),
      by_url("emulated_cxl", "emulated:cxl-x8"),
      by_url("emulated_nvm", "emulated:nvm-optane"),
      by_url("emulated_ssd", "emulated:ssd-p5520"),
      by_url("emulated_own", "emulated:latency_us=300,reads_mps=1,gbps=1,block=512"),
      {"tcp", open_tcp},
  };
  return cases;
}

}  // namespace tiervec::rdma::conformance
