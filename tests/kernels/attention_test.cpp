#include "kernels/attention/attention.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <limits>

#include "tests/kernels/oracle.h"

namespace ballast::kernels {
namespace {

using Offsets = std::vector<std::int64_t>;

/// Dense scores of one document, [N, T, T].
at::Tensor scores(const at::Tensor& q_TNH, const at::Tensor& k_TGH, double scale) {
  const auto k = k_TGH.repeat_interleave(q_TNH.size(1) / k_TGH.size(1), 1);
  const auto future = at::ones({q_TNH.size(0), q_TNH.size(0)}, at::kBool).triu(1);
  return (at::matmul(q_TNH.transpose(0, 1), k.permute({1, 2, 0})) * scale)
      .masked_fill(future, -std::numeric_limits<double>::infinity());
}

at::Tensor reference(const std::vector<at::Tensor>& qkv, const Offsets& offsets, double scale) {
  std::vector<at::Tensor> outputs{qkv[0].narrow(0, 0, 0)};
  for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
    const auto part = [&](const at::Tensor& x) { return x.narrow(0, offsets[b], offsets[b + 1] - offsets[b]); };
    if (offsets[b] < offsets[b + 1]) {
      const auto v = part(qkv[2]).repeat_interleave(qkv[0].size(1) / qkv[2].size(1), 1);
      outputs.push_back(
          at::matmul(at::softmax(scores(part(qkv[0]), part(qkv[1]), scale), -1), v.transpose(0, 1)).transpose(0, 1));
    }
  }
  return at::cat(outputs);
}

struct Case {
  Offsets offsets;
  std::int64_t query_heads, key_heads, size;
};

const Case kCases[] = {{{0, 1}, 1, 1, 8},
                       {{0, 1, 2, 3, 10}, 4, 2, 16},
                       {{0, 0, 37, 37, 38, 101, 101}, 6, 2, 10},
                       {{0, 130, 131, 400}, 4, 1, 32},
                       {{0, 700}, 2, 2, 64}};

TEST(Attention, EqualsDenseReferenceAndItsAutograd) {
  constexpr double kScale = 0.3;
  for (const auto type : kTypes) {
    const double bound = 2 * tolerance(type);  // sums over up to 700 keys
    for (const auto& c : kCases) {
      const std::int64_t tokens = c.offsets.back();
      SCOPED_TRACE(testing::Message() << type << " " << tokens << " tokens, " << c.query_heads << "/" << c.key_heads
                                      << " heads of " << c.size);
      const auto q = normal({tokens, c.query_heads, c.size}, type, 1), k = normal({tokens, c.key_heads, c.size}, type, 2),
                 v = normal({tokens, c.key_heads, c.size}, type, 3), dout = normal(q.sizes(), type, 4);
      const auto wanted = differentiate([&](const auto& leaf) { return reference(leaf, c.offsets, kScale); }, {q, k, v}, dout);
      const auto [o, lse] = attention(q, k, v, c.offsets, kScale);
      expect_close(o, wanted.y, bound);
      for (std::size_t b = 0; b + 1 < c.offsets.size(); ++b) {
        const auto part = [&](const at::Tensor& x) {
          return x.narrow(0, c.offsets[b], c.offsets[b + 1] - c.offsets[b]).to(at::kDouble);
        };
        if (c.offsets[b] < c.offsets[b + 1]) {
          expect_close(part(lse), at::logsumexp(scores(part(q), part(k), kScale), -1).t(), bound);
        }
      }
      const auto gradient = attention_backward(dout, q, k, v, o, lse, c.offsets, kScale);
      expect_close(gradient.dq_TNH, wanted.gradients[0], bound);
      expect_close(gradient.dk_TGH, wanted.gradients[1], bound);
      expect_close(gradient.dv_TGH, wanted.gradients[2], bound);
    }
  }
}

TEST(Attention, PackedEqualsSeparateAndNeighboursChangeNothing) {
  const Offsets offsets{0, 5, 88, 89, 150};
  const auto q = normal({150, 4, 16}, at::kDouble, 1), k = normal({150, 2, 16}, at::kDouble, 2),
             v = normal({150, 2, 16}, at::kDouble, 3), dout = normal({150, 4, 16}, at::kDouble, 4);
  const auto [o, lse] = attention(q, k, v, offsets, 0.25);
  const auto all = attention_backward(dout, q, k, v, o, lse, offsets, 0.25);
  for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
    const auto part = [&](const at::Tensor& x) { return x.narrow(0, offsets[b], offsets[b + 1] - offsets[b]); };
    const Offsets own{0, offsets[b + 1] - offsets[b]};
    const auto [o_own, lse_own] = attention(part(q), part(k), part(v), own, 0.25);
    expect_close(part(o), o_own, 1e-14);
    expect_close(part(lse), lse_own, 1e-14);
    const auto alone = attention_backward(part(dout), part(q), part(k), part(v), o_own, lse_own, own, 0.25);
    expect_close(part(all.dq_TNH), alone.dq_TNH, 1e-14);
    expect_close(part(all.dk_TGH), alone.dk_TGH, 1e-14);
    expect_close(part(all.dv_TGH), alone.dv_TGH, 1e-14);
  }
  auto k_changed = k.clone();
  k_changed.narrow(0, 0, 5).fill_(7);
  EXPECT_TRUE(at::equal(attention(q, k_changed, v, offsets, 0.25).o_TNH.narrow(0, 5, 145), o.narrow(0, 5, 145)));
}

