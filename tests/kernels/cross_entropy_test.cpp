#include "kernels/cross_entropy/cross_entropy.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

#include "tests/kernels/oracle.h"

namespace ballast::kernels {
namespace {

at::Tensor reference(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& target) {
  return -at::log_softmax(at::mm(x, weight.t()), 1).gather(1, target.unsqueeze(1)).squeeze(1);
}

struct Case {
  std::int64_t tokens, size, vocabulary;
};

TEST(LinearCrossEntropy, EqualsCompositionAndItsAutograd) {
  constexpr double kScale = 0.125;
  for (const auto type : kTypes) {
    // The last two need several runs of tokens: 64 of 40,000 words, and 2^20 / 5,000 = 209.
    for (const Case c : {Case{1, 3, 1}, {5, 4, 2}, {70, 16, 259}, {130, 3, 40000}, {431, 8, 5000}}) {
      SCOPED_TRACE(testing::Message() << type << " " << c.tokens << " x " << c.size << " x " << c.vocabulary);
      const auto x = normal({c.tokens, c.size}, type, 1), weight = normal({c.vocabulary, c.size}, type, 2);
      const auto target = integers(c.vocabulary, c.tokens, 3);
      const auto wanted = differentiate([&](const auto& leaf) { return reference(leaf[0], leaf[1], target); }, {x, weight},
                                        at::zeros({c.tokens}) + kScale);
      // LibTorch's fp32 matrix product over 40,000 words errs by 6e-5 by itself.
      const double bound = type == at::kDouble ? tolerance(type) : 2e-6 + 2e-9 * static_cast<double>(c.vocabulary);
      expect_close(linear_cross_entropy(x, weight, target), wanted.y, tolerance(type));
      const auto before = normal(weight.sizes(), type, 4);
      auto dweight = before.clone();
      const auto [loss, dx] = linear_cross_entropy_with_gradient(x, weight, target, kScale, dweight);
      expect_close(loss, wanted.y, tolerance(type));
      // With one word the gradient is zero: the error is then absolute.
      expect_close(dx, wanted.gradients[0], bound);
      expect_close(dweight, before.to(at::kDouble) + wanted.gradients[1], bound);
    }
  }
}

TEST(LinearCrossEntropy, LargeLogitsNeitherOverflowNorLoseTheLoss) {
  const auto x = at::zeros({2, 1}) + 500, weight = normal({9, 1}, at::kFloat, 1) * 20, target = integers(9, 2, 3);
  const auto wanted = reference(x.to(at::kDouble), weight.to(at::kDouble), target);
  expect_close(linear_cross_entropy(x, weight, target), wanted, 1e-6);
}

TEST(LinearCrossEntropy, NanShows) {
  auto x = normal({3, 4}, at::kFloat, 1);
  x[1][2] = std::numeric_limits<float>::quiet_NaN();
  const auto weight = normal({300, 4}, at::kFloat, 2), loss = linear_cross_entropy(x, weight, integers(300, 3, 3));
  EXPECT_FALSE(std::isnan(loss[0].item<float>()));
  EXPECT_TRUE(std::isnan(loss[1].item<float>()));
}

TEST(LinearCrossEntropy, NoTokens) {
  const auto x = at::empty({0, 4}), weight = normal({9, 4}, at::kFloat, 1), target = at::empty({0}, at::kLong);
  EXPECT_EQ(linear_cross_entropy(x, weight, target).numel(), 0);
  auto dweight = at::zeros({9, 4});
  EXPECT_EQ(linear_cross_entropy_with_gradient(x, weight, target, 1, dweight).dx_TD.numel(), 0);
  EXPECT_TRUE(at::equal(dweight, at::zeros({9, 4})));
}

TEST(LinearCrossEntropy, RefusesWithTheReason) {
  const auto x = at::zeros({2, 4}), weight = at::zeros({9, 4}), target = integers(9, 2, 1);
  expect_message([&] { linear_cross_entropy(x, weight, target + 9); }, "linear_cross_entropy: target_T[0] is");
  expect_message([&] { linear_cross_entropy(x, at::zeros({9, 3}), target); }, "x_TD has shape [2, 4], wanted [-1, 3]");
  expect_message([&] { linear_cross_entropy(x, at::zeros({0, 4}), target); }, "weight_VD has no rows");
  expect_message([&] { linear_cross_entropy_with_gradient(x, weight, target, 1, weight); }, "dweight_VD is the weight itself");
  expect_message(
      [&] {
        linear_cross_entropy_with_gradient(x, weight, target, 1, at::zeros({8, 4}));
      },
      "dweight_VD has shape [8, 4], wanted [9, 4]");
}

}  // namespace
}  // namespace ballast::kernels
