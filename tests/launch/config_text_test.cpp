#include "launch/config_text.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <functional>

#include "launch/resolved_config.h"
#include "runtime/train/run_config.pb.h"

namespace ballast::launch {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> lines_of(const ConfigReading& reading) {
  std::vector<std::string> lines;
  for (const ConfigFinding& finding : reading.findings()) lines.push_back(finding.to_string());
  return lines;
}

/// Findings of one file.
std::vector<std::string> findings_in(const std::string& text) {
  schema::RunConfig run;
  ConfigReading reading;
  read_config_text(text, "f", run, "", reading);
  return lines_of(reading);
}

/// Findings of one assignment over an empty run with one node.
std::vector<std::string> findings_of_set(const std::string& assignment, schema::RunConfig* result = nullptr) {
  schema::RunConfig run;
  run.mutable_cluster()->add_nodes();
  ConfigReading reading;
  read_config_assignment(assignment, 1, run, reading);
  if (result) *result = run;
  return lines_of(reading);
}

/// Calls `visit` with every message type below the run, the text that opens it and its path as --set writes it.
void visit_messages(const Descriptor& message, const std::string& opening, const std::string& path,
                    const std::function<void(const Descriptor&, const std::string&, const std::string&)>& visit) {
  visit(message, opening, path);
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    if (!field.message_type()) continue;
    visit_messages(*field.message_type(), opening + field.name() + " { ",
                   field_path(path, field.name()) + (field.is_repeated() ? "[0]" : ""), visit);
  }
}

/// The name with one mistake that does not make it another field's name.
std::string misspelt(const std::string& name, const Descriptor& message) {
  for (std::size_t i = 0; i + 1 < name.size(); ++i) {
    std::string wrong = name;
    std::swap(wrong[i], wrong[i + 1]);
    if (wrong != name && !message.FindFieldByName(wrong)) return wrong;
  }
  return name + name.back();
}

TEST(ConfigText, EveryFieldOfEveryMessageMisspeltIsMetWithItsNameAndPosition) {
  int num_fields = 0;
  visit_messages(*schema::RunConfig::descriptor(), "", "",
                 [&](const Descriptor& message, const std::string& opening, const std::string& path) {
                   for (int i = 0; i < message.field_count(); ++i) {
                     const std::string& right = message.field(i)->name();
                     const std::string wrong = misspelt(right, message);
                     const std::string closing(std::count(opening.begin(), opening.end(), '{'), '}');
                     const std::string text = fmt::format("# a comment\n\n{}{}: 1 {}\n", opening, wrong, closing);
                     const auto found = findings_in(text);
                     ASSERT_EQ(found.size(), 1u) << text;
                     EXPECT_THAT(found[0], testing::StartsWith(fmt::format("f:3:{}: unknown key \"{}\" in {}; did you mean ",
                                                                           opening.size() + 1, wrong, message.name())));
                     EXPECT_THAT(found[0], HasSubstr(fmt::format("\"{}\"", right)));

                     const auto set = findings_of_set(field_path(path, wrong) + "=1");
                     ASSERT_EQ(set.size(), 1u);
                     EXPECT_THAT(set[0], testing::StartsWith(fmt::format("--set #1:{}: unknown key \"{}\"",
                                                                         path.empty() ? 1 : path.size() + 2, wrong)));
                     EXPECT_THAT(set[0], HasSubstr(fmt::format("\"{}\"", right)));
                     ++num_fields;
                   }
                 });
  EXPECT_GT(num_fields, 70);
}

TEST(ConfigText, UnknownKeysAreAllFoundAndTheirValuesPassedOver) {
  EXPECT_THAT(
      findings_in("optim {\n  lr_schedule { warmpu_steps: 20 }\n  zzz { a: [1, {b: 2}] c < d: 'x' > }\n}\n"
                  "data { learning_rate: -1.5e3, foo: [] seed: 2 }\n"),
      ElementsAre("f:2:17: unknown key \"warmpu_steps\" in LrSchedule; did you mean \"warmup_steps\"?",
                  "f:3:3: unknown key \"zzz\" in Optim", "f:5:8: unknown key \"learning_rate\" in Data; it belongs in \"optim\"",
                  "f:5:31: unknown key \"foo\" in Data"));
}

