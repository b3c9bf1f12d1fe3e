#include "scheduler/workload/length_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>

namespace ballast::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::string message_of(const std::string& text) {
  try {
    parse_length_table(text, "lengths.csv");
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no error";
}

TEST(LengthTable, ReadsTheThreeForms) {
  EXPECT_THAT(parse_length_table("# remark\nlength_tokens\n7\r\n9\n", "x").lengths, ElementsAre(7, 9));
  EXPECT_EQ(parse_length_table("bin_lo_tokens,bin_hi_tokens,fraction\n0,4,0.5\n", "x").bins[0].begin, 1);
  EXPECT_THAT(parse_length_table("quantile,length_tokens\n0,1\n1,5\n", "x").quantiles, ElementsAre(1, 5));
}

TEST(LengthTable, BadInputIsNamedByLine) {
  EXPECT_THAT(message_of("7\nx9\n"), HasSubstr("lengths.csv:2: 'x9' is not a number"));
  EXPECT_THAT(message_of("0\n"), HasSubstr("lengths.csv:1: a length of 0 tokens"));
  EXPECT_THAT(message_of("2147483649\n"), HasSubstr("lengths.csv:1: a length of 2147483649 tokens; wanted 1 to 2147483648"));
  EXPECT_THAT(parse_length_table("2147483648\n", "x").lengths, ElementsAre(2147483648));
  EXPECT_THAT(message_of("bin_lo_tokens,bin_hi_tokens,f\n9,4,0.5\n"), HasSubstr("lengths.csv:2: bin [9, 4)"));
  EXPECT_THAT(message_of("quantile,length_tokens\n0,5\n1,4\n"), HasSubstr("quantiles fall from 5 to 4"));
  EXPECT_THAT(message_of("# nothing\n"), HasSubstr("no lengths"));
}

TEST(LengthTable, ColumnsThatAreNotKnownAreNoList) {
  EXPECT_THAT(
      message_of("# remark\nlo,hi,fraction\n1,10,0\n"),
      HasSubstr("lengths.csv:2: unknown columns 'lo,hi,fraction'; known are bin_lo_tokens,bin_hi_tokens,... (a histogram) and "
                "quantile,length_tokens; a list has one column"));
  EXPECT_THAT(message_of("foo,bar\n1,2\n"), Not(HasSubstr("_quantiles.csv")));
  EXPECT_THAT(message_of("100,200,300\n"), HasSubstr("lengths.csv:1: 3 cells; a list has one length per line"));
  EXPECT_THAT(parse_length_table("anything\n7\n", "x").lengths, ElementsAre(7));
  std::ifstream parameters(BALLAST_SOURCE_DIR "/configs/workloads/lognormal.csv");
  std::stringstream text;
  text << parameters.rdbuf();
  EXPECT_THAT(message_of(text.str()), HasSubstr("name the quantiles of a row, a file <row>_quantiles.csv beside this one"));
}

TEST(LengthTable, DrawsAreExactAndReproducible) {
  const LengthTable table = parse_length_table("bin_lo_tokens,bin_hi_tokens,f\n1,100,1\n100,1000,1\n", "x");
  const std::vector<std::int64_t> batch = draw_batch(table, {10000, 500, 0, 3});
  EXPECT_EQ(std::accumulate(batch.begin(), batch.end(), std::int64_t{0}), 10000);
  EXPECT_LE(*std::max_element(batch.begin(), batch.end()), 500);
  EXPECT_EQ(batch, draw_batch(table, {10000, 500, 0, 3}));
  EXPECT_NE(batch, draw_batch(table, {10000, 500, 0, 4}));
  // Neighbouring seeds share no run of draws.
  const std::vector<std::int64_t> next = draw_batch(table, {10000, 500, 0, 4});
  EXPECT_EQ(std::search(next.begin(), next.end(), batch.begin() + 1, batch.begin() + 4), next.end());
  const std::vector<std::int64_t> low = draw_batch(table, {10000, 0, 100, 3});
  EXPECT_LT(*std::max_element(low.begin(), low.end()), 100);
}

TEST(LengthTable, ShippedTablesHaveTheirMeans) {
  const std::filesystem::path folder = BALLAST_SOURCE_DIR "/configs/workloads";
  const auto load = [&](const std::string& name) {
    std::ifstream file(folder / (name + ".csv"));
    std::stringstream text;
    text << file.rdbuf();
    return parse_length_table(text.str(), name);
  };
  LengthTable wikipedia = load("wikipedia_quantiles");
  add_tail(wikipedia, load("wikipedia_tail_quantiles"));
  const auto mean = [](const LengthTable& table, std::int64_t limit) {
    const std::vector<std::int64_t> batch = draw_batch(table, {1 << 28, 0, limit, 1});
    return static_cast<double>(1 << 28) / static_cast<double>(batch.size());
  };
  EXPECT_NEAR(mean(wikipedia, 0), 1014, 30);
  EXPECT_NEAR(mean(load("pile"), 131072), 891, 20);
  EXPECT_NEAR(mean(load("prolong64k"), 0), 1017, 30);
  EXPECT_NEAR(mean(load("prolong512k"), 0), 2381, 180);  // a heavy tail: one standard error is 60
}

}  // namespace
}  // namespace ballast::scheduler
