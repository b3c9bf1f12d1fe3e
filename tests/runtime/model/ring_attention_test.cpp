// However a plan cuts attention, over whatever ranks: outputs and gradients are those of whole documents on one rank.
#include "runtime/model/ring_attention.h"

#include <ATen/Parallel.h>
#include <ATen/TensorIndexing.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>
#include <numeric>
#include <random>

#include "kernels/attention/attention.h"
#include "runtime/model/layer_pipeline.h"
#include "scheduler/plan/layout.h"
#include "tests/support/run_ranks.h"

namespace ballast::model {
namespace {

using scheduler::AllGather;
using scheduler::AttentionWork;
using scheduler::Chunk;
using scheduler::HeadAllToAll;
using scheduler::HeadPart;
using scheduler::HeadRing;
using scheduler::MicroBatch;
using scheduler::Ring;
using scheduler::TaskSet;

constexpr int kHeadDim = 4;
constexpr double kScale = 0.5;

/// A micro-batch of documents on a number of ranks.
struct Case {
  std::vector<std::int64_t> lengths;
  std::vector<AttentionWork> work;
  int num_ranks = 1;
  int query_heads = 4;
  int key_heads = 2;
  int ranks_per_node = 2;
  bool has_scattered_homes = false;  ///< tokens live anywhere, not where attention has them
};

/// Where attention has the tokens; scattered: runs of 1 to 5 tokens, each on any rank.
std::vector<std::vector<Chunk>> homes(const Case& c) {
  std::vector<std::vector<Chunk>> result(static_cast<std::size_t>(c.num_ranks));
  std::mt19937 random(5);
  const auto add = [&](int rank, const Chunk& chunk) {
    if (chunk.begin < chunk.end) result[static_cast<std::size_t>(rank)].push_back(chunk);
  };
  if (c.has_scattered_homes) {
    for (std::size_t s = 0; s < c.lengths.size(); ++s) {
      for (std::int64_t begin = 0; begin < c.lengths[s];) {
        const std::int64_t end = std::min<std::int64_t>(c.lengths[s], begin + 1 + static_cast<std::int64_t>(random() % 5));
        add(static_cast<int>(random() % static_cast<unsigned>(c.num_ranks)), {static_cast<std::int64_t>(s), begin, end});
        begin = end;
      }
    }
    return result;
  }
  for (const AttentionWork& piece : c.work) {
    const Ring& ring = std::get<Ring>(piece);
    const auto chunks = scheduler::zigzag_chunks(ring.sequence, ring.shares);
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      for (const Chunk& chunk : chunks[i]) add(ring.ranks[i], chunk);
    }
  }
  return result;
}

struct LayerResult {
  at::Tensor o, dq;
};
struct Result {
  LayerResult maker, reader;  ///< the layer that makes keys and values, and a later one that reads them
  at::Tensor dk, dv;          ///< of both
};

struct Values {
  at::Tensor q, k, v, d_o, reader_q, reader_do;
};

/// The same numbers in another precision.
Values to(const Values& x, at::ScalarType dtype) {
  return {x.q.to(dtype), x.k.to(dtype), x.v.to(dtype), x.d_o.to(dtype), x.reader_q.to(dtype), x.reader_do.to(dtype)};
}

Values random_values(const Case& c, std::int64_t num_tokens) {
  at::manual_seed(3);
  const auto randn = [&](int heads) { return at::randn({num_tokens, heads, kHeadDim}, at::kDouble); };
  return {randn(c.query_heads), randn(c.key_heads),   randn(c.key_heads),
          randn(c.query_heads), randn(c.query_heads), randn(c.query_heads)};
}

Result dense(const Case& c, const Values& x) {
  std::vector<std::int64_t> offsets{0};
  for (const std::int64_t length : c.lengths) offsets.push_back(offsets.back() + length);
  const auto layer = [&](const at::Tensor& q, const at::Tensor& d_o, at::Tensor& dk, at::Tensor& dv) {
    const kernels::Attention forward = kernels::attention(q, x.k, x.v, offsets, kScale);
    const kernels::AttentionGradient gradient =
        kernels::attention_backward(d_o, q, x.k, x.v, forward.o_TNH, forward.lse_TN, offsets, kScale);
    dk = dk.defined() ? dk + gradient.dk_TGH : gradient.dk_TGH;
    dv = dv.defined() ? dv + gradient.dv_TGH : gradient.dv_TGH;
    return LayerResult{forward.o_TNH, gradient.dq_TNH};
  };
  Result result;
  result.maker = layer(x.q, x.d_o, result.dk, result.dv);
  result.reader = layer(x.reader_q, x.reader_do, result.dk, result.dv);
  return result;
}

Result planned(const Case& c, const Values& x, TaskOrder order) {
  MicroBatch micro_batch;
  micro_batch.work = c.work;
  micro_batch.homes = homes(c);
  micro_batch.sequences.resize(c.lengths.size());
  std::iota(micro_batch.sequences.begin(), micro_batch.sequences.end(), 0);
  std::vector<std::int64_t> first_row(c.lengths.size());
  std::exclusive_scan(c.lengths.begin(), c.lengths.end(), first_row.begin(), std::int64_t{0});
  std::vector<int> node_of_rank;
  for (int rank = 0; rank < c.num_ranks; ++rank) node_of_rank.push_back(rank / c.ranks_per_node);

  Result all;
  for (LayerResult* layer : {&all.maker, &all.reader}) {
    layer->o = at::zeros(x.q.sizes(), x.q.options());
    layer->dq = at::zeros(x.q.sizes(), x.q.options());
  }
  all.dk = at::zeros(x.k.sizes(), x.k.options());
  all.dv = at::zeros(x.k.sizes(), x.k.options());
  std::mutex mutex;
  support::run_ranks(c.num_ranks, [&](comm::Communicator& world) {
    at::set_num_threads(1);
    const AttentionProgram program(micro_batch, {c.query_heads, c.key_heads}, node_of_rank, world.rank(), order);
    std::vector<std::int64_t> rows;
    for (const Chunk& chunk : program.chunks_by_row()) {
      for (std::int64_t token = chunk.begin; token < chunk.end; ++token) {
        rows.push_back(first_row[static_cast<std::size_t>(chunk.sequence)] + token);
      }
    }
    const at::Tensor row_T = at::tensor(rows, at::kLong);
    const auto at_home = [&](const at::Tensor& global) { return global.index_select(0, row_T); };
    HomeAttention maker, reader;
    maker.q_TNH = at_home(x.q);
    maker.k_TGH = at_home(x.k);
    maker.v_TGH = at_home(x.v);
    reader.q_TNH = at_home(x.reader_q);
    maker.do_TNH = at_home(x.d_o);
    reader.do_TNH = at_home(x.reader_do);
    const std::unique_ptr<comm::Communicator> near = world.split(0, world.rank());
    const AttentionChannels channels{world, *near};
    metrics::PhaseClock clock;
    LayerPipeline pipeline(program.blocks(), clock);
    // The reader starts while the maker's keys still travel, and the maker's backward pass while the reader's gradients do.
    pipeline.run({AttentionStage{[&] { return attention_forward(program, channels, kScale, maker, maker); }},
                  AttentionStage{[&] { return attention_forward(program, channels, kScale, reader, maker); }}});
    pipeline.run({AttentionStage{[&] { return attention_backward(program, channels, kScale, reader, maker); }},
                  AttentionStage{[&] { return attention_backward(program, channels, kScale, maker, maker); }}});
    const std::lock_guard lock(mutex);
    all.maker.o.index_copy_(0, row_T, maker.o_TNH);
    all.reader.o.index_copy_(0, row_T, reader.o_TNH);
    all.maker.dq.index_copy_(0, row_T, maker.dq_TNH);
    all.reader.dq.index_copy_(0, row_T, reader.dq_TNH);
    all.dk.index_copy_(0, row_T, maker.dk_TGH);
    all.dv.index_copy_(0, row_T, maker.dv_TGH);
  });
  return all;
}

void expect_equals_one_rank(const Case& c) {
  const Values x = random_values(c, std::accumulate(c.lengths.begin(), c.lengths.end(), std::int64_t{0}));
  const Result wanted = dense(c, x);
  for (const TaskOrder order : {TaskOrder::kStrict, TaskOrder::kWorkConserving}) {
    const Result got = planned(c, x, order);
    const auto expect_near = [](const at::Tensor& a, const at::Tensor& b, const char* what) {
      if (a.numel() == 0) return;
      EXPECT_LT((a - b).abs().max().item<double>(), 1e-12 * std::max(1.0, b.abs().max().item<double>())) << what;
    };
    expect_near(got.maker.o, wanted.maker.o, "output");
    expect_near(got.reader.o, wanted.reader.o, "output of the layer that reads foreign keys");
    expect_near(got.maker.dq, wanted.maker.dq, "query gradient");
    expect_near(got.reader.dq, wanted.reader.dq, "query gradient of the layer that reads foreign keys");
    expect_near(got.dk, wanted.dk, "key gradient");
    expect_near(got.dv, wanted.dv, "value gradient");
  }
}

std::vector<int> first_ranks(int num) {
  std::vector<int> ranks(static_cast<std::size_t>(num));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

TEST(RingAttention, WholeDocumentsStayWhereTheyAre) {
  expect_equals_one_rank(
      {.lengths = {5, 1, 7}, .work = {Ring{0, {0}, {5}}, Ring{1, {1}, {1}}, Ring{2, {0}, {7}}}, .num_ranks = 3});
}

TEST(RingAttention, EqualRingsOfAnySize) {
  for (const int size : {2, 3, 5, 7, 8}) {
    for (const std::int64_t length : {1, 2, 7, 23, 61}) {
      SCOPED_TRACE(testing::Message() << length << " tokens on a ring of " << size);
      expect_equals_one_rank(
          {.lengths = {length, 3},
           .work = {Ring{0, first_ranks(size), scheduler::equal_shares(length, size)}, Ring{1, {size - 1}, {3}}},
           .num_ranks = size});
    }
  }
}

/// Root mean square of what single precision changes of outputs and gradients, each relative to its own root mean square.
std::vector<double> single_precision_errors(const Case& c) {
  const Values rounded = to(random_values(c, c.lengths[0]), at::kFloat);
  const Result exact = dense(c, to(rounded, at::kDouble));
  const Result got = planned(c, rounded, TaskOrder::kWorkConserving);
  const auto error = [](const at::Tensor& a, const at::Tensor& b) {
    return ((a.to(at::kDouble) - b).norm() / b.norm()).item<double>();
  };
  return {error(got.maker.o, exact.maker.o), error(got.reader.o, exact.reader.o), error(got.maker.dq, exact.maker.dq),
          error(got.dk, exact.dk), error(got.dv, exact.dv)};
}

TEST(RingAttention, ErrorOfSinglePrecisionDoesNotGrowWithTheRing) {
  constexpr std::int64_t kLength = 1024;
  const auto on_ring_of = [](int size) {
    return Case{
        .lengths = {kLength}, .work = {Ring{0, first_ranks(size), scheduler::equal_shares(kLength, size)}}, .num_ranks = size};
  };
  const std::vector<double> one = single_precision_errors(on_ring_of(1));
  for (const int size : {2, 4, 8, 16}) {
    const std::vector<double> many = single_precision_errors(on_ring_of(size));
    for (std::size_t i = 0; i < one.size(); ++i) {
      EXPECT_GT(many[i], 0);
      EXPECT_LT(many[i], 1.5 * one[i]) << "value " << i << " on a ring of " << size;
    }
  }
}

TEST(RingAttention, UnequalSharesAndEmptyMembers) {
  expect_equals_one_rank({.lengths = {31}, .work = {Ring{0, {2, 0, 1}, {17, 3, 11}}}, .num_ranks = 3});
  expect_equals_one_rank(
      {.lengths = {31, 4}, .work = {Ring{0, {2, 0, 1}, {17, 0, 14}}, Ring{1, {3, 1}, {1, 3}}}, .num_ranks = 4});
}

TEST(RingAttention, ManyRingsAtOnce) {
  expect_equals_one_rank({.lengths = {40, 13, 29, 8, 2},
                          .work = {Ring{0, {0, 1, 2, 3}, {10, 10, 10, 10}}, Ring{1, {3, 1}, {6, 7}},
                                   Ring{2, {2, 0, 3}, {9, 15, 5}}, Ring{3, {1}, {8}}, Ring{4, {0, 2}, {1, 1}}},
                          .num_ranks = 4});
}

TEST(RingAttention, TokensWhoseHomeIsElsewhere) {
  expect_equals_one_rank({.lengths = {20, 13, 9},
                          .work = {Ring{0, {0, 1, 2}, {6, 7, 7}}, Ring{1, {1}, {13}}, Ring{2, {3, 2}, {4, 5}}},
                          .num_ranks = 4,
                          .has_scattered_homes = true});
}

TEST(RingAttention, HeadsOverNodesWithUnevenHeadsAndQueryBlocks) {
  const HeadRing uneven{0, {HeadPart{0, 3, 0, 1, 1, {0, 1}, {11, 12}}, HeadPart{3, 4, 0, 1, 1, {2, 3}, {4, 19}}}};
  expect_equals_one_rank({.lengths = {23}, .work = {uneven}, .num_ranks = 4, .has_scattered_homes = true});
  expect_equals_one_rank({.lengths = {23}, .work = {uneven}, .num_ranks = 4, .key_heads = 1, .has_scattered_homes = true});
  expect_equals_one_rank({.lengths = {23}, .work = {uneven}, .num_ranks = 4, .key_heads = 4, .has_scattered_homes = true});
  const HeadRing blocks{0,
                        {HeadPart{0, 1, 0, 2, 3, {0, 1}, {11, 12}}, HeadPart{0, 1, 2, 3, 3, {2, 3}, {23, 0}},
                         HeadPart{1, 4, 0, 1, 1, {4, 5}, {10, 13}}}};
  expect_equals_one_rank({.lengths = {23, 6}, .work = {blocks, Ring{1, {5}, {6}}}, .num_ranks = 6, .has_scattered_homes = true});
}

TEST(RingAttention, GatheredKeys) {
  const AllGather pack{{0, 1}, {1, 0, 2}, {{{0, 0, 4}, {1, 6, 9}}, {{0, 4, 11}}, {{1, 0, 6}}}};
  expect_equals_one_rank({.lengths = {11, 9}, .work = {pack}, .num_ranks = 3, .has_scattered_homes = true});
}

TEST(RingAttention, HeadsOfAPack) {
  const HeadAllToAll pack{{0, 1}, {1, 0}, {3, 1}, {{{0, 0, 11}}, {{1, 0, 9}}}};
  expect_equals_one_rank({.lengths = {11, 9}, .work = {pack}, .num_ranks = 2, .has_scattered_homes = true});
}

TEST(RingAttention, ServedTasks) {
  const TaskSet tasks{{{0, 1, {{0, 0, 4}, {0, 9, 12}}}, {0, 2, {{0, 4, 9}}}, {1, 0, {{1, 3, 5}}}, {1, 1, {{1, 0, 3}}}}};
  expect_equals_one_rank({.lengths = {12, 5}, .work = {tasks}, .num_ranks = 3, .has_scattered_homes = true});
}

}  // namespace
}  // namespace ballast::model
