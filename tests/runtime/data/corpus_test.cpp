#include "runtime/data/corpus.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>

#include "runtime/data/byte_tokenizer.h"
#include "runtime/data/data.pb.h"
#include "runtime/data/data_error.h"
#include "runtime/data/megatron_writer.h"
#include "tests/runtime/data/temporary_folder.h"

namespace ballast::data {
namespace {

using ::testing::HasSubstr;

/// A folder of 60 documents, and options that read it.
class CorpusTest : public ::testing::Test {
 protected:
  CorpusTest() {
    for (int i = 0; i < 60; ++i) {
      folder_.write(fmt::format("d{}", i), std::string(static_cast<std::size_t>(1 + i * 7), static_cast<char>('a' + i % 26)));
    }
    options_.mutable_text_files()->set_folder(folder_.path().string());
    options_.set_held_out_fraction(0.2);
    options_.set_max_sequence_tokens(100);
  }

  TemporaryFolder folder_;
  schema::Data options_;
};

TEST_F(CorpusTest, SidesShareTheDocumentsAndCountEveryByte) {
  const Corpus corpus = open_corpus(options_);
  EXPECT_GT(corpus.held_out.num_documents(), 0);
  EXPECT_EQ(corpus.train.num_documents() + corpus.held_out.num_documents(), 60);
  EXPECT_EQ(corpus.train_bytes + corpus.held_out_bytes, 60 + 7 * 59 * 60 / 2);
  EXPECT_EQ(corpus.train.num_tokens(), corpus.train_bytes + corpus.train.num_documents());
  std::int64_t held_out_bytes = 0;
  for (std::int64_t i = 0; i < corpus.held_out.num_sequences(); ++i) {
    held_out_bytes += num_target_bytes(corpus.held_out.sequence(i), *corpus.tokenizer);
  }
  EXPECT_EQ(held_out_bytes, corpus.held_out_bytes);
}

TEST_F(CorpusTest, FingerprintFollowsDataAndMeaningOnly) {
  const auto fingerprint = [&](const std::function<void(schema::Data&)>& change) {
    schema::Data options = options_;
    change(options);
    return open_corpus(options).fingerprint;
  };
  const auto base = fingerprint([](auto&) {});
  EXPECT_EQ(fingerprint([](auto&) {}), base);
  EXPECT_EQ(fingerprint([](auto& o) { o.mutable_text_files()->set_glob("d*"); }), base);
  EXPECT_NE(fingerprint([](auto& o) { o.set_seed(2); }), base);
  EXPECT_NE(fingerprint([](auto& o) { o.set_max_sequence_tokens(99); }), base);
  EXPECT_NE(fingerprint([](auto& o) { o.set_held_out_fraction(0.21); }), base);
  EXPECT_NE(fingerprint([](auto& o) { o.mutable_text_files()->set_glob("d[1-9]*"); }), base);
  folder_.write("d0", "b");  // was "a"
  EXPECT_NE(fingerprint([](auto&) {}), base);
}

// The same texts in the same order are the same corpus, however they are kept.
TEST_F(CorpusTest, SourcesOfTheSameTextsAreEqual) {
  const Corpus from_folder = open_corpus(options_);
  std::string lines;
  MegatronWriter writer(folder_.path("set"), from_folder.tokenizer->vocab_size());
  for (std::int64_t d = 0; d < from_folder.documents->size(); ++d) {
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(from_folder.documents->length(d)));
    from_folder.documents->read(d, 0, tokens);
    lines += fmt::format("{{\"text\":\"{}\"}}\n", from_folder.tokenizer->decode(tokens));
    tokens.push_back(from_folder.tokenizer->eos());
    writer.add_document(tokens);
  }
  writer.finish();

  schema::Data json_lines = options_;
  json_lines.mutable_json_lines()->set_path(folder_.write("set.jsonl", lines).string());
  schema::Data megatron = options_;
  megatron.mutable_megatron()->set_prefix(folder_.path("set").string());
  for (const auto& options : {json_lines, megatron}) {
    const Corpus corpus = open_corpus(options);
    EXPECT_EQ(corpus.fingerprint, from_folder.fingerprint);
    EXPECT_EQ(corpus.train_bytes, from_folder.train_bytes);
    ASSERT_EQ(corpus.train.num_sequences(), from_folder.train.num_sequences());
    for (std::int64_t i = 0; i < 2 * corpus.train.num_sequences(); ++i) {
      ASSERT_EQ(corpus.train.sequence(i).tokens, from_folder.train.sequence(i).tokens);
    }
  }
}

TEST_F(CorpusTest, NothingHeldOutWhenAskedSo) {
  options_.set_held_out_fraction(0);
  EXPECT_EQ(open_corpus(options_).held_out.num_sequences(), 0);
}

TEST_F(CorpusTest, WhatCannotBeOpenedIsRefused) {
  EXPECT_THAT(refusal<std::invalid_argument>([] { open_corpus(schema::Data()); }),
              HasSubstr("no source; give one of text_files"));
  options_.set_tokenizer("words");
  EXPECT_THAT(refusal<std::invalid_argument>([&] { open_corpus(options_); }), HasSubstr("'words' is not known"));
  options_.set_tokenizer("byte");
  options_.set_held_out_fraction(1e-9);
  EXPECT_THAT(refusal<std::invalid_argument>([&] { open_corpus(options_); }), HasSubstr("chose 0 of 60"));
  for (int i = 0; i < 60; ++i) folder_.write(fmt::format("d{}", i), "");
  EXPECT_THAT(refusal<DataError>([&] { open_corpus(options_); }), HasSubstr("all 60 documents of the source are empty"));
}

}  // namespace
}  // namespace ballast::data
