#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <sstream>

#include "build_constants.h"
#include "launch/command.h"

namespace ballast::launch {
namespace {

using testing::HasSubstr;

/// Flags that may exist; whatever else a component needs is a field of its config message.
const std::set<std::string> kAllowedFlags = {"--set",     "--json",    "--world",  "--out",    "--help",
                                             "--version", "--resume",  "--policy", "--report", "--cluster",
                                             "--model",   "--lengths", "--format", "--bench",  "--topology"};

Invocation parse(const std::vector<std::string>& arguments) {
  static std::ostringstream output;
  return parse_command_line(arguments, output, output);
}

std::string refusal(const std::vector<std::string>& arguments) {
  try {
    parse(arguments);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "not refused";
}

std::set<std::string> flags_in(const std::string& text) {
  static const std::regex flag("(^|[^a-z])(--?[a-z][a-z-]*)");
  std::set<std::string> flags;
  for (std::sregex_iterator it(text.begin(), text.end(), flag), end; it != end; ++it) flags.insert((*it)[2]);
  return flags;
}

/// As many words as the usage line asks for at least.
std::vector<std::string> fitting_arguments(const Command& command) {
  std::vector<std::string> arguments = {std::string(command.name)};
  static const std::regex required("<[^>]*>|\\[[^\\]]*\\]|[^ ]+");
  const std::string usage(command.arguments);
  for (std::sregex_iterator it(usage.begin(), usage.end(), required), end; it != end; ++it) {
    if (it->str()[0] != '[') arguments.push_back("x");
  }
  return arguments;
}

TEST(CommandLine, NoFlagsBesidesTheFixedOnes) {
  std::set<std::string> used = flags_in(parse({"--help"}).text);
  for (const Command& command : commands()) used.merge(flags_in(parse({std::string(command.name), "--help"}).text));
  for (const std::string& flag : used) EXPECT_TRUE(kAllowedFlags.contains(flag)) << flag;
}

TEST(CommandLine, HelpAndParserAgree) {
  const std::set<std::string> switches = {"--json", "--resume", "--bench", "--topology"};
  for (const Command& command : commands()) {
    const std::set<std::string> helped = flags_in(parse({std::string(command.name), "--help"}).text);
    for (const std::string& flag : kAllowedFlags) {
      if (flag == "--help" || flag == "--version") continue;
      std::vector<std::string> arguments = fitting_arguments(command);
      arguments.push_back(flag);
      if (!switches.contains(flag)) arguments.push_back("3");
      if (helped.contains(flag)) {
        EXPECT_EQ(refusal(arguments), "not refused") << command.name << " " << flag;
      } else {
        EXPECT_THAT(refusal(arguments), HasSubstr("The following argument")) << command.name << " " << flag;
      }
    }
  }
}

TEST(CommandLine, FlagsReachTheirMembers) {
  const Invocation invocation = parse({"config", "--set", "a.b=1", "show", "--set", "c=-2", "run", "--world", "8", "--json"});
  EXPECT_EQ(invocation.command->name, "config");
  EXPECT_THAT(invocation.line.arguments, testing::ElementsAre("show", "run"));
  EXPECT_THAT(invocation.line.set, testing::ElementsAre("a.b=1", "c=-2"));
  EXPECT_EQ(invocation.line.world, 8);
  EXPECT_TRUE(invocation.line.json);
  EXPECT_TRUE(invocation.text.empty());
  EXPECT_TRUE(parse({"train", "run", "--resume"}).line.resume);
  EXPECT_FALSE(parse({"train", "run"}).line.resume);
  EXPECT_FALSE(parse({"train", "run"}).line.world.has_value());
}

TEST(CommandLine, WrongLinesAreExplained) {
  EXPECT_THAT(refusal({}), HasSubstr("no command given"));
  EXPECT_THAT(refusal({"trian"}), HasSubstr("unknown command \"trian\"; choose one of train, eval"));
  EXPECT_THAT(refusal({"train", "run", "--learning-rate", "3"}),
              testing::AllOf(HasSubstr("--learning-rate"), HasSubstr("see ballast train --help"), HasSubstr("--set path=value")));
  EXPECT_THAT(refusal({"train", "-h"}), HasSubstr("-h"));
  EXPECT_THAT(refusal({"config", "check", "x", "--world", "0"}), HasSubstr("--world: Value 0 not in range 1 to 1048576"));
  EXPECT_THAT(refusal({"config", "check", "x", "--world", "many"}), HasSubstr("--world"));
  EXPECT_THAT(refusal({"train", "run", "--set"}), HasSubstr("--set"));
}

TEST(CommandLine, TheUsageLineIsTheRuleForArguments) {
  EXPECT_EQ(refusal({"train"}), "usage: ballast train <run.textproto>; got 0 arguments");
  EXPECT_EQ(refusal({"train", "a", "b"}), "usage: ballast train <run.textproto>; got 2 arguments");
  EXPECT_THAT(refusal({"config"}), HasSubstr("got 0 arguments"));
  EXPECT_EQ(refusal({"config", "diff", "a", "b"}), "not refused");
  EXPECT_EQ(refusal({"doctor"}), "not refused");
  EXPECT_EQ(refusal({"doctor", "a"}), "not refused");
  EXPECT_THAT(refusal({"doctor", "a", "b"}), HasSubstr("got 2 arguments"));
}

TEST(CommandLine, VersionNamesCommitAndBuild) {
  EXPECT_THAT(parse({"--version"}).text,
              testing::StartsWith(fmt::format("ballast {} ({}, {}", build::kVersion, build::kCommit, build::kBuildType)));
}

TEST(CommandLine, TheOverviewListsEveryCommand) {
  const std::string text = parse({"--help"}).text;
  for (const Command& command : commands()) {
    EXPECT_THAT(text, HasSubstr(fmt::format("\n  {} ", command.name)));
    EXPECT_THAT(text, HasSubstr(std::string(command.summary)));
  }
}

}  // namespace
}  // namespace ballast::launch