TEST(ConfigText, ANameOfAnotherMessageIsSentThere) {
  EXPECT_THAT(findings_in("train { model { } }"),
              ElementsAre("f:1:9: unknown key \"model\" in Train; it belongs in the top level"));
  EXPECT_THAT(findings_in("seed: 3"),
              ElementsAre("f:1:1: unknown key \"seed\" in RunConfig; it belongs in \"data\" or \"train\" or "
                          "\"generate\""));
}

TEST(ConfigText, TabsAdvanceToTheNextMultipleOfEight) {
  EXPECT_THAT(findings_in("\tfoo: 1\n  \tbar: 2\noptim {\tbax: 3 }"),
              ElementsAre("f:1:9: unknown key \"foo\" in RunConfig", "f:2:9: unknown key \"bar\" in RunConfig",
                          "f:3:9: unknown key \"bax\" in Optim"));
}

TEST(ConfigText, WrongValuesAreAllFound) {
  EXPECT_THAT(
      findings_in("optim { learning_rate: fast\n beta1: nan\n beta2: -inf\n eps: 1e999\n weight_decay: 1.5f\n clip_norm: 010 }\n"
                  "train { seed: -1\n total_tokens: 2k\n stop_after_steps: 1.0\n run_folder: runs/x\n stop_after_seconds: '3' }\n"
                  "model { use_qk_norm: 1\n compute_type: FLOAT16\n tie_word_embeddings: True }\n"
                  "checkpoint { keep: 3000000000 }\n"
                  "data: 3\n"
                  "scheduler { policy { } }\n"
                  "cluster { nodes { nic_of_rank: [0, x, 2,] } }\n"),
      ElementsAre("f:1:9: optim.learning_rate: expected a number, got \"fast\"",
                  "f:2:2: optim.beta1: expected a finite number, got \"nan\"",
                  "f:3:2: optim.beta2: expected a finite number, got \"-inf\"",
                  "f:4:2: optim.eps: expected a number that a 64-bit float can hold, got \"1e999\"",
                  "f:5:2: optim.weight_decay: expected a number, got \"1.5f\"",
                  "f:6:2: optim.clip_norm: expected a number without leading zeros (protobuf would read octal), got \"010\"",
                  "f:7:9: train.seed: expected an integer of at least 0, got \"-1\"",
                  "f:8:2: train.total_tokens: expected an integer, got \"2k\"",
                  "f:9:2: train.stop_after_steps: expected an integer, got \"1.0\"",
                  "f:10:2: train.run_folder: expected a string in quotes, got \"runs/x\"",
                  "f:11:2: train.stop_after_seconds: expected a number, got the string \"3\"",
                  "f:12:9: model.use_qk_norm: expected true or false, got \"1\"",
                  "f:13:2: model.compute_type: expected one of FLOAT32, FLOAT64, BFLOAT16, got \"FLOAT16\"",
                  "f:14:2: model.tie_word_embeddings: expected true or false, got \"True\"",
                  "f:15:14: checkpoint.keep: expected an integer from -2147483648 to 2147483647, got \"3000000000\"",
                  "f:16:1: data: expected { fields of Data }, got \"3\"",
                  "f:17:13: scheduler.policy: expected one value, got \"{\"",
                  "f:18:36: cluster.nodes[0].nic_of_rank: expected an integer, got \"x\"",
                  "f:18:41: cluster.nodes[0].nic_of_rank: expected an integer, got nothing"));
}

TEST(ConfigText, TheUnspecifiedEnumValueAndNumbersOfEnumsAreNoAnswer) {
  EXPECT_THAT(findings_in("model { compute_type: COMPUTE_TYPE_UNSPECIFIED }"), ElementsAre(HasSubstr("expected one of FLOAT32")));
  EXPECT_THAT(findings_in("model { compute_type: 1 }"), ElementsAre(HasSubstr("expected one of FLOAT32")));
}

TEST(ConfigText, RepetitionsAndExclusivesAreRefusedWithinAFile) {
  EXPECT_THAT(findings_in("train { seed: 0\n seed: 3 }\ntrain { }\n"),
              ElementsAre("f:2:2: train.seed is given twice; first in line 1", "f:3:1: train is given twice; first in line 1"));
  EXPECT_THAT(findings_in("data { json_lines { path: 'a' }\n text_files { folder: 'b' } }"),
              ElementsAre("f:2:2: data.text_files is given beside data.json_lines of line 1; keep one of them"));
  EXPECT_THAT(findings_in("cluster { nodes { }\n uniform { } }"),
              ElementsAre("f:2:2: cluster.uniform is given beside cluster.nodes of line 1; keep one of them"));
  EXPECT_THAT(findings_in("cluster { uniform { } nodes { } }"), ElementsAre(HasSubstr("keep one of them")));
}

