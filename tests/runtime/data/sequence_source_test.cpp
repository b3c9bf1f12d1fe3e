#include "runtime/data/sequence_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <array>
#include <map>
#include <stdexcept>
#include <string>

#include "runtime/data/byte_tokenizer.h"

namespace ballast::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::int32_t kBos = ByteTokenizer::kBos;
constexpr std::int32_t kEos = ByteTokenizer::kEos;

std::shared_ptr<const TokenDocuments> make_documents(const std::vector<std::string>& texts) {
  TextDocuments documents;
  for (const auto& text : texts) documents.add("d", text);
  return ByteTokenizer().tokenize(std::move(documents));
}

SequenceSource make_source(const std::vector<std::string>& texts, std::int64_t max_tokens,
                           std::optional<std::uint64_t> seed = std::nullopt) {
  auto documents = make_documents(texts);
  std::vector<std::int64_t> chosen;
  for (std::int64_t d = 0; d < documents->size(); ++d) chosen.push_back(d);
  return SequenceSource(std::move(documents), std::move(chosen), {kBos, kEos, max_tokens, seed});
}

std::vector<std::int32_t> list(std::span<const std::int32_t> tokens) { return {tokens.begin(), tokens.end()}; }

TEST(SequenceSource, ShortDocumentIsOneSequence) {
  const auto source = make_source({"ab"}, 100);
  ASSERT_EQ(source.num_sequences(), 1);
  const auto sequence = source.sequence(0);
  EXPECT_EQ(sequence.length(), 3);
  EXPECT_THAT(list(sequence.inputs()), ElementsAre(kBos, 'a', 'b'));
  EXPECT_THAT(list(sequence.targets()), ElementsAre('a', 'b', kEos));
}

TEST(SequenceSource, CutKeepsTheTargetAcrossTheBorder) {
  const auto source = make_source({"abcd", "x"}, 2);
  ASSERT_EQ(source.num_sequences(), 4);
  EXPECT_EQ(source.num_cut_documents(), 1);
  EXPECT_EQ(source.num_tokens(), 7);
  EXPECT_THAT(source.sequence(0).tokens, ElementsAre(kBos, 'a', 'b'));
  EXPECT_THAT(source.sequence(1).tokens, ElementsAre('b', 'c', 'd'));
  EXPECT_THAT(source.sequence(2).tokens, ElementsAre('d', kEos));
  EXPECT_THAT(source.sequence(3).tokens, ElementsAre(kBos, 'x', kEos));
  EXPECT_EQ(source.sequence(1).begin, 2);
  EXPECT_EQ(source.sequence(3).document, 1);
}

// A stream of exactly the cap is not cut; one token more makes a last sequence of one token, the eos.
TEST(SequenceSource, CutAtTheExactLength) {
  EXPECT_EQ(make_source({"abc"}, 4).num_sequences(), 1);
  const auto source = make_source({"abcd"}, 4);
  ASSERT_EQ(source.num_sequences(), 2);
  EXPECT_THAT(source.sequence(1).tokens, ElementsAre('d', kEos));
}

TEST(SequenceSource, EveryTokenIsPredictedOnceFromItsPredecessor) {
  EXPECT_TRUE(rc::check([] {
    const auto texts = *rc::gen::container<std::vector<std::string>>(rc::gen::nonEmpty<std::string>());
    const auto max_tokens = *rc::gen::inRange<std::int64_t>(1, 20);
    if (texts.empty()) return;
    const auto source = make_source(texts, max_tokens, *rc::gen::arbitrary<std::uint64_t>());
    // (document, position in its stream) -> (input, target)
    std::map<std::pair<std::int64_t, std::int64_t>, std::pair<std::int32_t, std::int32_t>> seen;
    for (std::int64_t sample = 0; sample < source.num_sequences(); ++sample) {
      const auto sequence = source.sequence(sample);
      RC_ASSERT(sequence.length() == source.length(sample));
      RC_ASSERT(sequence.length() >= 1 && sequence.length() <= max_tokens);
      for (std::int64_t i = 0; i < sequence.length(); ++i) {
        const auto j = static_cast<std::size_t>(i);
        RC_ASSERT(seen.try_emplace({sequence.document, sequence.begin + i}, sequence.inputs()[j], sequence.targets()[j]).second);
      }
    }
    RC_ASSERT(static_cast<std::int64_t>(seen.size()) == source.num_tokens());
    for (std::size_t d = 0; d < texts.size(); ++d) {
      std::vector<std::int32_t> stream{kBos};
      for (const char c : texts[d]) stream.push_back(static_cast<unsigned char>(c));
      stream.push_back(kEos);
      for (std::size_t i = 0; i + 1 < stream.size(); ++i) {
        RC_ASSERT(seen.at({static_cast<std::int64_t>(d), static_cast<std::int64_t>(i)}) == std::pair(stream[i], stream[i + 1]));
      }
    }
  }));
}

