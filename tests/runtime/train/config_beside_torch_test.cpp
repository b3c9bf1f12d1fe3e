// Debian's protobuf and LibTorch in one process: LibTorch brings a protobuf of its own, and the two must not meet.
#include <ATen/core/Tensor.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "launch/config_docs.h"
#include "launch/config_file.h"
#include "runtime/train/run_config.pb.h"

namespace ballast::train {
namespace {

TEST(ConfigBesideTorch, ProtobufTextWorksBeforeAndAfterTorchIsUsed) {
  const std::string run = BALLAST_SOURCE_DIR "/configs/runs/tiny.textproto";
  const launch::LoadedConfig before = launch::load_run_config(run, {}, {});
  EXPECT_EQ(at::mm(at::ones({2, 3}), at::ones({3, 4})).sum().item<float>(), 24);
  const launch::LoadedConfig after = launch::load_run_config(run, {}, {});
  EXPECT_EQ(after.text, before.text);
  EXPECT_EQ(after.hash, before.hash);
  EXPECT_FALSE(launch::field_docs("model").empty());

  schema::RunConfig parsed;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(before.text, &parsed));
  std::string printed;
  ASSERT_TRUE(google::protobuf::TextFormat::PrintToString(parsed, &printed));
  EXPECT_EQ(launch::parse_run_config(printed, "printed", {}).text, before.text);
}

}  // namespace
}  // namespace ballast::train
