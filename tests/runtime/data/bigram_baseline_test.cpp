#include "runtime/data/bigram_baseline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "runtime/data/byte_tokenizer.h"
#include "tests/runtime/data/temporary_folder.h"

namespace ballast::data {
namespace {

SequenceSource make_source(const std::vector<std::string>& texts, std::int64_t max_tokens) {
  TextDocuments documents;
  std::vector<std::int64_t> chosen;
  for (const auto& text : texts) {
    chosen.push_back(documents.size());
    documents.add("d", text);
  }
  return SequenceSource(ByteTokenizer().tokenize(std::move(documents)), std::move(chosen),
                        {ByteTokenizer::kBos, ByteTokenizer::kEos, max_tokens, std::nullopt});
}

// "aab" and "ab": after bos: a 2; after a: a 1, b 2; after b: eos 2.
TEST(BigramBaseline, WorkedExample) {
  const BigramBaseline baseline(make_source({"aab", "ab"}, 100), std::make_shared<ByteTokenizer>());
  const auto nats = [](double pairs, double inputs) { return -std::log((pairs + 0.1) / (inputs + 25.9)); };
  EXPECT_DOUBLE_EQ(baseline.nats(ByteTokenizer::kBos, 'a'), nats(2, 2));
  EXPECT_DOUBLE_EQ(baseline.nats('a', 'b'), nats(2, 3));
  EXPECT_DOUBLE_EQ(baseline.nats('b', 'a'), nats(0, 2));
  EXPECT_DOUBLE_EQ(baseline.nats('z', 'a'), nats(0, 0));

  const auto score = baseline.score(make_source({"ab"}, 100).sequence(0));
  EXPECT_DOUBLE_EQ(score.nats, nats(2, 2) + nats(2, 3) + nats(2, 2));
  EXPECT_EQ(score.num_targets, 3);
  EXPECT_EQ(score.num_bytes, 2);
}

TEST(BigramBaseline, EachInputHasADistribution) {
  const BigramBaseline baseline(make_source({"some text", "more text"}, 100), std::make_shared<ByteTokenizer>());
  for (const std::int32_t input : {ByteTokenizer::kBos, std::int32_t{'t'}, std::int32_t{0}}) {
    double sum = 0;
    for (std::int32_t target = 0; target < 259; ++target) sum += std::exp(-baseline.nats(input, target));
    EXPECT_NEAR(sum, 1, 1e-12);
  }
}

TEST(BigramBaseline, CutsChangeNothing) {
  const std::vector<std::string> texts{"a long document of many words", "another one"};
  const BigramBaseline whole(make_source(texts, 100), std::make_shared<ByteTokenizer>());
  const BigramBaseline cut(make_source(texts, 4), std::make_shared<ByteTokenizer>());
  PredictionScore whole_score, cut_score;
  const auto whole_source = make_source(texts, 100), cut_source = make_source(texts, 3);
  for (std::int64_t i = 0; i < whole_source.num_sequences(); ++i) whole_score += whole.score(whole_source.sequence(i));
  for (std::int64_t i = 0; i < cut_source.num_sequences(); ++i) cut_score += cut.score(cut_source.sequence(i));
  EXPECT_NEAR(cut_score.nats, whole_score.nats, 1e-9);
  EXPECT_EQ(cut_score.num_targets, whole_score.num_targets);
  EXPECT_EQ(cut_score.num_bytes, whole_score.num_bytes);
}

/// A byte tokenizer that says its vocabulary is larger.
class LargeTokenizer final : public Tokenizer {
 public:
  std::string_view name() const override { return "large"; }
  std::int64_t vocab_size() const override { return 4097; }
  std::int32_t bos() const override { return 0; }
  std::int32_t eos() const override { return 1; }
  std::int64_t num_bytes_of(std::int32_t) const override { return 1; }
  std::vector<std::int32_t> encode(std::string_view) const override { return {}; }
  std::string decode(std::span<const std::int32_t>) const override { return {}; }
  std::unique_ptr<TokenDocuments> tokenize(TextDocuments) const override { return nullptr; }
};

TEST(BigramBaseline, LargeVocabulariesAndForeignTokensAreRefused) {
  const auto source = make_source({"a"}, 10);
  EXPECT_EQ(refusal<std::invalid_argument>([&] { BigramBaseline(source, std::make_shared<LargeTokenizer>()); }),
            "a bigram baseline over 4097 tokens; at most 4096 are counted");
  const BigramBaseline baseline(source, std::make_shared<ByteTokenizer>());
  EXPECT_THROW(baseline.nats(259, 0), std::out_of_range);
  EXPECT_THROW(baseline.nats(0, -1), std::out_of_range);
}

}  // namespace
}  // namespace ballast::data