TEST(ConfigText, ASyntaxErrorEndsTheFileAndSaysWhere) {
  EXPECT_THAT(findings_in("foo: 1\noptim { beta1 0.9 }\nbar: 2"),
              ElementsAre("f:1:1: unknown key \"foo\" in RunConfig", "f:2:15: expected \":\" after \"beta1\", got \"0.9\""));
  EXPECT_THAT(findings_in("optim {\n  beta1: 0.9\n"),
              ElementsAre("f:3:1: expected the name of a field or \"}\" at the end of optim, got the end"));
  EXPECT_THAT(findings_in("}"), ElementsAre("f:1:1: expected the name of a field, got \"}\""));
  EXPECT_THAT(findings_in("[ext.x]: 3"), ElementsAre("f:1:1: expected the name of a field, got \"[\""));
  EXPECT_THAT(findings_in("train { run_folder: \"a\n\" }"), ElementsAre(HasSubstr("f:1:23: ")));
  EXPECT_THAT(findings_in("cluster { nodes { nic_of_rank: [0 1] } }"),
              ElementsAre("f:1:35: expected \",\" or \"]\" in the list cluster.nodes[0].nic_of_rank, got \"1\""));
}

TEST(ConfigText, DepthAndSizeAreBounded) {
  std::string deep;
  for (int i = 0; i < 3000; ++i) deep += "a { ";
  EXPECT_THAT(findings_in(deep), ElementsAre(testing::_, HasSubstr("nested more than 32 deep")));
  std::string lists = "a: ";
  lists += std::string(100000, '[');
  EXPECT_THAT(findings_in(lists), ElementsAre(testing::_, HasSubstr("nested more than 32 deep")));
  EXPECT_THAT(findings_in(std::string(1 << 20, ' ')), IsEmpty());
  EXPECT_THAT(findings_in(std::string((1 << 20) + 1, ' ')),
              ElementsAre("f:1:1: the file has 1048577 bytes; a config has at most 1048576"));
}

TEST(ConfigText, LaterSourcesReplaceScalarsAndListsAndMergeMessages) {
  schema::RunConfig run;
  ConfigReading reading;
  read_config_text(
      "cluster { name: 'a' message_seconds: 1 nodes { num_ranks: 2 } nodes { num_ranks: 3 } } data { json_lines {} }", "f", run,
      "", reading);
  read_config_text("cluster { name: 'b' nodes { num_ranks: 4 } } data { text_files { folder: 'x' } }", "g", run, "", reading);
  EXPECT_THAT(lines_of(reading), IsEmpty());
  EXPECT_EQ(run.cluster().name(), "b");
  EXPECT_EQ(run.cluster().message_seconds(), 1);
  ASSERT_EQ(run.cluster().nodes_size(), 1);
  EXPECT_EQ(run.cluster().nodes(0).num_ranks(), 4);
  EXPECT_EQ(run.data().source_case(), schema::Data::kTextFiles);
  EXPECT_EQ(reading.positions.at("cluster.nodes[0].num_ranks"), (Position{1, 1, 29}));
  EXPECT_EQ(reading.positions.at("cluster.message_seconds"), (Position{0, 1, 21}));
  EXPECT_FALSE(reading.positions.contains("cluster.nodes[1].num_ranks"));
  EXPECT_FALSE(reading.positions.contains("data.json_lines"));

  read_config_text("cluster { uniform { num_nodes: 5 } }", "h", run, "", reading);
  EXPECT_EQ(run.cluster().nodes_size(), 0);
  EXPECT_FALSE(reading.positions.contains("cluster.nodes[0].num_ranks"));
}

