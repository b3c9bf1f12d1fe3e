#include "launch/config_docs.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <stdexcept>

#include "launch/config_text.h"
#include "runtime/train/run_config.pb.h"

namespace ballast::launch {
namespace {

using testing::ElementsAre;

TEST(ConfigDocs, EveryFieldOfEveryMessageIsExplained) {
  std::set<std::string> documented;
  for (const FieldDoc& doc : field_docs("")) {
    EXPECT_FALSE(doc.comment.empty()) << doc.path << " has no comment in its schema";
    EXPECT_TRUE(documented.insert(doc.path).second) << doc.path;
  }
  std::size_t num_fields = 0;
  const std::function<void(const google::protobuf::Descriptor&, const std::string&)> visit =
      [&](const google::protobuf::Descriptor& message, const std::string& path) {
        for (int i = 0; i < message.field_count(); ++i) {
          const auto& field = *message.field(i);
          const std::string full = field_path(path, field.name());
          EXPECT_TRUE(documented.contains(full)) << full;
          ++num_fields;
          if (field.message_type()) visit(*field.message_type(), field.is_repeated() ? full + "[]" : full);
        }
      };
  visit(*schema::RunConfig::descriptor(), "");
  EXPECT_EQ(documented.size(), num_fields);
}

TEST(ConfigDocs, AFieldSaysItsTypeLimitsAndDefault) {
  const std::vector<FieldDoc> router = field_docs("model.router");
  ASSERT_GE(router.size(), 4u);
  EXPECT_EQ(router[0].path, "model.router");
  EXPECT_EQ(router[0].type, "Router");
  EXPECT_EQ(router[0].comment, "How tokens choose experts.");
  EXPECT_EQ(router[1].path, "model.router.name");
  EXPECT_THAT(router[1].facts, ElementsAre("default \"bip_exact\"", testing::StartsWith("one of topk, bip_exact")));
  EXPECT_THAT(field_docs("model.router.iterations")[0].facts, ElementsAre("default 4", "at least 1", "at most 64"));
  EXPECT_THAT(field_docs("data.text_files.folder")[0].facts, ElementsAre("required"));
  EXPECT_THAT(field_docs("data.max_sequence_tokens")[0].facts, ElementsAre("default 2048", "at least 2", "in tokens"));
  EXPECT_THAT(field_docs("optim.eps")[0].facts, ElementsAre("default 1e-08", "at least 0"));
  EXPECT_THAT(field_docs("cluster.uniform")[0].facts, ElementsAre("not with nodes"));
  EXPECT_THAT(field_docs("checkpoint.keep")[0].facts, ElementsAre("default 3", "at least 2", "cosmetic"));
  EXPECT_EQ(field_docs("model.compute_type")[0].type, "one of FLOAT32, FLOAT64, BFLOAT16");
  EXPECT_EQ(field_docs("cluster.nodes")[0].type, "list of Node");
  EXPECT_EQ(to_string(field_docs("model.router.iterations")[0]),
            "model.router.iterations  int32  (default 4; at least 1; at most 64)\n"
            "    bip_exact: iterations of the dual per micro-batch.\n");
}

TEST(ConfigDocs, AnUnknownPathIsAnsweredWithTheNearest) {
  try {
    field_docs("model.ruoter");
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_THAT(error.what(), testing::StartsWith("no field \"model.ruoter\"; did you mean model.router"));
  }
}

}  // namespace
}  // namespace ballast::launch
