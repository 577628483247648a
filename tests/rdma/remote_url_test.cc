#include <tiervec/rdma/remote_url.h>

#include <string>

#include <gtest/gtest.h>

#include <tiervec/core/status.h>

namespace tiervec::rdma {
namespace {

RemoteUrl parsed(const std::string& url) {
  return parse_remote_url(parse_tier_url(url));
}

std::string refusal_of(const std::string& url) {
  try {
    (void)parse_tier_url(url);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "accepted";
}

TEST(RemoteUrl, OneNode) {
  const RemoteUrl url = parsed("tcp://memory-7.example:7000/sift1m.v2");
  ASSERT_EQ(url.replicas.size(), 1U);
  ASSERT_EQ(url.replicas[0].size(), 1U);
  EXPECT_EQ(url.replicas[0][0].host, "memory-7.example");
  EXPECT_EQ(url.replicas[0][0].port, 7000);
  EXPECT_EQ(url.region, "sift1m.v2");
  EXPECT_EQ(url.timeout.count(), 500);
}

TEST(RemoteUrl, ReplicasOfStripes) {
  const RemoteUrl url = parsed("tcp://a:1+[fe80::1]:2,c:3+10.0.0.4:65535/r?timeout_ms=50");
  ASSERT_EQ(url.replicas.size(), 2U);
  ASSERT_EQ(url.replicas[0].size(), 2U);
  ASSERT_EQ(url.replicas[1].size(), 2U);
  EXPECT_EQ(url.replicas[0][1].host, "fe80::1");
  EXPECT_EQ(url.replicas[1][1].host, "10.0.0.4");
  EXPECT_EQ(url.replicas[1][1].port, 65535);
  EXPECT_EQ(url.timeout.count(), 50);
}

TEST(RemoteUrl, SaysWhatIsWrong) {
  const auto says = [](const std::string& url, const std::string& what) {
    const std::string refusal = refusal_of(url);
    EXPECT_NE(refusal.find(what), std::string::npos) << refusal;
    EXPECT_NE(refusal.find("'" + url + "'"), std::string::npos) << refusal;
    EXPECT_NE(refusal.find("tcp://HOST:PORT/REGION"), std::string::npos) << refusal;
  };
  says("tcp:", "has no '//'");
  says("tcp:host:1/r", "has no '//'");
  says("tcp://", "names no region");
  says("tcp://h:1", "names no region");
  says("tcp://h:1/", "names the region ''");
  says("tcp://h:1/a/b", "names the region 'a/b'");
  says("tcp://h:1/a b", "names the region 'a b'");
  says("tcp://h:1/" + std::string(129, 'x'), "names the region");
  says("tcp://h/r", "names the node 'h' without a port");
  says("tcp://h:/r", "port is not between");
  says("tcp://h:0/r", "port is not between");
  says("tcp://h:65536/r", "port is not between");
  says("tcp://h:7x/r", "port is not between");
  says("tcp://h:-1/r", "port is not between");
  says("tcp://:1/r", "whose host is none");
  says("tcp://user@h:1/r", "whose host is none");
  says("tcp://::1:7/r", "whose host is none");
  says("tcp://[]:7/r", "whose host is none");
  says("tcp://h:1+/r", "names the node ''");
  says("tcp://h:1,/r", "names the node ''");
  says("tcp://h:1/r?timeout_ms=0", "ends in '?timeout_ms=0'");
  says("tcp://h:1/r?timeout_ms=600001", "ends in");
  says("tcp://h:1/r?token=secret", "ends in");
  says("tcp://h:1/r?", "ends in");
}

TEST(RemoteUrl, IsNotOpenedLikeAFile) {
  try {
    (void)open_tier("tcp://h:1/r", "/tmp/file");
    FAIL() << "opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_NE(std::string(error.what()).find("tcp://h:1/r"), std::string::npos);
  }
}

}  // namespace
}  // namespace tiervec::rdma
