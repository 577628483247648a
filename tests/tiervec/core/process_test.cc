#include <tiervec/core/process.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

#include <gtest/gtest.h>

namespace tiervec {
namespace {

std::atomic<int> destroyed{0};

struct Counted {
  Counted() = default;
  ~Counted() { ++destroyed; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  int value = 0;
};

/// The exit status of a child that runs `act`.
template <class Act>
int status_of(const Act& act) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(act());
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

TEST(Process, AnOriginKnowsEveryDescendantApart) {
  const Origin here;
  EXPECT_TRUE(here.here());
  EXPECT_EQ(status_of([&] {
              if (here.here()) return 1;
              const Origin child;
              if (!child.here()) return 2;
              return status_of([&] { return here.here() || child.here() ? 3 : 0; });
            }),
            0);
  EXPECT_TRUE(here.here());
}

TEST(Process, AChildGetsAValueOfItsOwn) {
  PerProcess<Counted> counted;
  Counted& own = counted.get();
  own.value = 7;
  EXPECT_EQ(status_of([&] {
              Counted& fresh = counted.get();
              return fresh.value == 0 && destroyed == 1 && &counted.get() == &fresh ? 0 : 1;
            }),
            0);
  EXPECT_EQ(&counted.get(), &own);
  EXPECT_EQ(own.value, 7);
  EXPECT_EQ(destroyed, 0);
}

}  // namespace
}  // namespace tiervec
