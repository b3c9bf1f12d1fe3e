#include "runtime/model/ring_attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <limits>
#include <map>

#include "kernels/attention/attention.h"
#include "kernels/attention_merge/attention_merge.h"
#include "scheduler/plan/layout.h"

namespace ballast::model {
namespace {

using scheduler::AttentionSlice;
using scheduler::BlockTask;
using scheduler::Chunk;
using scheduler::KeyValueUse;
using scheduler::Parcel;
using scheduler::Pass;
using scheduler::Payload;
using scheduler::Stage;
using scheduler::TokenGroup;

/// Which key heads the query heads of a slice read.
struct SliceHeads {
  SliceHeads(const AttentionSlice& slice, scheduler::HeadCounts heads)
      : query_begin(slice.head_begin), num_query(slice.head_end - slice.head_begin) {
    const int per_key = heads.query / heads.key_value;
    key_begin = slice.head_begin / per_key;
    num_key = (slice.head_end - 1) / per_key + 1 - key_begin;
    const bool is_even = num_query % num_key == 0;
    for (int n = 0; n < num_query; ++n) {
      key_of_query.push_back((slice.head_begin + n) / per_key - key_begin);
      is_uniform = is_uniform && is_even && key_of_query.back() == n / (num_query / num_key);
    }
  }
  int query_begin, num_query, key_begin = 0, num_key = 0;
  std::vector<std::int64_t> key_of_query;
  bool is_uniform = true;  ///< query head n reads key head n / (N / G), as the kernels expect

  at::Tensor queries(const at::Tensor& x_TNH) const { return x_TNH.narrow(1, query_begin, num_query); }
  at::Tensor keys(const at::Tensor& x_SGH) const { return x_SGH.narrow(1, key_begin, num_key); }
  /// Keys with a head for every query head, where the kernels cannot group them themselves.
  at::Tensor grouped(const at::Tensor& x_SGH) const {
    if (is_uniform) return x_SGH;
    at::Tensor wide = at::empty({x_SGH.size(0), num_query, x_SGH.size(2)}, x_SGH.options());
    for (int n = 0; n < num_query; ++n) wide.select(1, n).copy_(x_SGH.select(1, key_of_query[static_cast<std::size_t>(n)]));
    return wide;
  }
  /// Adds gradients of `grouped` keys to those of the keys.
  void add_grouped(const at::Tensor& sum_SGH, const at::Tensor& wide) const {
    if (is_uniform) {
      sum_SGH.add_(wide);
      return;
    }
    for (int n = 0; n < num_query; ++n) sum_SGH.select(1, key_of_query[static_cast<std::size_t>(n)]).add_(wide.select(1, n));
  }
};

/// Keys and values of one member of a slice, or the sums of their gradients.
struct Block {
  at::Tensor k_SGH, v_SGH;
};

/// Calls fn(query chunk, its first row, key chunk, its first row) for each pair of which a key is seen.
template <class Fn>
void for_each_visible_pair(const std::vector<Chunk>& queries, const std::vector<Chunk>& keys, const Fn& fn) {
  std::int64_t query_row = 0;
  for (const Chunk& query : queries) {
    std::int64_t key_row = 0;
    for (const Chunk& key : keys) {
      if (key.begin < query.end) fn(query, query_row, key, key_row);
      key_row += key.end - key.begin;
    }
    query_row += query.end - query.begin;
  }
}

void assign_rows(at::Tensor& x, const WholeDocuments& documents, const at::Tensor& values) {
  assign_rows(x, Rows{documents.first_row, documents.first_row + documents.num_rows()}, x.size(0), values);
}

std::int64_t length(const Chunk& chunk) { return chunk.end - chunk.begin; }

/// What forward and backward have in common: where rows of homes, slices and travelling blocks lie.
class RingPass : public AttentionPass {
 protected:
  RingPass(const AttentionProgram& program, Pass pass, const AttentionChannels& channels, double scale, HomeAttention& own,
           HomeAttention& source)
      : AttentionPass(program, pass, &own == &source ? KeyValueUse::kOwn : KeyValueUse::kForeign, channels, own.q_TNH.size(2),
                      own.q_TNH.options()),
        own_(own),
        source_(source),
        scale_(scale) {
    for (const BlockTask& task : attention().tasks) {
      add_heads(task.slice);
      ++num_uses_[{task.slice, task.key_member}];
    }
    for (const scheduler::AttentionExchange& exchange : attention().exchanges) {
      for (const Parcel& parcel : exchange.receives) add_heads(parcel.slice);
      for (const Parcel& parcel : exchange.sends) {
        add_heads(parcel.slice);
        if (exchange.stage == Stage::kRotate) ++num_uses_[{parcel.slice, parcel.member}];
      }
    }
  }

