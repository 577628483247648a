#pragma once

// The tiers every test of this folder runs on. A new tier adds a line; one that needs a server starts it in `open`.
//
// TIERVEC_TEST_NUMA_NODE, TIERVEC_TEST_DAX and TIERVEC_TEST_RDMA name a NUMA node, a DAX device and the address of an
// RDMA device of this machine to run on as well (`make guest` has all of them). What is on the DAX device is lost, and
// the tests that use it must not run at the same time: run this program itself, not ctest.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include <unistd.h>

#include <tiervec/rdma/dram_tier.h>
#include <tiervec/rdma/memory_region.h>
#include <tiervec/rdma/numa_nodes.h>
#include <tiervec/rdma/rdma_tier.h>
#include <tiervec/rdma/region_server.h>
#include <tiervec/rdma/replicated_tier.h>
#include <tiervec/rdma/ssd_tier.h>
#include <tiervec/rdma/striped_tier.h>
#include <tiervec/rdma/tcp_tier.h>
#include <tiervec/rdma/tier.h>
#include <tiervec/rdma/verbs_server.h>

namespace tiervec::rdma::conformance {

struct TierCase {
  std::string name;
  std::function<std::shared_ptr<Tier>(const std::string& region_path)> open;
  std::string skip = {};  // why this machine cannot run it; empty: it can
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
  // Time enough for a machine that is busy with other things.
  return open_tcp_tier("tcp://127.0.0.1:" + std::to_string(server.port()) + "/region", attachment,
                       {.timeout = std::chrono::seconds(10)});
}

/// On the first node with memory: 0, on most machines.
inline TierCase numa_case() {
  for (const NumaNode& node : numa_nodes()) {
    if (node.total_bytes > 0) {
      TierCase tier_case = by_url("numa", "numa:" + std::to_string(node.id));
      try {
        (void)MemoryRegion::load_on_node("/proc/self/exe", node.id);
      } catch (const Error& error) {
        tier_case.skip = error.what();
      }
      return tier_case;
    }
  }
  return {"numa", {}, "this kernel has no NUMA support"};
}

/// A file of its own for every tier: a place holds one region.
inline TierCase dax_file_case() {
  return {"dax_file", [](const std::string& region_path) {
            static std::atomic<int> opened{0};
            return open_tier("dax:" + region_path + ".dax" + std::to_string(opened++), region_path);
          }};
}

/// Where the folder of the tests has a file system that reads past the page cache; the region's own is opened later.
inline TierCase ssd_case(const std::string& name, const std::string& url) {
  TierCase tier_case = by_url(name, url);
  const std::string path =
      (std::filesystem::temp_directory_path() / ("tiervec-ssd-probe-" + std::to_string(::getpid()))).string();
  std::ofstream(path) << "x";
  try {
    check_direct_reads(path);
  } catch (const Error& error) {
    tier_case.skip = error.what();
  }
  std::filesystem::remove(path);
  return tier_case;
}

/// The bytes of a region file, checked as every tier checks it.
inline std::vector<std::byte> region_bytes(const std::string& region_path) {
  const MemoryRegion region = MemoryRegion::load(region_path);
  return {region.data(), region.data() + region.size_bytes()};
}

/// Over two stripes in memory; the second holds nothing when the region has one extent.
inline std::shared_ptr<Tier> open_striped(const std::string& region_path) {
  const std::vector<std::byte> region = region_bytes(region_path);
  std::vector<std::vector<std::byte>> stripes(2);
  for (std::size_t at = 0; at < region.size(); at += kStripeExtentBytes) {
    const std::size_t bytes = std::min<std::size_t>(region.size() - at, kStripeExtentBytes);
    std::vector<std::byte>& stripe = stripes[at / kStripeExtentBytes % 2];
    stripe.insert(stripe.end(), region.data() + at, region.data() + at + bytes);
  }
  std::vector<std::shared_ptr<Tier>> tiers;
  for (const std::vector<std::byte>& stripe : stripes) {
    tiers.push_back(stripe.empty() ? nullptr : DramTier::from_bytes(stripe));
  }
  return std::make_shared<StripedTier>("dram:", std::move(tiers));
}

/// Queues have their homes on different tiers in turn.
inline std::shared_ptr<Tier> open_replicated(const std::string& region_path) {
  std::vector<std::shared_ptr<Tier>> replicas = {open_striped(region_path), open_tcp(region_path),
                                                 open_tier("mmap:", region_path)};
  return std::make_shared<ReplicatedTier>("dram:", std::move(replicas));
}

/// The address of an RDMA device, null where there is none to test with: tests/guest sets it.
inline const char* rdma_address() {
  return std::getenv("TIERVEC_TEST_RDMA");  // NOLINT(concurrency-mt-unsafe): nobody sets it
}

/// Serves the bytes of the file from this process. Server and regions outlive the tests: so may a tier.
inline std::shared_ptr<Tier> open_rdma(const std::string& region_path) {
  static VerbsServer server(rdma_address(), 0);
  static std::vector<MemoryRegion> regions;
  const MemoryRegion& region = regions.emplace_back(MemoryRegion::load(region_path));
  const Attachment attachment{.transport = "rdma",
                              .host = rdma_address(),
                              .port = server.port(),
                              .region_id = regions.size(),
                              .size_bytes = region.size_bytes(),
                              .token = {std::byte{42}}};
  server.serve(attachment.region_id, attachment.token, region.data(), region.size_bytes());
  // Time enough for an emulated machine that makes many queues at once.
  return open_rdma_tier("rdma://" + attachment.host + ":" + std::to_string(server.port()) + "/region", attachment,
                        {.timeout = std::chrono::seconds(10)});
}

/// And those that the environment names.
inline std::vector<TierCase> with_given(std::vector<TierCase> cases) {
  if (const char* node = std::getenv("TIERVEC_TEST_NUMA_NODE")) {
    cases.push_back(by_url("numa_given", std::string("numa:") + node));
  }
  if (const char* device = std::getenv("TIERVEC_TEST_DAX")) {
    cases.push_back(by_url("dax_given", std::string("dax:") + device + "?overwrite"));
  }
  if (rdma_address() != nullptr) {
    cases.push_back({"rdma", open_rdma});
  }
  return cases;
}

inline const std::vector<TierCase>& tier_cases() {
  static const std::vector<TierCase> cases = with_given({
      by_url("dram", "dram:"),
      by_url("mmap", "mmap:"),
      by_url("emulated_rdma", "emulated:rdma-200g"),
      by_url("emulated_cxl", "emulated:cxl-x8"),
      by_url("emulated_nvm", "emulated:nvm-optane"),
      by_url("emulated_ssd", "emulated:ssd-p5520"),
      by_url("emulated_own", "emulated:latency_us=300,reads_mps=1,gbps=1,block=512"),
      {"tcp", open_tcp},
      numa_case(),
      dax_file_case(),
      ssd_case("ssd", "ssd:"),
      ssd_case("ssd_threads", "ssd:threads"),
      {"striped", open_striped},
      {"replicated", open_replicated},
  });
  return cases;
}

}  // namespace tiervec::rdma::conformance
