#include "runtime/train/gemm_rate.h"

#include <gtest/gtest.h>

namespace ballast::train {
namespace {

TEST(GemmRate, TakesTheThreeLargestProductsAndACube) {
  model::ModelConfig config;
  config.hidden_size = 8;
  config.num_attention_heads = 2;
  config.head_dim = 4;
  config.intermediate_size = 16;
  config.vocab_size = 4;
  config.num_experts = 4;
  config.experts_per_token = 2;
  config.expert_intermediate_size = 2;
  const std::vector<GemmShape> shapes = gemm_shapes(config, 100);
  const std::vector<GemmShape> expected = {{100, 8, 32}, {100, 16, 8}, {100, 8, 8}, {2048, 2048, 2048}};
  EXPECT_EQ(shapes, expected);
}

TEST(GemmRate, IsPositiveForAnyShape) {
  const std::vector<GemmShape> shapes = {{1, 1, 1}, {3, 5, 7}};
  EXPECT_GT(measure_gemm_rate(shapes, at::kDouble, 0), 0);
}

}  // namespace
}  // namespace ballast::train
