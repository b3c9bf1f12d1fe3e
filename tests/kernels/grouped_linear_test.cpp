#include "kernels/grouped_linear/grouped_linear.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include "tests/kernels/oracle.h"

namespace ballast::kernels {
namespace {

at::Tensor reference(const at::Tensor& x, const at::Tensor& weight, const std::vector<std::int64_t>& offsets) {
  std::vector<at::Tensor> parts;
  for (std::size_t e = 0; e + 1 < offsets.size(); ++e) {
    parts.push_back(at::mm(x.narrow(0, offsets[e], offsets[e + 1] - offsets[e]), weight[static_cast<std::int64_t>(e)].t()));
  }
  return at::cat(parts);
}

TEST(GroupedLinear, EqualsCompositionAndItsAutograd) {
  for (const auto type : kTypes) {
    for (const auto& offsets : {std::vector<std::int64_t>{0, 1}, {0, 0, 5, 5, 18, 18}, {0, 40, 41, 90}, {0, 0, 0, 33}}) {
      const auto experts = static_cast<std::int64_t>(offsets.size()) - 1, rows = offsets.back();
      SCOPED_TRACE(testing::Message() << type << " " << rows << " rows over " << experts);
      const auto x = normal({rows, 12}, type, 1), weight = normal({experts, 7, 12}, type, 2), dy = normal({rows, 7}, type, 3);
      const auto wanted = differentiate([&](const auto& leaf) { return reference(leaf[0], leaf[1], offsets); }, {x, weight}, dy);
      expect_close(grouped_linear(x, weight, offsets), wanted.y, tolerance(type));
      expect_close(grouped_linear_backward_input(dy, weight, offsets), wanted.gradients[0], tolerance(type));
      const auto before = normal(weight.sizes(), type, 4);
      auto dweight = before.clone();
      accumulate_grouped_linear_weight_gradient(dy, x, dweight, offsets);
      expect_close(dweight, before.to(at::kDouble) + wanted.gradients[1], tolerance(type));
    }
  }
}

TEST(GroupedLinear, NoRowsAtAll) {
  const std::vector<std::int64_t> offsets{0, 0, 0};
  const auto weight = normal({2, 3, 4}, at::kFloat, 1);
  EXPECT_EQ(grouped_linear(at::empty({0, 4}), weight, offsets).sizes(), at::IntArrayRef({0, 3}));
  EXPECT_EQ(grouped_linear_backward_input(at::empty({0, 3}), weight, offsets).sizes(), at::IntArrayRef({0, 4}));
  auto dweight = weight.clone();
  accumulate_grouped_linear_weight_gradient(at::empty({0, 3}), at::empty({0, 4}), dweight, offsets);
  EXPECT_TRUE(at::equal(dweight, weight));
}

TEST(GroupedLinear, RefusesWithTheReason) {
  const auto x = at::zeros({5, 4}), weight = at::zeros({2, 3, 4});
  using Offsets = std::vector<std::int64_t>;
  expect_message([&] { grouped_linear(x, weight, Offsets{0, 5}); }, "grouped_linear: 2 offsets, wanted 3");
  expect_message([&] { grouped_linear(x, weight, Offsets{0, 3, 4}); }, "grouped_linear: offsets end with 4, wanted 5");
  expect_message([&] { grouped_linear(x, weight, Offsets{1, 3, 5}); }, "grouped_linear: offsets begin with 1, wanted 0");
  expect_message(
      [&] {
        grouped_linear(x, at::zeros({3, 3, 4}), Offsets{0, 4, 2, 5});
      },
      "grouped_linear: offsets[2] = 2 is below the one before it");
  expect_message([&] { grouped_linear(at::zeros({5, 3}), weight, Offsets{0, 2, 5}); }, "x_RD has shape [5, 3], wanted [-1, 4]");
}

}  // namespace
}  // namespace ballast::kernels
