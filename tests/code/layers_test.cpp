// Who may include whom. Arrows point down: launch, runtime, then kernels and scheduler, which do not know each other.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/code/source_tree.h"

namespace ballast::code {
namespace {

using Folders = std::set<std::string>;

// What each folder may include of ours, itself aside.
const std::map<std::string, Folders> kBelow = {
    {"scheduler", {}},
    {"kernels", {}},
    {"runtime/comm", {"scheduler"}},
    {"runtime/data", {"runtime/comm", "scheduler"}},
    {"runtime/checkpoint", {"runtime/comm", "scheduler"}},
    {"runtime/metrics", {"runtime/comm", "scheduler"}},
    {"runtime/model", {"runtime/comm", "runtime/metrics", "kernels", "scheduler"}},
    {"runtime/optim", {"runtime/comm", "runtime/model", "kernels", "scheduler"}},
    {"runtime/train",
     {"runtime/comm", "runtime/data", "runtime/checkpoint", "runtime/metrics", "runtime/model", "runtime/optim", "runtime/eval",
      "runtime/generate", "kernels", "scheduler"}},
    {"runtime/eval",
     {"runtime/comm", "runtime/data", "runtime/metrics", "runtime/model", "runtime/train", "kernels", "scheduler"}},
    {"runtime/generate", {"runtime/comm", "runtime/data", "runtime/model", "runtime/train", "kernels", "scheduler"}},
    {"runtime/export", {"runtime/checkpoint", "runtime/data", "runtime/model", "kernels", "scheduler"}},
    {"launch",
     {"runtime/comm", "runtime/data", "runtime/checkpoint", "runtime/metrics", "runtime/model", "runtime/optim", "runtime/train",
      "runtime/eval", "runtime/generate", "runtime/export", "kernels", "scheduler"}},
};
const Folders kWithTorch = {"kernels",      "runtime/model",    "runtime/optim", "runtime/train",
                            "runtime/eval", "runtime/generate", "runtime/export"};
// What the executable `ballast` is made of: launch without the files of `ballast-runtime`.
const std::regex kRuntimeExecutable(
    R"(launch/(runtime_main|runtime_commands|open_trained_model|any_world_config|commands/(train|eval|generate|bench|doctor|export)\w*)\.(h|cpp))");

bool starts_with_folder(const std::string& path, const std::string& folder) { return path.rfind(folder + "/", 0) == 0; }

// The row of kBelow that a path belongs to; empty for a file that is not ours.
std::string folder_of(const std::string& path) {
  for (const auto& [folder, below] : kBelow) {
    if (starts_with_folder(path, folder)) return folder;
  }
  return "";
}

/// Why `file` may not include `header`; empty when it may.
std::string objection(const std::string& file, const std::string& header) {
  const std::string from = folder_of(file);
  const std::string to = folder_of(header);
  const bool is_generated = header.ends_with(".pb.h");
  const bool is_torch = std::regex_search(header, std::regex("^(ATen|c10|torch|caffe2)/"));
  const bool is_light_launch = from == "launch" && !std::regex_match(file, kRuntimeExecutable);

  if (header == "mpi.h" || header == "nccl.h") return from == "runtime/comm" ? "" : "only runtime/comm names MPI or NCCL";
  if (header == "torch/torch.h") return "takes 30 s to compile; include ATen/core/Tensor.h and ATen/ops/<op>.h";
  if (is_torch && !kWithTorch.contains(from)) return from + " is torch-free";
  if (is_generated || header.rfind("google/protobuf", 0) == 0) {
    if (from == "scheduler" && !file.ends_with("_io.cpp")) return "in scheduler only *_io.cpp sees protobuf";
    if (file.ends_with(".h") && !file.ends_with("_io.h") && from != "launch") return "generated headers stay out of headers";
    return "";
  }
  if (from.empty() || to.empty() || from == to) return "";
  if (!kBelow.at(from).contains(to)) return from + " may not include " + to;
  if (is_light_launch && kWithTorch.contains(to)) return "the executable ballast is built without torch";
  return "";
}

TEST(Layers, EveryIncludePointsDown) {
  static const std::regex include(R"(^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"])", std::regex::multiline);
  std::int64_t num_includes = 0;
  for (const SourceFile& file : source_files()) {
    if (!std::regex_search(file.path, std::regex(R"(^(scheduler|kernels|runtime|launch)/.*\.(h|cpp|cu|cuh)$)"))) continue;
    for (std::sregex_iterator it(file.text.begin(), file.text.end(), include), end; it != end; ++it, ++num_includes) {
      const std::string why = objection(file.path, (*it)[1]);
      EXPECT_EQ(why, "") << file.path << ":" << line_of(file.text, it->position(1)) << ": #include " << (*it)[1];
    }
  }
  EXPECT_GT(num_includes, 0);
}

TEST(Layers, EveryFolderHasItsRule) {
  for (const SourceFile& file : source_files()) {
    if (!std::regex_search(file.path, std::regex(R"(^(scheduler|kernels|runtime|launch)/.*\.(h|cpp|cu|cuh)$)"))) continue;
    EXPECT_NE(folder_of(file.path), "") << file.path << ": add its folder to the table of this test";
    EXPECT_FALSE(std::regex_search(file.path, std::regex("(^|[/_])(utils?|common|helpers?|misc)([/_.]|$)")))
        << file.path << ": a helper lives with the thing that it helps and is named after it";
  }
}

TEST(Layers, TheRuleObjects) {
  EXPECT_NE(objection("scheduler/plan/plan.h", "mpi.h"), "");
  EXPECT_NE(objection("scheduler/plan/plan.h", "ATen/core/Tensor.h"), "");
  EXPECT_NE(objection("scheduler/plan/plan.cpp", "runtime/comm/communicator.h"), "");
  EXPECT_NE(objection("scheduler/plan/plan.h", "scheduler/plan/plan.pb.h"), "");
  EXPECT_NE(objection("kernels/rms_norm/rms_norm.cpp", "runtime/model/parameter_set.h"), "");
  EXPECT_NE(objection("kernels/rms_norm/rms_norm.cpp", "scheduler/plan/plan.h"), "");
  EXPECT_NE(objection("runtime/model/transformer.cpp", "runtime/train/plan_runner.h"), "");
  EXPECT_NE(objection("runtime/train/train_loop.cpp", "mpi.h"), "");
  EXPECT_NE(objection("runtime/data/source.cpp", "ATen/core/Tensor.h"), "");
  EXPECT_NE(objection("runtime/train/train_loop.cpp", "launch/config_file.h"), "");
  EXPECT_NE(objection("launch/commands/plan.cpp", "runtime/train/train_loop.h"), "");
  EXPECT_NE(objection("runtime/model/attention_layer.cpp", "torch/torch.h"), "");
  EXPECT_EQ(objection("runtime/comm/mpi_communicator.cpp", "mpi.h"), "");
  EXPECT_EQ(objection("launch/commands/train.cpp", "runtime/train/train_loop.h"), "");
  EXPECT_EQ(objection("scheduler/plan/plan_io.cpp", "scheduler/plan/plan.pb.h"), "");
}

}  // namespace
}  // namespace ballast::code
