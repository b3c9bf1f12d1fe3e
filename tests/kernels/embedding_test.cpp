#include "kernels/embedding/embedding.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "tests/kernels/oracle.h"

namespace ballast::kernels {
namespace {

TEST(Embedding, EqualsIndexSelectAndItsAutograd) {
  for (const auto type : kTypes) {
    const auto weight = normal({11, 9}, type, 1), token = integers(11, 200, 2), dy = normal({200, 9}, type, 3);
    const auto wanted = differentiate([&](const auto& leaf) { return leaf[0].index_select(0, token); }, {weight}, dy);
    EXPECT_TRUE(at::equal(kernels::embedding(weight, token), wanted.y.to(type)));
    const auto before = normal({11, 9}, type, 4);
    auto dweight = before.clone();
    accumulate_embedding_gradient(dy, token, dweight);
    expect_close(dweight, before.to(at::kDouble) + wanted.gradients[0], tolerance(type));
  }
}

TEST(Embedding, TokenThatDoesNotOccurKeepsItsGradient) {
  auto dweight = normal({4, 3}, at::kFloat, 1);
  const auto before = dweight.clone();
  accumulate_embedding_gradient(normal({2, 3}, at::kFloat, 2), at::tensor({1, 1}, at::kLong), dweight);
  for (const std::int64_t row : {0, 2, 3}) {
    EXPECT_TRUE(at::equal(dweight[row], before[row]));
  }
  EXPECT_FALSE(at::equal(dweight[1], before[1]));
}

TEST(Embedding, SameBitsOnTwoThreads) {
  const auto token = integers(50, 3000, 1), dy = normal({3000, 64}, at::kFloat, 2), weight = normal({50, 64}, at::kFloat, 3);
  expect_same_on_two_threads([&] {
    auto dweight = at::zeros({50, 64});
    accumulate_embedding_gradient(dy, token, dweight);
    return std::vector{kernels::embedding(weight, token), dweight};
  });
}

TEST(Embedding, NoTokens) {
  const auto none = at::empty({0}, at::kLong);
  EXPECT_EQ(kernels::embedding(at::zeros({4, 3}), none).sizes(), at::IntArrayRef({0, 3}));
  auto dweight = at::zeros({4, 3});
  accumulate_embedding_gradient(at::empty({0, 3}), none, dweight);
  EXPECT_TRUE(at::equal(dweight, at::zeros({4, 3})));
}

TEST(Embedding, RefusesWithTheReason) {
  const auto weight = at::zeros({4, 3});
  expect_message(
      [&] {
        kernels::embedding(weight, at::tensor({0, 4}, at::kLong));
      },
      "embedding: token_T[1] is 4, wanted 0 <= index < 4");
  expect_message(
      [&] {
        accumulate_embedding_gradient(at::zeros({1, 3}), at::tensor({-1}, at::kLong), weight);
      },
      "accumulate_embedding_gradient: token_T[0] is -1");
  expect_message(
      [&] {
        accumulate_embedding_gradient(at::zeros({1, 2}), at::tensor({1}, at::kLong), weight);
      },
      "dy_TD has shape [1, 2], wanted [-1, 3]");
}

}  // namespace
}  // namespace ballast::kernels