TEST(ConfigAssignment, ReachesEveryKindOfField) {
  schema::RunConfig run;
  EXPECT_THAT(findings_of_set("optim.lr_schedule.warmup_steps=7", &run), IsEmpty());
  EXPECT_EQ(run.optim().lr_schedule().warmup_steps(), 7);
  EXPECT_THAT(findings_of_set("cluster.nodes[0].num_ranks=3", &run), IsEmpty());
  EXPECT_EQ(run.cluster().nodes(0).num_ranks(), 3);
  EXPECT_THAT(findings_of_set("cluster.nodes[0].nic_of_rank=[0, 1]", &run), IsEmpty());
  EXPECT_EQ(run.cluster().nodes(0).nic_of_rank_size(), 2);
  EXPECT_THAT(findings_of_set("data.text_files={folder: 'x' glob: 'y'}", &run), IsEmpty());
  EXPECT_EQ(run.data().text_files().glob(), "y");
  EXPECT_THAT(findings_of_set("model.compute_type=FLOAT64", &run), IsEmpty());
  EXPECT_EQ(run.model().compute_type(), schema::FLOAT64);
  EXPECT_THAT(findings_of_set("model.use_qk_norm=false", &run), IsEmpty());
  EXPECT_FALSE(run.model().use_qk_norm());
}

TEST(ConfigAssignment, QuotesOfAStringMayBeLeftOut) {
  schema::RunConfig run;
  for (const std::string value : {"a b=c/{d}#e", "\"a b=c/{d}#e\"", "'a b=c/{d}#e'"}) {
    EXPECT_THAT(findings_of_set("data.text_files.folder=" + value, &run), IsEmpty());
    EXPECT_EQ(run.data().text_files().folder(), "a b=c/{d}#e");
  }
  EXPECT_THAT(findings_of_set("generate.prompt=", &run), IsEmpty());
  EXPECT_TRUE(run.generate().has_prompt());
}

TEST(ConfigAssignment, ReachingIntoAnAlternativeChoosesIt) {
  schema::RunConfig run;
  ConfigReading reading;
  read_config_text("data { json_lines { path: 'x' } }", "f", run, "", reading);
  read_config_assignment("data.text_files.folder=y", 1, run, reading);
  EXPECT_THAT(lines_of(reading), IsEmpty());
  EXPECT_EQ(run.data().source_case(), schema::Data::kTextFiles);
  EXPECT_FALSE(reading.positions.contains("data.json_lines.path"));
}

TEST(ConfigAssignment, FindingsNameTheAssignmentAndTheColumn) {
  EXPECT_THAT(findings_of_set("train.total_tokens=2k"),
              ElementsAre("--set #1:7: train.total_tokens: expected an integer, got \"2k\""));
  EXPECT_THAT(findings_of_set("train.total_tokens="),
              ElementsAre("--set #1:7: train.total_tokens: expected an integer, got nothing"));
  EXPECT_THAT(findings_of_set("train.total_tokens=1 2"), ElementsAre("--set #1:22: expected the end of the value, got \"2\""));
  EXPECT_THAT(findings_of_set("optim={beta1: 0.5 bta2: 1}"),
              ElementsAre("--set #1:19: unknown key \"bta2\" in Optim; did you mean \"beta2\"?"));
  EXPECT_THAT(
      findings_of_set("cluster.nodes[1].num_ranks=2"),
      ElementsAre("--set #1:9: cluster.nodes is a list of 1; name one entry of it as cluster.nodes[index], counted from 0"));
  EXPECT_THAT(findings_of_set("cluster.nodes.num_ranks=2"), ElementsAre(HasSubstr("name one entry of it")));
  EXPECT_THAT(findings_of_set("optim[0].beta1=2"), ElementsAre("--set #1:1: optim is not a list; leave [0] out"));
  EXPECT_THAT(findings_of_set("optim.beta1.x=2"),
              ElementsAre("--set #1:7: optim.beta1 has no fields; it is set as optim.beta1=value"));
  EXPECT_THAT(findings_of_set("cluster.nodes[0]={}"), ElementsAre(HasSubstr("set the whole list, cluster.nodes=[...]")));
  for (const std::string wrong :
       {"", "x", "=", "=3", ".a=1", "a.=1", "a[=1", "a[x].b=1", "a[-1].b=1", "a[1]b.c=1", "a[99999999999].b=1"}) {
    EXPECT_THAT(findings_of_set(wrong), ElementsAre(HasSubstr("--set #1:1: expected path=value"))) << wrong;
  }
}

