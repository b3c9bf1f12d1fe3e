#include "kernels/attention/attention.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <limits>

#include "kernels/attention_merge/attention_merge.h"
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

/// Dense attention of a document whose queries and keys are cut at the given borders into blocks, in any order of key blocks.
struct Ring {
  at::Tensor o, lse, dq, dk, dv;

  Ring(const std::vector<at::Tensor>& qkv, const at::Tensor& dout, const Offsets& query_borders, const Offsets& key_borders,
       double scale)
      : o(at::empty(qkv[0].sizes(), qkv[0].options())),
        lse(at::empty(qkv[0].sizes().slice(0, 2), qkv[0].options())),
        dq(at::zeros(qkv[0].sizes(), qkv[0].options())),
        dk(at::zeros(qkv[1].sizes(), qkv[0].options())),
        dv(at::zeros(qkv[2].sizes(), qkv[0].options())) {
    o.fill_(std::numeric_limits<double>::quiet_NaN());  // not read where lse is -inf
    lse.fill_(-std::numeric_limits<double>::infinity());
    const auto part = [](const at::Tensor& x, const Offsets& borders, std::size_t b) {
      return x.narrow(0, borders[b], borders[b + 1] - borders[b]);
    };
    const auto for_each_block = [&](const auto& fn) {
      for (std::size_t i = 0; i + 1 < query_borders.size(); ++i) {
        for (std::size_t step = 0; step + 1 < key_borders.size(); ++step) {
          fn(i, (i + step) % (key_borders.size() - 1));
        }
      }
    };
    for_each_block([&](std::size_t i, std::size_t j) {
      const auto own = attention_block(part(qkv[0], query_borders, i), part(qkv[1], key_borders, j), part(qkv[2], key_borders, j),
                                       query_borders[i], key_borders[j], scale);
      attention_merge(part(o, query_borders, i), part(lse, query_borders, i), own.o_TNH, own.lse_TN);
    });
    for_each_block([&](std::size_t i, std::size_t j) {
      const auto own =
          attention_block_backward(part(dout, query_borders, i), part(qkv[0], query_borders, i), part(qkv[1], key_borders, j),
                                   part(qkv[2], key_borders, j), part(o, query_borders, i), part(lse, query_borders, i),
                                   query_borders[i], key_borders[j], scale);
      part(dq, query_borders, i).add_(own.dq_TNH);
      part(dk, key_borders, j).add_(own.dk_TGH);
      part(dv, key_borders, j).add_(own.dv_TGH);
    });
  }
};

TEST(AttentionBlock, BlocksOfARingEqualTheDenseDocument) {
  constexpr double kScale = 0.3;
  struct Cut {
    Offsets query_borders, key_borders;
  };
  const Cut cuts[] = {{{0, 97}, {0, 97}},                                                      // one block
                      {{0, 20, 41, 60, 97}, {0, 20, 41, 60, 97}},                              // diagonal, full and hidden blocks
                      {{0, 1, 2, 97}, {0, 1, 2, 97}},                                          // blocks of one token
                      {{0, 0, 30, 30, 97, 97}, {0, 50, 50, 97}},                               // empty blocks
                      {{0, 33, 64, 97}, {0, 10, 45, 46, 80, 97}},                              // borders that cross the diagonal
                      {{0, 7, 14, 21, 28, 35, 42, 49, 56, 63, 70, 77, 84, 91, 97}, {0, 97}}};  // one query block after the other
  for (const auto type : kTypes) {
    const auto q = normal({97, 6, 10}, type, 1), k = normal({97, 2, 10}, type, 2), v = normal({97, 2, 10}, type, 3),
               dout = normal(q.sizes(), type, 4);
    const auto wanted = differentiate([&](const auto& leaf) { return reference(leaf, {0, 97}, kScale); }, {q, k, v}, dout);
    const auto lse = at::logsumexp(scores(q.to(at::kDouble), k.to(at::kDouble), kScale), -1).t();
    for (const auto& cut : cuts) {
      SCOPED_TRACE(testing::Message() << type << " " << at::IntArrayRef(cut.query_borders) << " x "
                                      << at::IntArrayRef(cut.key_borders));
      const Ring ring({q, k, v}, dout, cut.query_borders, cut.key_borders, kScale);
      expect_close(ring.o, wanted.y, tolerance(type));
      expect_close(ring.lse, lse, tolerance(type));
      expect_close(ring.dq, wanted.gradients[0], tolerance(type));
      expect_close(ring.dk, wanted.gradients[1], tolerance(type));
      expect_close(ring.dv, wanted.gradients[2], tolerance(type));
    }
  }
}

