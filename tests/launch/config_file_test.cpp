#include "launch/config_file.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "launch/config_text.h"
#include "launch/resolved_config.h"
#include "runtime/train/run_config.pb.h"
#include "scheduler/field_options.pb.h"

namespace ballast::launch {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kModel =
    "hidden_size: 64 num_layers: 2 num_attention_heads: 4 num_key_value_heads: 2 head_dim: 16 intermediate_size: 96\n"
    "num_experts: 8 expert_intermediate_size: 32\n";
constexpr const char* kData = "data { text_files { folder: 'x' } }\n";

class ConfigFile : public testing::Test {
 protected:
  ConfigFile() : folder_(std::filesystem::temp_directory_path() / fmt::format("ballast_config_{}", getpid())) {
    std::filesystem::create_directories(folder_ / "runs");
    std::filesystem::create_directories(folder_ / "models");
    write("models/m.textproto", kModel);
  }
  ~ConfigFile() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  /// A run file of the model above and `text`; its first line names the model.
  std::filesystem::path run(const std::string& text) {
    return write("runs/r.textproto", "model_file: '../models/m.textproto'\n" + text);
  }

  /// Findings without the folder's name.
  std::vector<std::string> findings(const std::string& text, std::vector<std::string> set = {}, std::optional<int> world = {}) {
    try {
      load_run_config(run(text), set, world);
    } catch (const ConfigError& error) {
      std::vector<std::string> lines;
      for (const ConfigFinding& finding : error.findings()) {
        std::string line = finding.to_string();
        if (line.starts_with(folder_.string())) line = line.substr(folder_.string().size() + 1);
        lines.push_back(line);
      }
      return lines;
    }
    return {};
  }

  std::filesystem::path folder_;
};

TEST_F(ConfigFile, MergesFilesInlineMessagesAndAssignments) {
  const auto path = run(std::string(kData) + "model { num_layers: 3 name: 'inline' }\ntrain { total_tokens: 5 }\n");
  const std::vector<std::string> set = {"train.total_tokens=6", "train.total_tokens=7"};
  const LoadedConfig config = load_run_config(path, set, {});
  EXPECT_EQ(config.run->model().hidden_size(), 64);
  EXPECT_EQ(config.run->model().num_layers(), 3);
  EXPECT_EQ(config.run->train().total_tokens(), 7);
  EXPECT_FALSE(config.run->has_model_file());

  std::map<std::string, std::string> origin;
  for (const FieldOrigin& field : config.origins) origin[field.path] = field.origin;
  EXPECT_EQ(origin.at("model.hidden_size"), (folder_ / "models/m.textproto").string() + ":1");
  EXPECT_EQ(origin.at("model.num_experts"), (folder_ / "models/m.textproto").string() + ":2");
  EXPECT_EQ(origin.at("model.num_layers"), path.string() + ":3");
  EXPECT_EQ(origin.at("train.total_tokens"), "--set #2");
  EXPECT_EQ(origin.at("optim.beta1"), "default");
  EXPECT_THAT(origins_table(config), HasSubstr("\ntrain.total_tokens\t7\t--set #2\n"));
}

TEST_F(ConfigFile, NamedFilesAreRelativeToTheFileThatNamesThem) {
  const auto path = write("runs/r.textproto", std::string("model_file: '../models/missing.textproto'\n") + kData);
  // An assignment is written in the shell, so its path is relative to the working folder.
  const std::vector<std::string> set = {"model_file=" + (folder_ / "models/m.textproto").string()};
  EXPECT_EQ(load_run_config(path, set, {}).run->model().hidden_size(), 64);
  try {
    load_run_config(path, {}, {});
    FAIL();
  } catch (const ConfigError& error) {
    ASSERT_EQ(error.findings().size(), 1u);
    EXPECT_EQ(error.findings()[0].to_string(), fmt::format("{}:1:1: model_file: cannot read {}: No such file or directory",
                                                           path.string(), (folder_ / "models/missing.textproto").string()));
  }
}

TEST_F(ConfigFile, UnreadableRunFilesAreRefused) {
  EXPECT_THROW(
      {
        try {
          load_run_config(folder_ / "none", {}, {});
        } catch (const std::invalid_argument& error) {
          EXPECT_STREQ(error.what(),
                       fmt::format("cannot read {}: No such file or directory", (folder_ / "none").string()).c_str());
          throw;
        }
      },
      std::invalid_argument);
  EXPECT_THROW(load_run_config(folder_, {}, {}), std::invalid_argument);
}

TEST_F(ConfigFile, FindingsOfAllSourcesComeTogether) {
  EXPECT_THAT(
      findings("data { text_files { } }\noptim { lr_schedule { warmpu_steps: 3 } beta1: 1.5 }\n  parallel { ep: 3 }\n",
               {"train.total_tokens=2k", "model.head_dim=15"}),
      ElementsAre("runs/r.textproto:2:8: data.text_files.folder is missing; it has no default",
                  "runs/r.textproto:3:23: unknown key \"warmpu_steps\" in LrSchedule; did you mean \"warmup_steps\"?",
                  "runs/r.textproto:3:41: optim.beta1 = 1.5: at most 0.999999 is wanted",
                  "runs/r.textproto:4:14: parallel.ep = 3 does not divide model.num_experts = 8; choose one of 1, 2, 4, 8",
                  "--set #1:7: train.total_tokens: expected an integer, got \"2k\"",
                  "--set #2:7: model.head_dim = 15 is odd; rotary positions turn pairs, so it must be even"));
}

TEST_F(ConfigFile, TheErrorEndsWithTheCountAndWhereFieldsAreExplained) {
  try {
    load_run_config(run(std::string(kData) + "foo: 1 train { bar: 2 }"), {}, {});
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), testing::EndsWith("\n2 errors. Field reference: ballast config docs"));
  }
  try {
    load_run_config(run(std::string(kData) + "foo: 1"), {}, {});
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), testing::EndsWith("\n1 error. Field reference: ballast config docs"));
  }
}

