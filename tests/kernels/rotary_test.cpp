#include "kernels/rotary/rotary.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/pow.h>

#include "tests/kernels/oracle.h"

namespace ballast::kernels {
namespace {

constexpr double kTheta = 10000;

at::Tensor reference(const at::Tensor& x, const at::Tensor& position) {
  const std::int64_t half = x.size(2) / 2;
  const auto frequency = at::pow(at::Scalar(kTheta), at::arange(half, at::kDouble) / -static_cast<double>(half));
  const auto angle = (position.to(at::kDouble).unsqueeze(1) * frequency).unsqueeze(1);
  const auto a = x.narrow(2, 0, half), b = x.narrow(2, half, half);
  return at::cat({a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()}, 2);
}

TEST(Rotary, EqualsCompositionAndItsAutograd) {
  for (const auto type : kTypes) {
    for (const auto& position :
         {at::arange(300, at::kLong), integers(100000, 300, 5), at::cat({at::arange(7), at::arange(280), at::arange(13)})}) {
      SCOPED_TRACE(type);
      const auto x = normal({300, 3, 34}, type, 1), dy = normal({300, 3, 34}, type, 2);
      const auto wanted = differentiate([&](const auto& in) { return reference(in[0], position); }, {x}, dy);
      // A double angle of 1e5 is itself rounded by 1e-11.
      const double bound = type == at::kDouble ? 2e-11 : tolerance(type);
      expect_close(rotary(x, position, kTheta), wanted.y, bound);
      expect_close(rotary_backward(dy, position, kTheta), wanted.gradients[0], bound);
    }
  }
}

TEST(Rotary, BackwardUndoesForward) {
  const auto x = normal({50, 2, 16}, at::kDouble, 1), position = at::arange(50, at::kLong);
  expect_close(rotary_backward(rotary(x, position, kTheta), position, kTheta), x, 1e-13);
}

TEST(Rotary, ValueDependsOnItsOwnPositionAlone) {
  const auto x = normal({40, 2, 8}, at::kFloat, 1), position = at::arange(40, at::kLong) + 1000;
  const auto packed = rotary(at::cat({normal({9, 2, 8}, at::kFloat, 2), x}), at::cat({at::arange(9), position}), kTheta);
  EXPECT_TRUE(at::equal(packed.narrow(0, 9, 40), rotary(x, position, kTheta)));
  for (std::int64_t t = 0; t < 40; ++t) {
    EXPECT_TRUE(at::equal(packed.narrow(0, 9 + t, 1), rotary(x.narrow(0, t, 1), position.narrow(0, t, 1), kTheta)));
  }
}

TEST(Rotary, SameBitsOnTwoThreads) {
  const auto x = normal({1000, 2, 32}, at::kFloat, 1), position = at::arange(1000, at::kLong);
  expect_same_on_two_threads([&] { return std::vector{rotary(x, position, kTheta), rotary_backward(x, position, kTheta)}; });
}

TEST(Rotary, NoTokens) { EXPECT_EQ(rotary(at::empty({0, 2, 8}), at::empty({0}, at::kLong), kTheta).numel(), 0); }

TEST(Rotary, RefusesWithTheReason) {
  const auto x = normal({4, 2, 8}, at::kFloat, 1), position = at::arange(4, at::kLong);
  expect_message([&] { rotary(x, position - 1, kTheta); }, "rotary: position_T[0] is -1");
  expect_message([&] { rotary(x, at::arange(3, at::kLong), kTheta); }, "rotary: position_T has shape [3], wanted [4]");
  expect_message([&] { rotary(x, position.to(at::kInt), kTheta); }, "rotary: position_T is Int, wanted Long");
  expect_message([&] { rotary(normal({4, 2, 7}, at::kFloat, 1), position, kTheta); }, "head size H is 7, wanted an even number");
  expect_message([&] { rotary(x, position, 0); }, "theta is 0, wanted above 0");
}

}  // namespace
}  // namespace ballast::kernels