TEST(SequenceSource, EpochsHoldEverySequenceInAnotherOrder) {
  std::vector<std::string> texts;
  for (int i = 1; i <= 50; ++i) texts.push_back(std::string(static_cast<std::size_t>(i), 'x'));
  const auto source = make_source(texts, 20, 9);
  const std::int64_t n = source.num_sequences();
  std::vector<std::int64_t> first, second;
  for (std::int64_t i = 0; i < n; ++i) first.push_back(source.sequence(i).id);
  for (std::int64_t i = 0; i < n; ++i) second.push_back(source.sequence(n + i).id);
  EXPECT_NE(first, second);
  EXPECT_THAT(first, ::testing::UnorderedElementsAreArray(second));
  EXPECT_EQ(source.epoch(n - 1), 0);
  EXPECT_EQ(source.epoch(n), 1);
  std::vector<std::int64_t> other_seed;
  const auto other = make_source(texts, 20, 10);
  for (std::int64_t i = 0; i < n; ++i) other_seed.push_back(other.sequence(i).id);
  EXPECT_NE(first, other_seed);
}

// Ranks ask for samples in any order and any subset; a resumed run starts in the middle.
TEST(SequenceSource, OrderDoesNotDependOnHowItIsAsked) {
  std::vector<std::string> texts;
  for (int i = 1; i <= 40; ++i) texts.push_back(std::string(static_cast<std::size_t>(i * 3), static_cast<char>(i)));
  const auto whole = make_source(texts, 30, 4);
  std::vector<Sequence> expected;
  for (std::int64_t i = 0; i < 300; ++i) expected.push_back(whole.sequence(i));
  for (const std::int64_t num_ranks : {1, 2, 3, 4}) {
    for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
      const auto source = make_source(texts, 30, 4);
      for (std::int64_t i = 299 - rank; i >= 0; i -= num_ranks) {
        EXPECT_EQ(source.sequence(i).tokens, expected[static_cast<std::size_t>(i)].tokens);
        EXPECT_EQ(source.sequence(i).id, expected[static_cast<std::size_t>(i)].id);
      }
    }
  }
}

TEST(SequenceSource, StepsFillTheBudgetAndTileTheOrder) {
  EXPECT_TRUE(rc::check([] {
    const auto sizes = *rc::gen::nonEmpty<std::vector<std::int64_t>>();
    std::vector<std::string> texts;
    for (const std::int64_t size : sizes) texts.emplace_back(static_cast<std::size_t>(1 + std::abs(size % 50)), 'x');
    const auto source = make_source(texts, 16, 3);
    const auto budget = *rc::gen::inRange<std::int64_t>(16, 100);
    std::int64_t position = 0;
    for (int step = 0; step < 10; ++step) {
      const auto lengths = source.step_lengths(position, budget);
      RC_ASSERT(!lengths.empty());
      std::int64_t total = 0;
      for (const std::int64_t length : lengths) {
        RC_ASSERT(length == source.length(position++));
        total += length;
      }
      RC_ASSERT(total <= budget);
      RC_ASSERT(total + source.length(position) > budget);
    }
  }));
}

TEST(SequenceSource, StepsInPlainOrderEndWithTheSource) {
  const auto source = make_source({"a", "b", "c"}, 10);
  EXPECT_THAT(source.step_lengths(0, 1000), ElementsAre(2, 2, 2));
  EXPECT_THAT(source.step_lengths(2, 1000), ElementsAre(2));
  EXPECT_THROW(source.step_lengths(3, 1000), std::out_of_range);
  EXPECT_THROW(source.sequence(3), std::out_of_range);
  EXPECT_THROW(source.sequence(-1), std::out_of_range);
}

TEST(SequenceSource, StepSmallerThanTheLongestSequenceIsRefusedAtEveryPosition) {
  const auto source = make_source({"a", std::string(100, 'b')}, 64, 1);
  for (const std::int64_t position : {0, 1, 2}) {
    try {
      source.step_lengths(position, 63);
      FAIL() << "not refused";
    } catch (const std::invalid_argument& error) {
      EXPECT_THAT(error.what(), HasSubstr("at most 63 tokens but the longest sequence has 64"));
      EXPECT_THAT(error.what(), HasSubstr("data.max_sequence_tokens (now 64) to at most 63"));
    }
  }
  EXPECT_NO_THROW(source.step_lengths(0, 64));
}

TEST(SequenceSource, ChosenDocumentsOnly) {
  const SequenceSource source(make_documents({"a", "b", "c"}), {0, 2}, {kBos, kEos, 10, std::nullopt});
  ASSERT_EQ(source.num_sequences(), 2);
  EXPECT_EQ(source.sequence(1).document, 2);
  EXPECT_EQ(source.sequence(1).id, 1);
}

TEST(SequenceSource, Quantiles) {
  const auto source = make_source({"a", "bb", "ccc", "dddd"}, 10);  // 2, 3, 4, 5 tokens
  constexpr std::array kFractions{0.0, 0.25, 0.26, 0.5, 1.0};
  EXPECT_THAT(source.length_quantiles(kFractions), ElementsAre(2, 2, 3, 3, 5));
  EXPECT_THROW(source.length_quantiles(std::array{1.5}), std::invalid_argument);
}

TEST(SequenceSource, EmptySourceHasNoSamples) {
  const SequenceSource source(make_documents({"a"}), {}, {kBos, kEos, 10, 1});
  EXPECT_EQ(source.num_sequences(), 0);
  EXPECT_THAT(source.length_quantiles(std::array{0.5}), ElementsAre(0));
  EXPECT_THROW(source.sequence(0), std::out_of_range);
  EXPECT_THROW(make_source({"a"}, 0), std::invalid_argument);
}

}  // namespace
}  // namespace ballast::data
