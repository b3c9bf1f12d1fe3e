#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "launch/commands.h"
#include "launch/exit_code.h"
#include "runtime/data/data_error.h"
#include "tests/runtime/data/temporary_folder.h"

namespace ballast::launch {
namespace {

using data::refusal;
using ::testing::HasSubstr;

/// The tiny run on a corpus of 41 documents, one of them empty.
class DataCommand : public ::testing::Test {
 protected:
  DataCommand() {
    for (int i = 0; i <= 40; ++i) folder_.write(fmt::format("texts/d{}", i), std::string(static_cast<std::size_t>(i), 'a'));
  }
  /// Output of `ballast data <arguments>`, which succeeds.
  std::string run(const std::vector<std::string>& arguments) const {
    std::ostringstream output, errors;
    std::vector<std::string> all{"data"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const Invocation invocation = parse_command_line(all, output, errors);
    EXPECT_EQ(invocation.command->run(invocation.line), 0);
    return output.str();
  }
  std::vector<std::string> on_texts(const std::string& action, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments{action,  BALLAST_SOURCE_DIR "/configs/runs/tiny.textproto",
                                       "--set", fmt::format("data.text_files.folder={}", folder_.path("texts").string()),
                                       "--set", "data.text_files.glob=**/*",
                                       "--set", "data.held_out_fraction=0.3",
                                       "--set", "data.max_sequence_tokens=32"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  data::TemporaryFolder folder_;
};

TEST_F(DataCommand, InspectSaysWhatTrainingSees) {
  const auto report = nlohmann::json::parse(run(on_texts("inspect", {"--json"})));
  EXPECT_EQ(report["empty_documents"], 1);
  EXPECT_EQ(report["vocabulary"], 259);
  const auto sum = [&](const char* key) { return report["train"][key].get<int>() + report["held_out"][key].get<int>(); };
  EXPECT_EQ(sum("documents"), 40);
  EXPECT_EQ(sum("bytes"), 40 * 41 / 2);
  EXPECT_EQ(sum("tokens"), 40 * 41 / 2 + 40);
  EXPECT_EQ(sum("cut_documents"), 9);  // of 32 to 40 bytes
  EXPECT_EQ(sum("sequences"), 49);
  EXPECT_EQ(report["train"]["sequence_tokens_quantiles"]["1"], 32);
  EXPECT_THAT(run(on_texts("inspect")), HasSubstr("1 empty documents skipped, vocabulary 259, fingerprint "));
}

TEST_F(DataCommand, TokenizedCorpusIsTheSameCorpus) {
  const auto prefix = folder_.path("set").string();
  EXPECT_THAT(run(on_texts("tokenize", {"--out", prefix})), HasSubstr("40 documents (1 empty ones skipped), 860 tokens"));
  const auto from_texts = run(on_texts("inspect", {"--json"}));
  auto from_tokens = run(on_texts("inspect", {"--json", "--set", "data.megatron.prefix=" + prefix}));
  EXPECT_EQ(nlohmann::json::parse(from_tokens)["fingerprint"], nlohmann::json::parse(from_texts)["fingerprint"]);
  EXPECT_THAT(run(on_texts("verify", {"--set", "data.megatron.prefix=" + prefix})),
              HasSubstr("every token is sound: 40 documents (0 empty ones skipped), 820 tokens, 820 bytes"));
}

TEST_F(DataCommand, VerifyNamesADamagedIndex) {
  const auto prefix = folder_.path("set").string();
  run(on_texts("tokenize", {"--out", prefix}));
  auto index = folder_.read("set.idx");
  index[34] = static_cast<char>(0xff);
  folder_.write("set.idx", index);
  const auto verify = on_texts("verify", {"--set", "data.megatron.prefix=" + prefix});
  EXPECT_THAT(refusal<data::DataError>([&] { run(verify); }), HasSubstr("set.idx: offset "));
  EXPECT_EQ(exit_code_of(data::DataError("x")), ExitCode::kData);
}

TEST_F(DataCommand, WrongLinesAreExplained) {
  EXPECT_THAT(refusal<UsageError>([&] { run(on_texts("tokenize")); }), HasSubstr("--out is missing"));
  EXPECT_THAT(refusal<UsageError>([&] { run(on_texts("verify", {"--out", "x"})); }), HasSubstr("--out is for tokenize"));
  EXPECT_THAT(refusal<UsageError>([&] { run(on_texts("merge")); }),
              HasSubstr("'merge' is not known; choose inspect, verify or tokenize"));
  EXPECT_THAT(refusal<UsageError>([&] { run({"inspect"}); }),
              HasSubstr("inspect|verify|tokenize <run.textproto>; got 1 argument"));
}

}  // namespace
}  // namespace ballast::launch
