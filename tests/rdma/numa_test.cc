#include <tiervec/rdma/numa_tier.h>

#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/rdma/numa_nodes.h>

#include "../../rdma/src/numa/numa_memory.h"
#include "rdma/temporary_folder.h"

namespace tiervec::rdma {
namespace {

using testing::TemporaryFolder;

Error refusal_of(const std::string& url, const std::string& region) {
  try {
    (void)open_tier(url, region);
  } catch (const Error& error) {
    return error;
  }
  return {ErrorCode::kOk, "accepted"};
}

void write_node(const TemporaryFolder& sysfs, unsigned id, const std::string& cpus, const std::string& distances,
                const std::string& free_kib) {
  const std::string node = "node" + std::to_string(id);
  sysfs.write(node + "/cpulist", cpus + "\n");
  sysfs.write(node + "/distance", distances + "\n");
  sysfs.write(node + "/meminfo", "Node " + std::to_string(id) + " MemTotal:       2048 kB\nNode " + std::to_string(id) +
                                     " MemFree:        " + free_kib + " kB\nNode " + std::to_string(id) +
                                     " Active(file):     16 kB\nNode " + std::to_string(id) +
                                     " Inactive(file):    8 kB\nNode " + std::to_string(id) +
                                     " HugePages_Total:     0\nNode " + std::to_string(id) + " Dirty:   77 kB\n");
}

TEST(NumaNodes, ReadsWhatTheKernelTells) {
  const TemporaryFolder sysfs;
  sysfs.write("online", "0-1,7\n");
  write_node(sysfs, 0, "0-3", "10 21 31", "100");
  write_node(sysfs, 1, "4-7", "21 10 17", "200");
  write_node(sysfs, 7, "", "31 17 10", "1000");
  const std::vector<NumaNode> nodes = numa_nodes(sysfs.path(""));
  ASSERT_EQ(nodes.size(), 3U);
  EXPECT_EQ(nodes[1].id, 1U);
  EXPECT_EQ(nodes[1].cpus, "4-7");
  EXPECT_EQ(nodes[2].id, 7U);
  EXPECT_EQ(nodes[2].cpus, "");
  EXPECT_EQ(nodes[2].total_bytes, 2048U * 1024);
  EXPECT_EQ(nodes[2].available_bytes, 1024U * 1024);
  EXPECT_EQ(nodes[2].distances, (std::vector<unsigned>{31, 17, 10}));
  EXPECT_EQ(nearest_cpus(nodes, 0).distance, 10U);
  EXPECT_EQ(nearest_cpus(nodes, 7).node, 1U);
  EXPECT_EQ(nearest_cpus(nodes, 7).distance, 17U);
  EXPECT_EQ(nearest_cpus(nodes, 3).distance, 0U);
}

TEST(NumaNodes, SurvivesWhatIsNotAsItShouldBe) {
  const TemporaryFolder sysfs;
  EXPECT_TRUE(numa_nodes(sysfs.path("absent")).empty());
  for (const char* online : {"", "\n", "x", "-", "0-", "99999999999", "0-4294967295", ",", "4096"}) {
    sysfs.write("online", online);
    EXPECT_LE(numa_nodes(sysfs.path("")).size(), 1U) << online;
  }
  sysfs.write("online", "0,1");
  write_node(sysfs, 0, "0", "10", "nonsense");
  const std::vector<NumaNode> nodes = numa_nodes(sysfs.path(""));
  ASSERT_EQ(nodes.size(), 2U);
  EXPECT_EQ(nodes[0].available_bytes, 0U);
  EXPECT_TRUE(nodes[1].distances.empty());
  EXPECT_EQ(nearest_cpus(nodes, 1).distance, 0U);
}

TEST(NumaTier, TakesTheNumberOfANode) {
  EXPECT_EQ(parse_numa_node({"numa:12", "numa", "12"}), 12U);
  for (const std::string rest : {"", "x", "-1", "1x", " 1", "99999999999", "0,1"}) {
    const Error error = refusal_of("numa:" + rest, "/no/such/file");
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_EQ(std::string(error.what()), "tier URL 'numa:" + rest + "' has '" + rest +
                                             "' after 'numa:'; it takes the number of a NUMA node, such as numa:1");
  }
}

class NumaTierTest : public ::testing::Test {
 protected:
  void SetUp() override {
    nodes_ = numa_nodes();
    if (nodes_.empty()) {
      GTEST_SKIP() << "this kernel has no NUMA support";
    }
  }

  TemporaryFolder folder_;
  std::vector<NumaNode> nodes_;
};

TEST_F(NumaTierTest, NamesTheNodesThatThereAre) {
  std::string known;
  for (const NumaNode& node : nodes_) {
    known += (known.empty() ? "" : ", ") + std::to_string(node.id);
  }
  const Error error = refusal_of("numa:4000", folder_.write("region", "x"));
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_EQ(std::string(error.what()), "tier numa:4000: there is no NUMA node 4000 on this machine; it has " + known);
}

TEST_F(NumaTierTest, RefusesMoreThanTheNodeHas) {
  const std::string path = folder_.write("huge", "x");
  std::filesystem::resize_file(path, std::uintmax_t{1} << 42U);  // sparse
  const Error error = refusal_of("numa:" + std::to_string(nodes_[0].id), path);
  EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted);
  EXPECT_NE(std::string(error.what()).find("needs 4194304 MiB of memory, but NUMA node "), std::string::npos)
      << error.what();
}

TEST_F(NumaTierTest, FindsPagesThatAreElsewhere) {
  const std::vector<std::byte> memory(1U << 20U, std::byte{1});
  std::uint64_t here = 0;
  for (const NumaNode& node : nodes_) {
    const PageCount count = count_pages_elsewhere(memory, node.id);
    if (count.looked_at == 0) {
      GTEST_SKIP() << "this process may not ask where its pages are";
    }
    EXPECT_GE(count.looked_at, 256U);
    here += count.looked_at - count.elsewhere;
  }
  EXPECT_GE(here, 256U);
  const PageCount count = count_pages_elsewhere(memory, 4000);
  EXPECT_EQ(count.elsewhere, count.looked_at);
}

TEST_F(NumaTierTest, SaysWhereItsMemoryIs) {
  const std::string region = folder_.write("region", std::string(3U << 20U, 'r'));
  for (const NumaNode& node : nodes_) {
    if (node.available_bytes < (64U << 20U)) {
      continue;
    }
    std::shared_ptr<Tier> tier;
    try {
      tier = open_tier("numa:" + std::to_string(node.id), region);
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
    EXPECT_TRUE(tier->verified_at_open());
    const std::string note = tier->profile().note;
    EXPECT_EQ(note.rfind("NUMA node " + std::to_string(node.id) + ", ", 0), 0U) << note;
    EXPECT_NE(note.find(node.cpus.empty() ? "at distance " : "with CPUs of its own"), std::string::npos) << note;
    EXPECT_EQ(note.find("on other nodes"), std::string::npos) << note;
  }
}

}  // namespace
}  // namespace tiervec::rdma