TEST_F(ConfigFile, WhatMustBeGivenIsAskedFor) {
  EXPECT_THAT(findings(""),
              ElementsAre("runs/r.textproto:1:1: data has no source; give one of text_files, json_lines, megatron"));
  EXPECT_THAT(findings("data { seed: 2 }"),
              ElementsAre("runs/r.textproto:2:1: data has no source; give one of text_files, json_lines, megatron"));
  const auto bare = write("runs/bare.textproto", kData);
  EXPECT_THROW(
      {
        try {
          load_run_config(bare, {}, {});
        } catch (const ConfigError& error) {
          EXPECT_EQ(error.findings().size(), 1u);
          EXPECT_THAT(error.what(), HasSubstr("model is missing; name a file with model_file, or write model { ... }"));
          throw;
        }
      },
      ConfigError);
  EXPECT_THROW(
      {
        try {
          load_run_config(bare, std::vector<std::string>{"model.hidden_size=3"}, {});
        } catch (const ConfigError& error) {
          EXPECT_THAT(error.what(), HasSubstr("--set #1:1: model.num_layers is missing; it has no default"));
          throw;
        }
      },
      ConfigError);
}

TEST_F(ConfigFile, AFieldWithAFindingCausesNoSecondOne) {
  // num_experts is misspelt, so what its absence would break is not reported.
  write("models/m.textproto",
        "hidden_size: 64 num_layers: 2 num_attention_heads: 4 num_key_value_heads: 2 head_dim: 16 intermediate_size: 96\n"
        "num_expert: 8 expert_intermediate_size: 32\n");
  EXPECT_THAT(findings(std::string(kData) + "parallel { ep: 2 }"), ElementsAre(HasSubstr("unknown key \"num_expert\" in Model")));
  write("models/m.textproto", kModel);
  // After a syntax error nothing is said about what the rest of the file may have held.
  EXPECT_THAT(findings("data {"), ElementsAre(HasSubstr("got the end")));
}