  using BlockId = std::pair<int, int>;  // slice, whose keys

  void add_heads(int slice) { heads_.try_emplace(slice, program().slice(slice), program().heads()); }
  std::size_t local(int slice) const { return static_cast<std::size_t>(program().local_index(slice)); }
  bool is_own_block(const BlockId& id) const { return program().members()[local(id.first)].member == id.second; }
  const SliceHeads& heads(int slice) const { return heads_.at(slice); }
  static at::Tensor rows_at(const at::Tensor& x, std::span<const Chunk> chunks, const Chunk& chunk) {
    return x.narrow(0, row_in(chunks, chunk), length(chunk));
  }
  /// Rows of a chunk at home, in order of tokens; a copy where they lie in several runs.
  at::Tensor home_rows(const at::Tensor& x, const Chunk& chunk) const {
    std::vector<at::Tensor> runs;
    program().for_each_run(
        chunk, [&](std::int64_t row, std::int64_t, std::int64_t num_tokens) { runs.push_back(x.narrow(0, row, num_tokens)); });
    return runs.size() == 1 ? runs.front() : at::cat(runs);
  }
  /// Calls fn(row, first token, number of tokens) for the runs of a chunk at home that belong to the group.
  template <class Fn>
  void for_each_run_of(TokenGroup group, const Chunk& chunk, const Fn& fn) const {
    const Rows rows = program().rows(group);
    program().for_each_run(chunk, [&](std::int64_t row, std::int64_t token, std::int64_t num_tokens) {
      if (rows.begin <= row && row < rows.end) fn(row, token, num_tokens);
    });
  }
  bool has_keys(int queue) const override { return source_.has_keys[static_cast<std::size_t>(queue)] != 0; }
  bool reads_own_keys() const { return &own_ == &source_; }
  const std::vector<Chunk>& queries(const Parcel& parcel) const {
    return program().slice(parcel.slice).queries[static_cast<std::size_t>(parcel.member)];
  }
  const std::vector<Chunk>& keys(int slice, int member) const {
    return program().slice(slice).keys[static_cast<std::size_t>(member)];
  }

  Block block(const BlockId& id) const {
    if (!is_own_block(id)) return travelling_.at(id);
    const SliceTensors& tensors = source_.slices[local(id.first)];
    return {tensors.k_SGH, tensors.v_SGH};
  }
  /// The same for one of its uses: a block that has travelled here goes with the last one.
  Block use_block(const BlockId& id) {
    const Block held = block(id);
    if (--num_uses_.at(id) == 0) travelling_.erase(id);
    return held;
  }
  at::Tensor take_block(const Parcel& parcel) {
    const Block held = use_block({parcel.slice, parcel.member});
    const std::vector<Chunk>& chunks = keys(parcel.slice, parcel.member);
    return at::cat({rows_at(held.k_SGH, chunks, parcel.chunk), rows_at(held.v_SGH, chunks, parcel.chunk)}, 1);
  }
  /// Keys, then values of each token into the right rows of a block.
  void put_key_value(const Block& to, const std::vector<Chunk>& chunks, const Parcel& parcel, const at::Tensor& rows_RH) const {
    const std::int64_t num_heads = to.k_SGH.size(1);
    const at::Tensor both = rows_RH.view({length(parcel.chunk), 2 * num_heads, rows_RH.size(1)});
    rows_at(to.k_SGH, chunks, parcel.chunk).copy_(both.narrow(1, 0, num_heads));
    rows_at(to.v_SGH, chunks, parcel.chunk).copy_(both.narrow(1, num_heads, num_heads));
  }
  void put_travelling(const Parcel& parcel, const at::Tensor& rows_RH) {
    const BlockId id{parcel.slice, parcel.member};
    const std::vector<Chunk>& chunks = keys(parcel.slice, parcel.member);
    auto [entry, is_new] = travelling_.try_emplace(id);
    if (is_new) entry->second = empty_block(parcel.slice, scheduler::num_tokens(chunks));
    put_key_value(entry->second, chunks, parcel, rows_RH);
  }
  Block empty_block(int slice, std::int64_t num_keys) const {
    const auto one = [&] { return at::empty({num_keys, heads(slice).num_key, own_.q_TNH.size(2)}, own_.q_TNH.options()); };
    return {one(), one()};
  }

