#include "launch/host_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "tests/support/text_corpus.h"

namespace ballast::launch {
namespace {

using testing::HasSubstr;

const Check& find(const std::vector<Check>& checks, const std::string& name) {
  for (const Check& check : checks) {
    if (check.name == name) return check;
  }
  throw std::runtime_error("no check " + name);
}

TEST(GroupLimits, BothVersionsAndTheirWordsForNone) {
  const support::TemporaryFolder folder;
  const auto root = folder.path();
  const auto write = [&](const std::string& file, const std::string& text) {
    std::filesystem::create_directories((root / file).parent_path());
    std::ofstream(root / file) << text;
  };
  EXPECT_FALSE(group_limits(root).cores.has_value());
  EXPECT_FALSE(group_limits(root).memory_bytes.has_value());

  write("cpu/cpu.cfs_quota_us", "150000\n");
  write("cpu/cpu.cfs_period_us", "100000\n");
  write("memory/memory.limit_in_bytes", "1073741824\n");
  EXPECT_EQ(group_limits(root).cores, 1.5);
  EXPECT_EQ(group_limits(root).memory_bytes, 1073741824);
  write("cpu/cpu.cfs_quota_us", "-1\n");
  write("memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_FALSE(group_limits(root).cores.has_value());
  EXPECT_FALSE(group_limits(root).memory_bytes.has_value());

  write("cpu.max", "50000 100000\n");
  write("memory.max", "2147483648\n");
  EXPECT_EQ(group_limits(root).cores, 0.5);
  EXPECT_EQ(group_limits(root).memory_bytes, 2147483648);
  write("cpu.max", "max 100000\n");
  write("memory.max", "max\n");
  EXPECT_FALSE(group_limits(root).cores.has_value());
  EXPECT_FALSE(group_limits(root).memory_bytes.has_value());
  write("cpu.max", "garbage\n");
  EXPECT_FALSE(group_limits(root).cores.has_value());
}

TEST(HostChecks, MoreThreadsThanCoresAreAWarningWithTheRightNumber) {
  const std::map<std::string, const char*> few = {{"OMP_NUM_THREADS", "1"}};
  const std::map<std::string, const char*> many = {{"OMP_NUM_THREADS", "8192"}};
  const auto checks_of = [](const std::map<std::string, const char*>& variables) {
    return host_checks([&](const char* name) { return variables.contains(name) ? variables.at(name) : nullptr; });
  };
  EXPECT_EQ(find(checks_of(few), "host.cores").status, CheckStatus::kOk);
  const Check check = find(checks_of(many), "host.cores");
  EXPECT_EQ(check.status, CheckStatus::kWarn);
  EXPECT_THAT(check.found, HasSubstr("1 rank x 8192 threads"));
  EXPECT_THAT(check.advice, HasSubstr("OMP_NUM_THREADS="));
}

TEST(HostChecks, EveryLineSaysWhatWasFoundAndWanted) {
  for (const Check& check : host_checks([](const char*) { return nullptr; })) {
    EXPECT_FALSE(check.found.empty()) << check.name;
    EXPECT_FALSE(check.wanted.empty()) << check.name;
    EXPECT_EQ(check.advice.empty(), check.status == CheckStatus::kOk) << check.name;
  }
}

TEST(StorageChecks, AnOrdinaryFolderIsFineAndLeftAsItWas) {
  const support::TemporaryFolder folder;
  const auto checks = storage_checks(folder.path());
  EXPECT_EQ(find(checks, "storage.publish").status, CheckStatus::kOk) << find(checks, "storage.publish").found;
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  // A folder that a run will make is judged by the one around it.
  EXPECT_THAT(find(storage_checks(folder.path() / "a" / "b"), "storage.space").found, HasSubstr("in " + folder.path().string()));
}

TEST(StorageChecks, AFileSystemThatRefusesIsNamed) {
  const Check check = find(storage_checks("/proc"), "storage.publish");
  EXPECT_EQ(check.status, CheckStatus::kFail);
  EXPECT_THAT(check.found, testing::AllOf(HasSubstr("mkdtemp: "), HasSubstr("in /proc")));
  EXPECT_THAT(check.advice, HasSubstr("train.run_folder"));
}

}  // namespace
}  // namespace ballast::launch
