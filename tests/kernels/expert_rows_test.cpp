#include "kernels/expert_rows/expert_rows.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "tests/kernels/oracle.h"

namespace ballast::kernels {
namespace {

TEST(ExpertRows, GatherEqualsIndexSelectAndItsAutograd) {
  for (const auto type : kTypes) {
    const auto x = normal({31, 13}, type, 1), token = integers(31, 77, 2), dy = normal({77, 13}, type, 3);
    const auto wanted = differentiate([&](const auto& leaf) { return leaf[0].index_select(0, token); }, {x}, dy);
    EXPECT_TRUE(at::equal(gather_rows(x, token), wanted.y.to(type)));
    expect_close(gather_rows_backward(dy, token, 31), wanted.gradients[0], tolerance(type));
  }
}

TEST(ExpertRows, CombineEqualsIndexAddAndItsAutograd) {
  for (const auto type : kTypes) {
    const auto y = normal({77, 13}, type, 1), token = integers(31, 77, 2), weight = normal({77}, type, 3);
    const auto dout = normal({31, 13}, type, 4);
    const auto wanted = differentiate(
        [&](const auto& leaf) {
          return at::zeros({31, 13}, at::kDouble).index_add(0, token, leaf[0] * leaf[1].unsqueeze(1));
        },
        {y, weight}, dout);
    expect_close(combine_rows(y, token, weight, 31), wanted.y, tolerance(type));
    const auto [dy, dweight] = combine_rows_backward(dout, y, token, weight);
    expect_close(dy, wanted.gradients[0], tolerance(type));
    expect_close(dweight, wanted.gradients[1], tolerance(type));
  }
}

TEST(ExpertRows, TokenWithoutRowsGetsZero) {
  const auto token = at::tensor({2, 0, 2}, at::kLong), y = normal({3, 5}, at::kFloat, 1), weight = normal({3}, at::kFloat, 2);
  EXPECT_TRUE(at::equal(combine_rows(y, token, weight, 4)[1], at::zeros({5})));
  EXPECT_TRUE(at::equal(gather_rows_backward(y, token, 4)[3], at::zeros({5})));
}

TEST(ExpertRows, RowsOfATokenAreAddedInRowOrder) {
  const auto y = at::tensor({1e8f, -1e8f, 1.0f}).view({3, 1}), token = at::zeros({3}, at::kLong);
  EXPECT_EQ(gather_rows_backward(y, token, 1).item<float>(), 1);
  EXPECT_EQ(gather_rows_backward(y.flip(0).contiguous(), token, 1).item<float>(), 0);
}

TEST(ExpertRows, SameBitsOnTwoThreads) {
  const auto token = integers(900, 2000, 1), y = normal({2000, 96}, at::kFloat, 2), weight = normal({2000}, at::kFloat, 3);
  const auto x = normal({900, 96}, at::kFloat, 4);
  expect_same_on_two_threads([&]() -> std::vector<at::Tensor> {
    const auto [dy, dweight] = combine_rows_backward(x, y, token, weight);
    return {gather_rows(x, token), gather_rows_backward(y, token, 900), combine_rows(y, token, weight, 900), dy, dweight};
  });
}

TEST(ExpertRows, NoRowsNoTokens) {
  const auto none = at::empty({0}, at::kLong), rows = at::empty({0, 5}), weight = at::empty({0});
  EXPECT_EQ(gather_rows(at::zeros({3, 5}), none).sizes(), at::IntArrayRef({0, 5}));
  EXPECT_EQ(gather_rows(rows, none).sizes(), at::IntArrayRef({0, 5}));
  EXPECT_TRUE(at::equal(gather_rows_backward(rows, none, 3), at::zeros({3, 5})));
  EXPECT_TRUE(at::equal(combine_rows(rows, none, weight, 3), at::zeros({3, 5})));
  EXPECT_EQ(combine_rows(rows, none, weight, 0).sizes(), at::IntArrayRef({0, 5}));
  EXPECT_EQ(combine_rows_backward(at::zeros({3, 5}), rows, none, weight).drow_weight_R.numel(), 0);
}

TEST(ExpertRows, RefusesWithTheReason) {
  const auto x = at::zeros({3, 5}), token = at::tensor({0, 3}, at::kLong);
  expect_message([&] { gather_rows(x, token); }, "gather_rows: row_token_R[1] is 3, wanted 0 <= index < 3");
  expect_message([&] { combine_rows(x, token, at::zeros({3}), 4); }, "combine_rows: row_token_R has shape [2], wanted [3]");
  expect_message([&] { combine_rows(at::zeros({2, 5}), token, at::zeros({3}), 4); }, "row_weight_R has shape [3], wanted [2]");
  expect_message([&] { gather_rows_backward(at::zeros({2, 5}), token, -1); }, "num_tokens is -1");
}

}  // namespace
}  // namespace ballast::kernels