  HomeAttention& own_;
  HomeAttention& source_;
  double scale_;
  std::map<int, SliceHeads> heads_;  ///< of every slice that this rank computes, sends or receives
  std::map<BlockId, Block> travelling_;
  std::map<BlockId, int> num_uses_;  ///< tasks that are left to compute, parcels that are left to send on
};

class ForwardPass : public RingPass {
 public:
  ForwardPass(const AttentionProgram& program, const AttentionChannels& channels, double scale, HomeAttention& own,
              HomeAttention& source)
      : RingPass(program, Pass::kForward, channels, scale, own, source) {
    if (&own == &source) {
      for (int queue = 0; queue < program.num_queues(); ++queue) own.has_keys.push_back(!has_dispatch(queue));
    }
    own.o_TNH = at::empty(own.q_TNH.sizes(), own.q_TNH.options());
    own.lse_TN = at::empty(own.q_TNH.sizes().slice(0, 2), own.q_TNH.options());
    own.slices.resize(program.members().size());
    for (std::size_t i = 0; i < own.slices.size(); ++i) {
      const SliceMember& member = program.members()[i];
      const SliceHeads member_heads(*member.slice, program.heads());
      SliceTensors& tensors = own.slices[i];
      tensors.q_TNH = at::empty({member.num_queries, member_heads.num_query, own.q_TNH.size(2)}, own.q_TNH.options());
      tensors.o_TNH = at::zeros(tensors.q_TNH.sizes(), own.q_TNH.options());
      tensors.lse_TN = at::empty(tensors.q_TNH.sizes().slice(0, 2), own.q_TNH.options());
      tensors.lse_TN.fill_(-std::numeric_limits<double>::infinity());
      if (&own != &source) continue;
      tensors.k_SGH = at::empty({member.num_keys, member_heads.num_key, own.q_TNH.size(2)}, own.q_TNH.options());
      tensors.v_SGH = at::empty(tensors.k_SGH.sizes(), own.q_TNH.options());
    }
  }

 private:
  at::Tensor take(Stage stage, const Parcel& parcel) override {
    const SliceHeads& slice_heads = heads(parcel.slice);
    switch (parcel.payload) {
      case Payload::kQuery:
        return slice_heads.queries(home_rows(own_.q_TNH, parcel.chunk));
      case Payload::kKeyValue:
        if (stage == Stage::kRotate) return take_block(parcel);
        return at::cat(
            {slice_heads.keys(home_rows(own_.k_TGH, parcel.chunk)), slice_heads.keys(home_rows(own_.v_TGH, parcel.chunk))}, 1);
      case Payload::kOutput:
        return rows_at(own_.slices[local(parcel.slice)].o_TNH, queries(parcel), parcel.chunk);
      default:
        TORCH_CHECK(false, "forward attention sends no gradients");
    }
  }

  void put(Stage stage, const Parcel& parcel, const at::Tensor& rows_RH) override {
    const SliceHeads& slice_heads = heads(parcel.slice);
    const auto as_queries = [&] { return rows_RH.view({length(parcel.chunk), slice_heads.num_query, rows_RH.size(1)}); };
    switch (parcel.payload) {
      case Payload::kQuery:
        rows_at(own_.slices[local(parcel.slice)].q_TNH, queries(parcel), parcel.chunk).copy_(as_queries());
        return;
      case Payload::kKeyValue: {
        if (stage == Stage::kRotate) return put_travelling(parcel, rows_RH);
        const SliceTensors& tensors = own_.slices[local(parcel.slice)];
        return put_key_value({tensors.k_SGH, tensors.v_SGH}, keys(parcel.slice, parcel.member), parcel, rows_RH);
      }
      default:
        TORCH_CHECK(false, "members receive queries, keys and values in forward attention");
    }
  }

