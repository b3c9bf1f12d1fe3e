#include "kernels/attention_merge/attention_merge.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

#include "tests/kernels/oracle.h"

namespace ballast::kernels {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(AttentionMerge, EqualsTheWeightedMean) {
  for (const auto type : kTypes) {
    const auto o = normal({37, 3, 11}, type, 1), lse = normal({37, 3}, type, 2) * 5;
    const auto part_o = normal({37, 3, 11}, type, 3), part_lse = normal({37, 3}, type, 4) * 5;
    const auto a = lse.to(at::kDouble).exp(), b = part_lse.to(at::kDouble).exp();
    const auto wanted = (o.to(at::kDouble) * a.unsqueeze(2) + part_o.to(at::kDouble) * b.unsqueeze(2)) / (a + b).unsqueeze(2);
    auto merged = o.clone(), merged_lse = lse.clone();
    attention_merge(merged, merged_lse, part_o, part_lse);
    expect_close(merged, wanted, tolerance(type));
    expect_close(merged_lse, (a + b).log(), tolerance(type));
  }
}

TEST(AttentionMerge, SidesWithoutKeys) {
  for (const auto type : kTypes) {
    const auto none = at::zeros({2, 1}, type) - kInfinity, garbage = at::zeros({2, 1, 4}, type) + std::nan("");
    const auto o = normal({2, 1, 4}, type, 1), lse = normal({2, 1}, type, 2);
    auto right = o.clone(), right_lse = lse.clone();
    attention_merge(right, right_lse, garbage, none);  // the part saw nothing: no bit changes
    EXPECT_TRUE(at::equal(right, o));
    EXPECT_TRUE(at::equal(right_lse, lse));
    auto left = garbage.clone(), left_lse = none.clone();
    attention_merge(left, left_lse, o, lse);  // nothing seen so far: the part is the result
    EXPECT_TRUE(at::equal(left, o));
    EXPECT_TRUE(at::equal(left_lse, lse));
    auto both = garbage.clone(), both_lse = none.clone();
    attention_merge(both, both_lse, garbage, none);
    EXPECT_TRUE(at::equal(both, at::zeros({2, 1, 4}, type)));
    EXPECT_TRUE(at::equal(both_lse, none));
  }
}

TEST(AttentionMerge, LargeLseDoesNotOverflow) {
  auto o = at::zeros({1, 1, 2}), lse = at::zeros({1, 1}) + 1000;
  attention_merge(o, lse, o + 1, lse + 0);
  EXPECT_FLOAT_EQ(o.max().item<float>(), 0.5f);
  EXPECT_FLOAT_EQ(lse.item<float>(), 1000 + std::log(2.0f));
}

TEST(AttentionMerge, SameBitsOnTwoThreads) {
  const auto o = normal({700, 4, 32}, at::kFloat, 1), lse = normal({700, 4}, at::kFloat, 2),
             part = normal({700, 4, 32}, at::kFloat, 3);
  expect_same_on_two_threads([&] {
    auto merged = o.clone(), merged_lse = lse.clone();
    attention_merge(merged, merged_lse, part, lse * 2);
    return std::vector{merged, merged_lse};
  });
}

TEST(AttentionMerge, NoQueries) {
  attention_merge(at::empty({0, 2, 4}), at::empty({0, 2}), at::empty({0, 2, 4}), at::empty({0, 2}));
}

TEST(AttentionMerge, RefusesWithTheReason) {
  const auto o = at::zeros({3, 2, 4}), lse = at::zeros({3, 2});
  expect_message(
      [&] {
        attention_merge(o, at::zeros({2, 3}), o, lse);
      },
      "attention_merge: lse_TN has shape [2, 3], wanted [3, 2]");
  expect_message(
      [&] {
        attention_merge(o, lse, at::zeros({3, 2, 5}), lse);
      },
      "attention_merge: part_o_TNH has shape [3, 2, 5], wanted [3, 2, 4]");
  expect_message([&] { attention_merge(o, lse, o, lse.to(at::kDouble)); },
                 "attention_merge: part_lse_TN is Double, wanted Float");
}

}  // namespace
}  // namespace ballast::kernels
