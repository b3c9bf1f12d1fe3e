#include "kernels/linear/linear.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include "tests/kernels/oracle.h"

namespace ballast::kernels {
namespace {

TEST(Linear, EqualsCompositionAndItsAutograd) {
  for (const auto type : kTypes) {
    for (const auto& [tokens, in, out] : {std::tuple{1, 1, 1}, {17, 5, 3}, {130, 64, 96}}) {
      SCOPED_TRACE(testing::Message() << type << " " << tokens << " " << in << " " << out);
      const auto x = normal({tokens, in}, type, 1), weight = normal({out, in}, type, 2), dy = normal({tokens, out}, type, 3);
      const auto wanted = differentiate([](const auto& leaf) { return at::mm(leaf[0], leaf[1].t()); }, {x, weight}, dy);
      expect_close(kernels::linear(x, weight), wanted.y, tolerance(type));
      expect_close(linear_backward_input(dy, weight), wanted.gradients[0], tolerance(type));
      const auto before = normal({out, in}, type, 4);
      auto dweight = before.clone();
      accumulate_linear_weight_gradient(dy, x, dweight);
      expect_close(dweight, before.to(at::kDouble) + wanted.gradients[1], tolerance(type));
    }
  }
}

TEST(Linear, NoTokensLeaveTheGradientAsItIs) {
  const auto x = at::empty({0, 4}), weight = normal({3, 4}, at::kFloat, 1), dy = at::empty({0, 3});
  EXPECT_EQ(kernels::linear(x, weight).sizes(), at::IntArrayRef({0, 3}));
  EXPECT_EQ(linear_backward_input(dy, weight).sizes(), at::IntArrayRef({0, 4}));
  auto dweight = weight.clone();
  accumulate_linear_weight_gradient(dy, x, dweight);
  EXPECT_TRUE(at::equal(dweight, weight));
}

TEST(Linear, BuildsNoGraph) {
  const auto x = normal({2, 4}, at::kFloat, 1), weight = normal({3, 4}, at::kFloat, 1).set_requires_grad(true);
  EXPECT_FALSE(kernels::linear(x, weight).requires_grad());
}

TEST(Linear, RefusesWithTheReason) {
  const auto x = at::zeros({2, 4}), weight = at::zeros({3, 4});
  expect_message([&] { kernels::linear(at::zeros({2, 5}), weight); }, "linear: x_TD has shape [2, 5], wanted [-1, 4]");
  expect_message([&] { linear_backward_input(x, weight); }, "linear_backward_input: dy_TF has shape [2, 4], wanted [-1, 3]");
  expect_message(
      [&] {
        accumulate_linear_weight_gradient(at::zeros({3, 3}), x, weight);
      },
      "accumulate_linear_weight_gradient: x_TD has shape [2, 4], wanted [3, 4]");
}

}  // namespace
}  // namespace ballast::kernels