TEST_F(ConfigFile, LimitsOfTheSchemaAreKept) {
  EXPECT_THAT(findings(std::string(kData) + "model { num_layers: 0 router { name: 'tokp' ema_decay: 2 } }"),
              ElementsAre("runs/r.textproto:3:9: model.num_layers = 0: at least 1 is wanted",
                          "runs/r.textproto:3:32: model.router.name = \"tokp\" is not known; choose one of topk, bip_exact",
                          "runs/r.textproto:3:45: model.router.ema_decay = 2: at most 1 is wanted"));
  EXPECT_THAT(findings(std::string(kData) + "cluster { nodes { } nodes { num_ranks: 0 } }"),
              ElementsAre("runs/r.textproto:3:29: cluster.nodes[1].num_ranks = 0: at least 1 is wanted"));
}

TEST_F(ConfigFile, ShapesOfTheModelMustFit) {
  EXPECT_THAT(
      findings(std::string(kData) + "model { num_key_value_heads: 3 num_dense_layers: 3 experts_per_token: 9\n"
                                    "expert_intermediate_size: 0 vocab_size: 258 compute_type: BFLOAT16\n"
                                    "max_position_embeddings: 2047 }"),
      ElementsAre("runs/r.textproto:3:9: model.num_key_value_heads = 3 does not divide model.num_attention_heads = 4",
                  "runs/r.textproto:3:32: model.num_dense_layers = 3 is more than model.num_layers = 2",
                  "runs/r.textproto:3:52: model.experts_per_token = 9 is more than model.num_experts = 8",
                  "runs/r.textproto:4:1: model.expert_intermediate_size = 0 with model.num_experts = 8; give the hidden width of "
                  "one expert",
                  "runs/r.textproto:4:29: model.vocab_size = 258, but the tokenizer \"byte\" has 259 tokens; at least that many "
                  "are wanted",
                  "runs/r.textproto:4:45: model.compute_type = BFLOAT16 cannot be trained yet: it needs float32 copies of the "
                  "weights, which the optimizer does not keep; choose FLOAT32, or FLOAT64 for tests",
                  "runs/r.textproto:5:1: data.max_sequence_tokens = 2048 is more than model.max_position_embeddings = 2047"));
}

TEST_F(ConfigFile, SequencesMustFitIntoAStepAndAStepOntoTheRanks) {
  EXPECT_THAT(
      findings(std::string(kData) + "scheduler { tokens_per_step: 1000 }"),
      ElementsAre("runs/r.textproto:3:13: data.max_sequence_tokens = 2048 is more than scheduler.tokens_per_step = 1000; a step "
                  "could not hold the longest sequence"));
  EXPECT_THAT(
      findings(std::string(kData) + "scheduler { token_cap_per_rank: 500 }", {}, 4),
      ElementsAre("runs/r.textproto:3:13: scheduler.token_cap_per_rank = 500 on 4 ranks holds 2000 tokens, but a micro-batch may "
                  "have 2048; at least 512 are wanted"));
  EXPECT_THAT(findings(std::string(kData) + "scheduler { token_cap_per_rank: 512 }", {}, 4), IsEmpty());
}

TEST_F(ConfigFile, UnknownNamesAreAnsweredWithTheKnownOnes) {
  EXPECT_THAT(
      findings(std::string(kData) + "scheduler { policy: 'longest' }\n"),
      ElementsAre(testing::AllOf(HasSubstr("runs/r.textproto:3:13: "), HasSubstr("longest_first"), HasSubstr("sequential"))));
  EXPECT_THAT(findings("data { text_files { folder: 'x' } tokenizer: 'bytes' }"),
              ElementsAre(testing::AllOf(HasSubstr("runs/r.textproto:2:35: "), HasSubstr("byte"))));
}

