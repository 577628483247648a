#include <tiervec/rdma/tier_registry.h>

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace tiervec::rdma {
namespace {

std::string refusal_of(const std::string& url) {
  try {
    (void)parse_tier_url(url);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "accepted";
}

TEST(TierRegistry, ListsItsSchemes) {
  std::vector<std::string> names;
  for (const TierScheme& scheme : tier_schemes()) {
    names.emplace_back(scheme.name);
    EXPECT_EQ(scheme.form.substr(0, scheme.name.size()), scheme.name);
    EXPECT_FALSE(scheme.summary.empty());
  }
  EXPECT_EQ(names, (std::vector<std::string>{"dram", "mmap", "ssd", "numa", "dax", "emulated", "tcp", "rdma"}));
}

TEST(TierRegistry, SplitsUrls) {
  const TierUrl url = parse_tier_url("emulated:cxl-x8");
  EXPECT_EQ(url.text, "emulated:cxl-x8");
  EXPECT_EQ(url.scheme, "emulated");
  EXPECT_EQ(url.rest, "cxl-x8");
  EXPECT_EQ(parse_tier_url("dram:").rest, "");
}

TEST(TierRegistry, NamesTheUrlAndTheKnownSchemes) {
  const std::string known =
      "known are dram:, mmap:, ssd:, numa:<node>, dax:<path>, emulated:<profile>, tcp://HOST:PORT/REGION, "
      "rdma://HOST:PORT/REGION";
  EXPECT_EQ(refusal_of("dram"), "tier URL 'dram' has no ':' after its scheme; " + known);
  EXPECT_EQ(refusal_of(""), "tier URL '' has no ':' after its scheme; " + known);
  EXPECT_EQ(refusal_of("nvme://host/region"), "tier URL 'nvme://host/region' has the unknown scheme 'nvme'; " + known);
  EXPECT_EQ(refusal_of("DRAM:"), "tier URL 'DRAM:' has the unknown scheme 'DRAM'; " + known);
  EXPECT_EQ(refusal_of(":dram"), "tier URL ':dram' has the unknown scheme ''; " + known);
  EXPECT_EQ(refusal_of("dram:0"), "tier URL 'dram:0' has '0' after 'dram:', which takes nothing");
  EXPECT_EQ(refusal_of("mmap:/index"), "tier URL 'mmap:/index' has '/index' after 'mmap:', which takes nothing");
}

TEST(TierRegistry, ChecksTheUrlBeforeTheFile) {
  try {
    (void)open_tier("emulated:rdma", "/no/such/file");
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace tiervec::rdma