  void put_home(const Parcel& parcel, const at::Tensor& rows_RH, TokenGroup group) override {
    const SliceHeads& slice_heads = heads(parcel.slice);
    const at::Tensor output = rows_RH.view({length(parcel.chunk), slice_heads.num_query, rows_RH.size(1)});
    for_each_run_of(group, parcel.chunk, [&](std::int64_t row, std::int64_t token, std::int64_t num_tokens) {
      slice_heads.queries(own_.o_TNH.narrow(0, row, num_tokens)).copy_(output.narrow(0, token, num_tokens));
    });
  }

  void compute(const BlockTask& task) override {
    const SliceTensors& tensors = own_.slices[local(task.slice)];
    const Block held = use_block({task.slice, task.key_member});
    const SliceHeads& slice_heads = heads(task.slice);
    const at::Tensor k = slice_heads.grouped(held.k_SGH), v = slice_heads.grouped(held.v_SGH);
    const auto& slice_queries = program().slice(task.slice).queries[static_cast<std::size_t>(task.member)];
    for_each_visible_pair(slice_queries, keys(task.slice, task.key_member),
                          [&](const Chunk& query, std::int64_t query_row, const Chunk& key, std::int64_t key_row) {
                            const auto of_queries = [&](const at::Tensor& x) { return x.narrow(0, query_row, length(query)); };
                            const kernels::Attention part =
                                kernels::attention_block(of_queries(tensors.q_TNH), k.narrow(0, key_row, length(key)),
                                                         v.narrow(0, key_row, length(key)), query.begin, key.begin, scale_);
                            kernels::attention_merge(of_queries(tensors.o_TNH), of_queries(tensors.lse_TN), part.o_TNH,
                                                     part.lse_TN);
                          });
  }

  void compute(const WholeDocuments& documents) override {
    const auto rows = [&](const at::Tensor& x) { return x.narrow(0, documents.first_row, documents.num_rows()); };
    const kernels::Attention whole =
        kernels::attention(rows(own_.q_TNH), rows(source_.k_TGH), rows(source_.v_TGH), documents.offsets, scale_);
    assign_rows(own_.o_TNH, documents, whole.o_TNH);
    assign_rows(own_.lse_TN, documents, whole.lse_TN);
  }

  void finish_dispatch(int queue) override {
    if (reads_own_keys()) own_.has_keys[static_cast<std::size_t>(queue)] = 1;
  }
  bool may_return() const override { return true; }
  void finish_queue(int) override {}
  void finish_sending() override {}
};

class BackwardPass : public RingPass {
 public:
  BackwardPass(const AttentionProgram& program, const AttentionChannels& channels, double scale, HomeAttention& own,
               HomeAttention& source)
      : RingPass(program, Pass::kBackward, channels, scale, own, source) {
    own.dq_TNH = at::empty(own.q_TNH.sizes(), own.q_TNH.options());
    if (!reads_own_keys()) ++source.num_open_readers;
    if (!source.dk_TGH.defined()) {
      source.dk_TGH = at::zeros(source.k_TGH.sizes(), source.k_TGH.options());
      source.dv_TGH = at::zeros(source.v_TGH.sizes(), source.v_TGH.options());
    }
    for (const SliceTensors& tensors : own.slices) {
      slice_do_.push_back(at::empty(tensors.q_TNH.sizes(), tensors.q_TNH.options()));
      slice_dq_.push_back(at::zeros(tensors.q_TNH.sizes(), tensors.q_TNH.options()));
    }
  }

  void close() override {
    while (!sums_.empty()) keep(sums_.begin()->first);
    own_.do_TNH.reset();
    if (!reads_own_keys()) --source_.num_open_readers;
  }

 private:
  /// Sums of the gradients of a block that this rank has so far.
  Block& sums(const BlockId& id) {
    const auto [entry, is_new] = sums_.try_emplace(id);
    if (is_new) {
      entry->second = empty_block(id.first, scheduler::num_tokens(keys(id.first, id.second)));
      entry->second.k_SGH.zero_();
      entry->second.v_SGH.zero_();
    }
    return entry->second;
  }

