// The reader on a pipe, whose other end decides when a read lands.

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <memory>
#include <thread>

#include <gtest/gtest.h>

#include <tiervec/core/huge_buffer.h>
#include <tiervec/core/status.h>
#include <tiervec/engine/search_engine.h>
#include <tiervec/rdma/ssd_tier.h>

#include "../../../rdma/src/ssd/sector_reader.h"
#include "../../../rdma/src/ssd/sectors.h"

namespace tiervec::rdma::ssd {
namespace {

using namespace std::chrono_literals;

TEST(UringReader, SleepsUntilAReadLandsForAMillisecondAtMost) {
  if (const IoUringStatus status = io_uring_status(); !status.available) {
    GTEST_SKIP() << status.reason;
  }
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  HugeBuffer memory(kSectorBytes);
  const std::unique_ptr<SectorReader> reader =
      make_uring_reader({ends[0], {memory.as<std::byte>(), kSectorBytes}, ReadBatch::kMaxReads});
  reader->add({.offset = 0, .bytes = kSectorBytes, .to = memory.as<std::byte>(), .slot = 7});
  reader->send();

  std::array<Landed, 4> landed;
  const double cpu_us = engine::thread_cpu_us();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 50; ++i) {
    reader->wait();
    ASSERT_EQ(reader->poll(landed), 0U) << "a time-out is no read";
  }
  const std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - start;
  EXPECT_GE(elapsed.count(), 25e3) << "it did not sleep";
  EXPECT_LT(engine::thread_cpu_us() - cpu_us, elapsed.count() / 2);

  std::thread writer([&] {
    std::this_thread::sleep_for(5ms);
    EXPECT_EQ(::write(ends[1], "x", 1), 1);
  });
  std::size_t count = 0;
  while (count == 0) {
    reader->wait();
    count = reader->poll(landed);
  }
  writer.join();
  EXPECT_EQ(count, 1U);
  EXPECT_EQ(landed[0].slot, 7U);
  EXPECT_EQ(landed[0].result, 1);
  EXPECT_EQ(*memory.as<char>(), 'x');
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace
}  // namespace tiervec::rdma::ssd