TEST_F(ConfigFile, RanksMustMatchExpertsAndCluster) {
  const std::string base = std::string(kData) + "parallel { ep: 4 }\n";
  EXPECT_THAT(findings(base, {}, 4), IsEmpty());
  EXPECT_THAT(findings(base, {}, 6),
              ElementsAre("runs/r.textproto:3:12: parallel.ep = 4 does not divide the number of ranks, 6; choose one of 1, 2"));
  EXPECT_THAT(findings(base, {"parallel.ep=3"}, 6),
              ElementsAre("--set #1:10: parallel.ep = 3 does not divide model.num_experts = 8; choose one of 1, 2"));
  EXPECT_THAT(findings(base, {"model.num_experts=0"}),
              ElementsAre("runs/r.textproto:3:12: parallel.ep = 4, but model.num_experts = 0; without experts ep is 1"));
  const std::string nodes = base + "cluster { uniform { num_nodes: 2 node { num_ranks: 2 } } }\n";
  EXPECT_THAT(findings(nodes), IsEmpty());
  EXPECT_THAT(findings(nodes, {}, 4), IsEmpty());
  EXPECT_THAT(
      findings(nodes, {"parallel.ep=2"}, 2),
      ElementsAre("runs/r.textproto:4:1: the cluster has 4 ranks on 2 nodes, but the world has 2; start 4 ranks, or name another "
                  "cluster"));
  // The cluster's own ranks count when no world is given.
  EXPECT_THAT(findings(nodes, {"cluster.uniform.num_nodes=1"}),
              ElementsAre("runs/r.textproto:3:12: parallel.ep = 4 does not divide the number of ranks, 2; choose one of 1, 2"));
  EXPECT_THAT(findings(base + "cluster { nodes { num_nics: 1 nic_of_rank: 7 } }"),
              ElementsAre(HasSubstr("runs/r.textproto:4:1: ")));
}

TEST_F(ConfigFile, HugeNumbersAreAnsweredQuickly) {
  EXPECT_THAT(findings(std::string(kData) + "model { num_experts: 9000000000000000000 } parallel { ep: 7 }"),
              ElementsAre(HasSubstr("parallel.ep = 7 does not divide")));
}

TEST_F(ConfigFile, TheResolvedRunIsAFixPoint) {
  const LoadedConfig config =
      load_run_config(run(kData), std::vector<std::string>{"generate.prompt=\"a\\n\\t'\\\"\303\244\""}, 2);
  const LoadedConfig again = parse_run_config(config.text, "resolved", 2);
  EXPECT_EQ(again.text, config.text);
  EXPECT_EQ(again.hash, config.hash);
  EXPECT_THAT(differing_fields(*config.run, *again.run), IsEmpty());
  for (const FieldOrigin& field : again.origins) EXPECT_THAT(field.origin, testing::StartsWith("resolved:")) << field.path;
}

TEST_F(ConfigFile, EveryScalarOfTheResolvedRunIsExplicit) {
  const LoadedConfig config = load_run_config(run(kData), {}, {});
  const std::function<void(const google::protobuf::Message&)> visit = [&](const google::protobuf::Message& message) {
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
      const auto& field = *message.GetDescriptor()->field(i);
      if (field.is_repeated() || !alternatives_of(field).empty() || field.name().ends_with("_file")) continue;
      EXPECT_TRUE(message.GetReflection()->HasField(message, &field)) << field.full_name();
      if (field.message_type()) visit(message.GetReflection()->GetMessage(message, &field));
    }
  };
  visit(*config.run);
}

TEST_F(ConfigFile, TheHashIsOfWhatIsComputed) {
  const LoadedConfig base = load_run_config(run(kData), {}, {});
  const auto with = [&](const std::string& assignment) { return load_run_config(run(kData), std::vector{assignment}, {}); };
  for (const std::string cosmetic : {"metrics.log_every_steps=3", "train.run_folder=elsewhere", "model.name=x", "parallel.ep=2",
                                     "cluster.uniform={num_nodes: 4}", "checkpoint.keep=9"}) {
    const LoadedConfig changed = with(cosmetic);
    EXPECT_EQ(changed.hash, base.hash) << cosmetic;
    const auto differences = differing_fields(*base.run, *changed.run);
    ASSERT_FALSE(differences.empty()) << cosmetic;
    for (const FieldDifference& field : differences) EXPECT_TRUE(field.is_cosmetic) << field.path;
  }
  for (const std::string matters : {"model.num_layers=3", "data.seed=2", "optim.learning_rate=0.002", "train.seed=4",
                                    "scheduler.tokens_per_step=4096", "model.router.name=topk"}) {
    const LoadedConfig changed = with(matters);
    EXPECT_NE(changed.hash, base.hash) << matters;
    const auto differences = differing_fields(*base.run, *changed.run);
    ASSERT_EQ(differences.size(), 1u);
    EXPECT_EQ(differences[0].path, matters.substr(0, matters.find('=')));
    EXPECT_FALSE(differences[0].is_cosmetic);
  }
}

