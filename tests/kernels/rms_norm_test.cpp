#include "kernels/rms_norm/rms_norm.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

#include "tests/kernels/oracle.h"

namespace ballast::kernels {
namespace {

constexpr double kEps = 1e-5;

at::Tensor reference(const std::vector<at::Tensor>& in) {
  return in[0] * at::rsqrt(in[0].square().mean(-1, true) + kEps) * in[1];
}

TEST(RmsNorm, EqualsCompositionAndItsAutograd) {
  for (const auto type : kTypes) {
    for (const auto& shape : {std::vector<std::int64_t>{7, 3}, {1, 13}, {3, 5, 8}, {513, 67}, {300, 256}}) {
      SCOPED_TRACE(testing::Message() << type << " " << at::IntArrayRef(shape));
      const auto x = normal(shape, type, 1), weight = normal({shape.back()}, type, 2), dy = normal(shape, type, 3);
      const auto wanted = differentiate(reference, {x, weight}, dy);
      const auto [y, rstd] = rms_norm(x, weight, kEps);
      expect_close(y, wanted.y, tolerance(type));
      const auto gradient = rms_norm_backward(dy, x, weight, rstd);
      expect_close(gradient.dx, wanted.gradients[0], tolerance(type));
      expect_close(gradient.dweight_D, wanted.gradients[1], tolerance(type));
    }
  }
}

TEST(RmsNorm, NoRowsGiveNoRowsAndNoWeightGradient) {
  const auto x = at::empty({0, 8}), weight = normal({8}, at::kFloat, 1);
  const auto [y, rstd] = rms_norm(x, weight, kEps);
  EXPECT_EQ(y.sizes(), x.sizes());
  EXPECT_EQ(rstd.numel(), 0);
  EXPECT_TRUE(at::equal(rms_norm_backward(x, x, weight, rstd).dweight_D, at::zeros({8})));
}

TEST(RmsNorm, ZeroRowStaysFiniteAndNanShows) {
  auto x = at::zeros({2, 8});
  x[1][3] = std::numeric_limits<float>::quiet_NaN();
  const auto y = rms_norm(x, at::full({8}, 1.0f), kEps).y;
  EXPECT_EQ(y[0].abs().max().item<float>(), 0);
  EXPECT_TRUE(std::isnan(y[1][0].item<float>()));
}

TEST(RmsNorm, SameBitsOnTwoThreads) {
  const auto x = normal({1023, 192}, at::kFloat, 1), weight = normal({192}, at::kFloat, 2),
             dy = normal({1023, 192}, at::kFloat, 3);
  expect_same_on_two_threads([&]() -> std::vector<at::Tensor> {
    const auto [y, rstd] = rms_norm(x, weight, kEps);
    const auto gradient = rms_norm_backward(dy, x, weight, rstd);
    return {y, rstd, gradient.dx, gradient.dweight_D};
  });
}

TEST(RmsNorm, BuildsNoGraph) {
  const auto x = normal({4, 8}, at::kFloat, 1).set_requires_grad(true), weight = normal({8}, at::kFloat, 2);
  EXPECT_FALSE(rms_norm(x, weight, kEps).y.requires_grad());
}

TEST(RmsNorm, RefusesWithTheReason) {
  const auto x = normal({4, 8}, at::kFloat, 1), weight = normal({8}, at::kFloat, 2);
  expect_message([&] { rms_norm(x, normal({3}, at::kFloat, 1), kEps); }, "rms_norm: weight_D has shape [3], wanted [8]");
  expect_message([&] { rms_norm(x, weight.to(at::kDouble), kEps); }, "rms_norm: weight_D is Double, wanted Float");
  expect_message([&] { rms_norm(x.to(at::kHalf), weight, kEps); }, "rms_norm: x is Half, wanted Float or Double");
  expect_message([&] { rms_norm(x.t(), normal({4}, at::kFloat, 1), kEps); }, "is not contiguous");
  expect_message([&] { rms_norm({}, weight, kEps); }, "x needs a last dim");
  expect_message([&] { rms_norm_backward(x, x, weight, at::empty({3})); }, "rms_norm_backward: rstd has shape [3], wanted [4]");
}

}  // namespace
}  // namespace ballast::kernels
