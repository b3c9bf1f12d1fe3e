#include "runtime/data/mapped_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/data/data_error.h"
#include "tests/runtime/data/temporary_folder.h"

namespace ballast::data {
namespace {

using ::testing::HasSubstr;

TEST(MappedFile, HoldsTheBytes) {
  const TemporaryFolder folder;
  const MappedFile file(folder.write("x", "abc"));
  ASSERT_EQ(file.bytes().size(), 3u);
  EXPECT_EQ(std::to_integer<char>(file.bytes()[2]), 'c');
  EXPECT_TRUE(MappedFile(folder.write("empty", "")).bytes().empty());
}

TEST(MappedFile, NamesWhatCannotBeMapped) {
  const TemporaryFolder folder;
  EXPECT_THAT(refusal<DataError>([&] { MappedFile file(folder.path("gone")); }), HasSubstr("gone: No such file"));
  EXPECT_THAT(refusal<DataError>([&] { MappedFile file(folder.path()); }), HasSubstr("is not a regular file"));
}

}  // namespace
}  // namespace ballast::data