TEST_F(ConfigFile, DifferencesNameWhatOneSideLacks) {
  const LoadedConfig left = load_run_config(run(kData), {}, {});
  const LoadedConfig right = load_run_config(run("data { json_lines { path: 'y' } }"), {}, {});
  std::vector<std::string> shown;
  for (const FieldDifference& field : differing_fields(*left.run, *right.run)) {
    shown.push_back(fmt::format("{}: {} | {}", field.path, field.left, field.right));
  }
  EXPECT_THAT(shown, ElementsAre("data.text_files.folder: \"x\" | ", "data.text_files.glob: \"**/*\" | ",
                                 "data.text_files.max_file_bytes: 67108864 | ", "data.json_lines.path:  | \"y\"",
                                 "data.json_lines.text_key:  | \"text\""));
}

TEST_F(ConfigFile, ModelAndClusterAloneAreEnoughForPlanning) {
  const auto cluster = write("c.textproto", "uniform { num_nodes: 3 node { num_ranks: 2 } }");
  const LoadedConfig config =
      load_config({.model_file = folder_ / "models/m.textproto", .cluster_file = cluster, .set = {"model.num_layers=5"}});
  EXPECT_EQ(config.run->model().num_layers(), 5);
  EXPECT_EQ(config.run->cluster().uniform().num_nodes(), 3);
  // In place of those of a run.
  const auto path = run(std::string(kData) + "model { num_layers: 9 } cluster { nodes { num_ranks: 9 } nodes { } name: 'run' }");
  const auto other = write("models/o.textproto", std::string(kModel) + "num_dense_layers: 2");
  const LoadedConfig replaced = load_config({.run_file = path, .model_file = other, .cluster_file = cluster});
  EXPECT_EQ(replaced.run->model().num_layers(), 2);
  EXPECT_EQ(replaced.run->model().num_dense_layers(), 2);
  EXPECT_EQ(replaced.run->cluster().nodes_size(), 0);
  EXPECT_EQ(replaced.run->cluster().name(), "");
  // A damaged one is still named.
  EXPECT_THROW(load_config({.model_file = folder_ / "none", .cluster_file = cluster}), std::invalid_argument);
}

TEST(Schema, DefaultsKeepTheirOwnLimits) {
  const std::function<void(const google::protobuf::Descriptor&)> visit = [&](const google::protobuf::Descriptor& message) {
    for (int i = 0; i < message.field_count(); ++i) {
      const auto& field = *message.field(i);
      EXPECT_FALSE(field.is_map()) << field.full_name();
      EXPECT_TRUE(field.is_optional() || field.is_repeated()) << field.full_name();
      if (field.message_type()) {
        visit(*field.message_type());
        continue;
      }
      const auto& options = field.options();
      const bool is_number = field.cpp_type() <= google::protobuf::FieldDescriptor::CPPTYPE_FLOAT;
      const bool is_text = field.cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_STRING;
      EXPECT_TRUE(is_number || !(options.HasExtension(schema::min) || options.HasExtension(schema::max))) << field.full_name();
      EXPECT_TRUE(is_text || options.ExtensionSize(schema::choice) == 0) << field.full_name();
      if (field.enum_type()) {
        EXPECT_EQ(field.enum_type()->value(0)->number(), 0);
        EXPECT_TRUE(field.enum_type()->value(0)->name().ends_with("_UNSPECIFIED")) << field.enum_type()->full_name();
      }
    }
  };
  visit(*schema::RunConfig::descriptor());
  // A model that is given in full, all else default.
  const LoadedConfig config = parse_run_config(std::string("model { ") + kModel + "} " + kData, "defaults", {});
  EXPECT_FALSE(config.text.empty());
}

}  // namespace
}  // namespace ballast::launch