  /// Moves the sums of an own block to the layer that made it.
  void keep(const BlockId& id) {
    TORCH_CHECK(is_own_block(id), "gradients of a foreign block were not sent on");
    const Block block = sums_.extract(id).mapped();
    SliceTensors& made = source_.slices[local(id.first)];
    if (made.dk_SGH.defined()) {
      made.dk_SGH.add_(block.k_SGH);
      made.dv_SGH.add_(block.v_SGH);
    } else {
      made.dk_SGH = block.k_SGH;
      made.dv_SGH = block.v_SGH;
    }
  }

  void finish_dispatch(int) override {}
  bool may_return() const override { return !reads_own_keys() || source_.num_open_readers == 0; }
  void finish_queue(int queue) override {
    if (!reads_own_keys()) return;  // at the end, in the order of the layers
    for (auto entry = sums_.begin(); entry != sums_.end();) {
      const BlockId id = (entry++)->first;
      if (program().queue(id.first) == queue && is_own_block(id)) keep(id);
    }
  }

  at::Tensor take(Stage stage, const Parcel& parcel) override {
    switch (parcel.payload) {
      case Payload::kOutputGradient:
        return heads(parcel.slice).queries(home_rows(own_.do_TNH, parcel.chunk));
      case Payload::kKeyValue:
        return take_block(parcel);
      case Payload::kQueryGradient:
        return rows_at(slice_dq_[local(parcel.slice)], queries(parcel), parcel.chunk);
      case Payload::kKeyValueGradient: {
        const std::vector<Chunk>& chunks = keys(parcel.slice, parcel.member);
        if (stage == Stage::kRotateGradients) {
          const Block& sum = sums({parcel.slice, parcel.member});
          sent_.emplace_back(parcel.slice, parcel.member);
          return at::cat({rows_at(sum.k_SGH, chunks, parcel.chunk), rows_at(sum.v_SGH, chunks, parcel.chunk)}, 1);
        }
        const SliceTensors& made = source_.slices[local(parcel.slice)];
        if (!made.dk_SGH.defined()) {
          return at::zeros({length(parcel.chunk), 2 * heads(parcel.slice).num_key, own_.q_TNH.size(2)}, own_.q_TNH.options());
        }
        return at::cat({rows_at(made.dk_SGH, chunks, parcel.chunk), rows_at(made.dv_SGH, chunks, parcel.chunk)}, 1);
      }
      default:
        TORCH_CHECK(false, "backward attention sends gradients, keys and values only");
    }
  }

  void put(Stage, const Parcel& parcel, const at::Tensor& rows_RH) override {
    const auto as_heads = [&](std::int64_t num) { return rows_RH.view({length(parcel.chunk), num, rows_RH.size(1)}); };
    const SliceHeads& slice_heads = heads(parcel.slice);
    switch (parcel.payload) {
      case Payload::kOutputGradient:
        rows_at(slice_do_[local(parcel.slice)], queries(parcel), parcel.chunk).copy_(as_heads(slice_heads.num_query));
        return;
      case Payload::kKeyValue:
        return put_travelling(parcel, rows_RH);
      case Payload::kKeyValueGradient: {
        const at::Tensor both = as_heads(2 * slice_heads.num_key);
        const std::vector<Chunk>& chunks = keys(parcel.slice, parcel.member);
        const Block& sum = sums({parcel.slice, parcel.member});
        rows_at(sum.k_SGH, chunks, parcel.chunk).add_(both.narrow(1, 0, slice_heads.num_key));
        rows_at(sum.v_SGH, chunks, parcel.chunk).add_(both.narrow(1, slice_heads.num_key, slice_heads.num_key));
        return;
      }
      default:
        TORCH_CHECK(false, "members receive gradients, keys and values in backward attention");
    }
  }

  void put_home(const Parcel& parcel, const at::Tensor& rows_RH, TokenGroup group) override {
    const SliceHeads& slice_heads = heads(parcel.slice);
    const bool is_query = parcel.payload == Payload::kQueryGradient;
    const std::int64_t num_heads = is_query ? slice_heads.num_query : 2 * slice_heads.num_key;
    const at::Tensor all = rows_RH.view({length(parcel.chunk), num_heads, rows_RH.size(1)});
    for_each_run_of(group, parcel.chunk, [&](std::int64_t row, std::int64_t token, std::int64_t num_tokens) {
      const at::Tensor gradient = all.narrow(0, token, num_tokens);
      const auto at_home = [&](const at::Tensor& x) { return x.narrow(0, row, num_tokens); };
      if (is_query) {
        slice_heads.queries(at_home(own_.dq_TNH)).copy_(gradient);
      } else {
        slice_heads.keys(at_home(source_.dk_TGH)).add_(gradient.narrow(1, 0, slice_heads.num_key));
        slice_heads.keys(at_home(source_.dv_TGH)).add_(gradient.narrow(1, slice_heads.num_key, slice_heads.num_key));
      }
    });
  }

