// Two hosts of this machine with a slow link between them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/child_process.h"

namespace ballast::launch {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kScript = BALLAST_SOURCE_DIR "/launch/slow_link.sh";

TEST(SlowLink, NeedsACommand) {
  support::ChildProcess process({kScript, "--rate", "1gbit"});
  EXPECT_EQ(process.wait(seconds(20)), 2);
  EXPECT_THAT(process.output(), HasSubstr("Usage: launch/slow_link.sh"));
}

TEST(SlowLink, RanksAreOnTwoHostsThatAreGoneAfterwards) {
  support::ChildProcess may({"unshare", "--net", "true"});
  if (may.wait(seconds(20)) != 0) GTEST_SKIP() << "network namespaces are not allowed here";
  support::ChildProcess process({kScript, "--rate", "100mbit", "bash", "-c", "echo rank $OMPI_COMM_WORLD_RANK on $(hostname)"});
  const int code = process.wait(seconds(60));
  if (code == 3) GTEST_SKIP() << process.output();
  ASSERT_EQ(code, 0) << process.output();
  EXPECT_THAT(process.output(), HasSubstr("rank 0 on h0"));
  EXPECT_THAT(process.output(), HasSubstr("rank 1 on h1"));
  EXPECT_TRUE(process.wait_until_gone(seconds(10)));
  support::ChildProcess left({"ip", "netns", "list"});
  left.wait(seconds(20));
  EXPECT_THAT(left.output(), Not(HasSubstr("h0." + std::to_string(process.pid()))));
}

}  // namespace
}  // namespace ballast::launch