TEST(Attention, NoTokensAndEmptyDocuments) {
  const auto q = at::empty({0, 4, 8}), k = at::empty({0, 2, 8});
  for (const auto& offsets : {Offsets{0}, Offsets{0, 0}, Offsets{0, 0, 0}}) {
    const auto [o, lse] = attention(q, k, k, offsets, 1);
    EXPECT_EQ(o.sizes(), q.sizes());
    EXPECT_EQ(lse.sizes(), at::IntArrayRef({0, 4}));
    EXPECT_EQ(attention_backward(q, q, k, k, o, lse, offsets, 1).dk_TGH.sizes(), k.sizes());
  }
}

TEST(Attention, SameBitsOnTwoThreads) {
  const Offsets offsets{0, 1, 40, 300};
  const auto q = normal({300, 4, 32}, at::kFloat, 1), k = normal({300, 2, 32}, at::kFloat, 2),
             v = normal({300, 2, 32}, at::kFloat, 3);
  expect_same_on_two_threads([&]() -> std::vector<at::Tensor> {
    const auto [o, lse] = attention(q, k, v, offsets, 0.2);
    const auto g = attention_backward(q, q, k, v, o, lse, offsets, 0.2);
    return {o, lse, g.dq_TNH, g.dk_TGH, g.dv_TGH};
  });
}

TEST(Attention, RefusesWithTheReason) {
  const auto q = at::zeros({5, 4, 8}), k = at::zeros({5, 2, 8});
  expect_message(
      [&] {
        attention(q, at::zeros({5, 3, 8}), at::zeros({5, 3, 8}), Offsets{0, 5}, 1);
      },
      "attention: 4 query heads and 3 key/value heads");
  expect_message([&] { attention(q, k, k, Offsets{0, 4}, 1); }, "attention: offsets end with 4, wanted 5");
  expect_message([&] { attention(q, k, k, Offsets{}, 1); }, "attention: 0 offsets, wanted at least one");
  expect_message(
      [&] {
        attention(q, k, at::zeros({5, 2, 7}), Offsets{0, 5}, 1);
      },
      "attention: v_TGH has shape [5, 2, 7], wanted [5, 2, 8]");
  expect_message(
      [&] {
        attention_backward(q, q, k, k, q, at::zeros({4, 5}), Offsets{0, 5}, 1);
      },
      "attention_backward: lse_TN has shape [4, 5], wanted [5, 4]");
}

}  // namespace
}  // namespace ballast::kernels