/// Gives every field of a message a random value; lists get up to two entries.
void fill_randomly(Message& message) {
  const Reflection& reflection = *message.GetReflection();
  const Descriptor& descriptor = *message.GetDescriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    if (!alternatives_of(field).empty() && *rc::gen::arbitrary<bool>()) continue;
    if (field.is_repeated()) {
      for (int entry = *rc::gen::inRange(0, 3); entry > 0; --entry) {
        if (field.message_type()) {
          fill_randomly(*reflection.AddMessage(&message, &field));
        } else {
          reflection.AddInt32(&message, &field, *rc::gen::arbitrary<std::int32_t>());
        }
      }
      continue;
    }
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        reflection.SetInt32(&message, &field, *rc::gen::arbitrary<std::int32_t>());
        break;
      case FieldDescriptor::CPPTYPE_INT64:
        reflection.SetInt64(&message, &field, *rc::gen::arbitrary<std::int64_t>());
        break;
      case FieldDescriptor::CPPTYPE_UINT64:
        reflection.SetUInt64(&message, &field, *rc::gen::arbitrary<std::uint64_t>());
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        reflection.SetDouble(&message, &field, *rc::gen::arbitrary<double>());
        break;
      case FieldDescriptor::CPPTYPE_BOOL:
        reflection.SetBool(&message, &field, *rc::gen::arbitrary<bool>());
        break;
      case FieldDescriptor::CPPTYPE_STRING:
        reflection.SetString(&message, &field, *rc::gen::arbitrary<std::string>());
        break;
      case FieldDescriptor::CPPTYPE_ENUM:
        reflection.SetEnumValue(&message, &field, *rc::gen::inRange(1, field.enum_type()->value_count()));
        break;
      case FieldDescriptor::CPPTYPE_MESSAGE:
        fill_randomly(*reflection.MutableMessage(&message, &field));
        break;
      default:
        FAIL() << "no random value for " << field.full_name();
    }
  }
}

/// Alternatives that are both there cannot be written as text.
void drop_exclusives(schema::RunConfig& run) {
  if (run.cluster().nodes_size() > 0) run.mutable_cluster()->clear_uniform();
}

TEST(ConfigText, WhatIsPrintedIsReadBackAndProtobufAgrees) {
  EXPECT_TRUE(rc::check([] {
    schema::RunConfig run;
    fill_randomly(run);
    drop_exclusives(run);
    const std::string text = config_text(run);
    schema::RunConfig ours;
    ConfigReading reading;
    read_config_text(text, "f", ours, "", reading);
    RC_ASSERT(lines_of(reading) == std::vector<std::string>());
    schema::RunConfig theirs;
    RC_ASSERT(google::protobuf::TextFormat::ParseFromString(text, &theirs));
    RC_ASSERT(google::protobuf::util::MessageDifferencer::Equals(ours, run));
    RC_ASSERT(google::protobuf::util::MessageDifferencer::Equals(ours, theirs));
  }));
}

TEST(ConfigText, DamagedTextIsRefusedOrReadAsProtobufReadsIt) {
  EXPECT_TRUE(rc::check([] {
    schema::RunConfig run;
    fill_randomly(run);
    drop_exclusives(run);
    std::string text = config_text(run);
    for (int edits = *rc::gen::inRange(1, 4); edits > 0 && !text.empty(); --edits) {
      const std::size_t at = *rc::gen::inRange<std::size_t>(0, text.size());
      switch (*rc::gen::inRange(0, 3)) {
        case 0:
          text.erase(at, *rc::gen::inRange<std::size_t>(1, 20));
          break;
        case 1:
          text[at] =
              *rc::gen::element('{', '}', '[', ']', '<', '>', ':', ',', '"', '\\', '0', '-', 'e', ' ', '\n', '\0', '\xff', '#');
          break;
        default:
          text.insert(at, text.substr(*rc::gen::inRange<std::size_t>(0, text.size()), 15));
      }
    }
    schema::RunConfig ours;
    ConfigReading reading;
    read_config_text(text, "f", ours, "", reading);
    if (!lines_of(reading).empty()) return;
    schema::RunConfig theirs;
    google::protobuf::TextFormat::Parser parser;
    RC_ASSERT(parser.ParseFromString(text, &theirs));
    RC_ASSERT(google::protobuf::util::MessageDifferencer::Equals(ours, theirs));
  }));
}

}  // namespace
}  // namespace ballast::launch
