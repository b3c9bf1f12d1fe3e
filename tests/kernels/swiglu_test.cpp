#include "kernels/swiglu/swiglu.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <limits>

#include "tests/kernels/oracle.h"

namespace ballast::kernels {
namespace {

at::Tensor reference(const std::vector<at::Tensor>& in) {
  const std::int64_t size = in[0].size(1) / 2;
  return at::silu(in[0].narrow(1, 0, size)) * in[0].narrow(1, size, size);
}

TEST(Swiglu, EqualsCompositionAndItsAutograd) {
  for (const auto type : kTypes) {
    for (const auto& [tokens, size] : {std::pair{1, 1}, {5, 7}, {129, 172}, {64, 256}}) {
      SCOPED_TRACE(testing::Message() << type << " " << tokens << " x " << size);
      const auto gate_up = normal({tokens, 2 * size}, type, 1) * 3, dy = normal({tokens, size}, type, 2);
      const auto wanted = differentiate(reference, {gate_up}, dy);
      expect_close(swiglu(gate_up), wanted.y, tolerance(type));
      expect_close(swiglu_backward(dy, gate_up), wanted.gradients[0], tolerance(type));
    }
  }
}

TEST(Swiglu, ExtremeGatesAreExactAndNanShows) {
  for (const auto type : kTypes) {
    const auto gate_up =
        at::tensor({-1000.0, -100.0, 0.0, 100.0, 1000.0, std::nan(""), 1.0, 1.0, 1.0, 1.0, 1.0, 1.0}).to(type).view({1, 12});
    const auto y = swiglu(gate_up);
    EXPECT_EQ(y[0][0].item<double>(), 0);
    EXPECT_NEAR(y[0][1].item<double>(), 0, 1e-37);
    EXPECT_EQ(y[0][2].item<double>(), 0);
    EXPECT_EQ(y[0][3].item<double>(), 100);
    EXPECT_EQ(y[0][4].item<double>(), 1000);
    EXPECT_TRUE(std::isnan(y[0][5].item<double>()));
    const auto d = swiglu_backward(at::tensor({1.0, 1.0, 1.0, 1.0, 1.0, 1.0}).to(type).view({1, 6}), gate_up);
    EXPECT_EQ(d[0][0].item<double>(), 0);
    EXPECT_EQ(d[0][4].item<double>(), 1);
    EXPECT_TRUE(std::isnan(d[0][5].item<double>()));
  }
}

TEST(Swiglu, SameBitsOnTwoThreads) {
  const auto gate_up = normal({333, 346}, at::kFloat, 1), dy = normal({333, 173}, at::kFloat, 2);
  expect_same_on_two_threads([&] { return std::vector{swiglu(gate_up), swiglu_backward(dy, gate_up)}; });
}

TEST(Swiglu, NoTokens) {
  EXPECT_EQ(swiglu(at::empty({0, 8})).sizes(), at::IntArrayRef({0, 4}));
  EXPECT_EQ(swiglu_backward(at::empty({0, 4}), at::empty({0, 8})).sizes(), at::IntArrayRef({0, 8}));
  EXPECT_EQ(swiglu(at::empty({3, 0})).sizes(), at::IntArrayRef({3, 0}));
}

TEST(Swiglu, RefusesWithTheReason) {
  expect_message([] { swiglu(at::empty({2, 7})); }, "swiglu: gate_up_T2F has 7 columns, wanted an even number");
  expect_message(
      [] {
        swiglu_backward(at::empty({2, 8}), at::empty({2, 8}));
      },
      "swiglu_backward: dy_TF has shape [2, 8], wanted [2, 4]");
  expect_message([] { swiglu(at::empty({8})); }, "swiglu: gate_up_T2F has shape [8], wanted [-1, -1]");
}

}  // namespace
}  // namespace ballast::kernels