  void finish_sending() override {  // the next member has them now
    for (const BlockId& id : sent_) sums_.erase(id);
    sent_.clear();
  }

  void compute(const BlockTask& task) override {
    const std::size_t index = local(task.slice);
    const SliceTensors& tensors = own_.slices[index];
    const Block held = use_block({task.slice, task.key_member});
    const SliceHeads& slice_heads = heads(task.slice);
    const at::Tensor k = slice_heads.grouped(held.k_SGH), v = slice_heads.grouped(held.v_SGH);
    // Summed apart first: what the ring brought is one further summand, whether it came before or comes after.
    const Block part = empty_block(task.slice, held.k_SGH.size(0));
    part.k_SGH.zero_();
    part.v_SGH.zero_();
    const auto& slice_queries = program().slice(task.slice).queries[static_cast<std::size_t>(task.member)];
    for_each_visible_pair(slice_queries, keys(task.slice, task.key_member),
                          [&](const Chunk& query, std::int64_t query_row, const Chunk& key, std::int64_t key_row) {
                            const auto of_queries = [&](const at::Tensor& x) { return x.narrow(0, query_row, length(query)); };
                            const auto of_keys = [&](const at::Tensor& x) { return x.narrow(0, key_row, length(key)); };
                            const kernels::AttentionGradient gradient = kernels::attention_block_backward(
                                of_queries(slice_do_[index]), of_queries(tensors.q_TNH), of_keys(k), of_keys(v),
                                of_queries(tensors.o_TNH), of_queries(tensors.lse_TN), query.begin, key.begin, scale_);
                            of_queries(slice_dq_[index]).add_(gradient.dq_TNH);
                            slice_heads.add_grouped(of_keys(part.k_SGH), gradient.dk_TGH);
                            slice_heads.add_grouped(of_keys(part.v_SGH), gradient.dv_TGH);
                          });
    const Block& sum = sums({task.slice, task.key_member});
    sum.k_SGH.add_(part.k_SGH);
    sum.v_SGH.add_(part.v_SGH);
  }

  void compute(const WholeDocuments& documents) override {
    const auto rows = [&](const at::Tensor& x) { return x.narrow(0, documents.first_row, documents.num_rows()); };
    const kernels::AttentionGradient gradient =
        kernels::attention_backward(rows(own_.do_TNH), rows(own_.q_TNH), rows(source_.k_TGH), rows(source_.v_TGH),
                                    rows(own_.o_TNH), rows(own_.lse_TN), documents.offsets, scale_);
    assign_rows(own_.dq_TNH, documents, gradient.dq_TNH);
    rows(source_.dk_TGH).add_(gradient.dk_TGH);
    rows(source_.dv_TGH).add_(gradient.dv_TGH);
  }

  std::vector<at::Tensor> slice_do_, slice_dq_;
  std::map<BlockId, Block> sums_;
  std::vector<BlockId> sent_;
};

}  // namespace

std::unique_ptr<AttentionPass> attention_forward(const AttentionProgram& program, const AttentionChannels& channels, double scale,
                                                 HomeAttention& own, HomeAttention& source) {
  return std::make_unique<ForwardPass>(program, channels, scale, own, source);
}

std::unique_ptr<AttentionPass> attention_backward(const AttentionProgram& program, const AttentionChannels& channels,
                                                  double scale, HomeAttention& own, HomeAttention& source) {
  return std::make_unique<BackwardPass>(program, channels, scale, own, source);
}

void assign_rows(at::Tensor& x, Rows rows, std::int64_t num_rows, const at::Tensor& values) {
  if (rows.num() == num_rows) {
    x = values;
    return;
  }
  if (!x.defined()) {
    std::vector<std::int64_t> sizes = values.sizes().vec();
    sizes[0] = num_rows;
    x = at::empty(sizes, values.options());
  }
  x.narrow(0, rows.begin, rows.num()).copy_(values);
}

}  // namespace ballast::model