TEST(AttentionBlock, QueryWithoutKeysHasNoOutput) {
  const auto q = normal({5, 4, 8}, at::kFloat, 1), k = normal({3, 2, 8}, at::kFloat, 2), none = at::empty({0, 2, 8});
  const auto minus_infinity = at::zeros({5, 4}) - std::numeric_limits<float>::infinity();
  const auto expect_nothing = [&](const at::Tensor& keys, std::int64_t query_begin, std::int64_t key_begin) {
    const auto [o, lse] = attention_block(q, keys, keys, query_begin, key_begin, 1);
    EXPECT_TRUE(at::equal(o, at::zeros(q.sizes())));
    EXPECT_TRUE(at::equal(lse, minus_infinity));
    const auto gradient = attention_block_backward(q, q, keys, keys, o, lse, query_begin, key_begin, 1);
    EXPECT_TRUE(at::equal(gradient.dq_TNH, at::zeros(q.sizes())));
    EXPECT_TRUE(at::equal(gradient.dk_TGH, at::zeros(keys.sizes())));
  };
  expect_nothing(none, 0, 0);
  expect_nothing(k, 10, 15);                                  // the last query stands at 14
  const auto [o, lse] = attention_block(q, k, k, 10, 13, 1);  // queries 13 and 14 see 1 and 2 keys
  EXPECT_TRUE(at::equal(lse.narrow(0, 0, 3), minus_infinity.narrow(0, 0, 3)));
  EXPECT_TRUE(at::equal(o[3], k[0].repeat_interleave(2, 0)));
  EXPECT_GT(lse.narrow(0, 3, 2).min().item<float>(), -std::numeric_limits<float>::infinity());
  const auto empty = at::empty({0, 4, 8});
  EXPECT_EQ(attention_block(empty, k, k, 0, 0, 1).o_TNH.numel(), 0);
  EXPECT_TRUE(
      at::equal(attention_block_backward(empty, empty, k, k, empty, at::empty({0, 4}), 9, 0, 1).dv_TGH, at::zeros(k.sizes())));
}

TEST(AttentionBlock, ErrorIsFlatInTheNumberOfBlocks) {
  const std::int64_t tokens = 240;
  const auto q = normal({tokens, 2, 16}, at::kFloat, 1), k = normal({tokens, 2, 16}, at::kFloat, 2),
             v = normal({tokens, 2, 16}, at::kFloat, 3), dout = normal(q.sizes(), at::kFloat, 4);
  const auto wanted = differentiate([&](const auto& leaf) { return reference(leaf, {0, tokens}, 0.25); }, {q, k, v}, dout);
  for (const std::int64_t blocks : {1, 2, 8, 60}) {
    SCOPED_TRACE(blocks);
    Offsets borders;
    for (std::int64_t b = 0; b <= blocks; ++b) {
      borders.push_back(tokens * b / blocks);
    }
    const Ring ring({q, k, v}, dout, borders, borders, 0.25);
    expect_close(ring.o, wanted.y, 1e-6);
    expect_close(ring.dk, wanted.gradients[1], 1e-6);
  }
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
      "attention: v has shape [5, 2, 7], wanted [5, 2, 8]");
  expect_message(
      [&] {
        attention_backward(q, q, k, k, q, at::zeros({4, 5}), Offsets{0, 5}, 1);
      },
      "attention_backward: lse_TN has shape [4, 5], wanted [5, 4]");
}

}  // namespace
}  // namespace ballast::kernels
