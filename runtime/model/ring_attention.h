#pragma once
// Attention of a micro-batch as the plan places it: whole documents, rings, heads over nodes, gathered keys, served tasks.
#include <memory>

#include "runtime/model/attention_pass.h"

namespace ballast::model {

/// A rank's part of one slice in one layer, kept from forward to backward.
struct SliceTensors {
  at::Tensor q_TNH, o_TNH, lse_TN;
  at::Tensor k_SGH, v_SGH;    ///< of the layer that made them; [S, G, H]
  at::Tensor dk_SGH, dv_SGH;  ///< of all layers that read them; undefined: none yet
};

/// One layer's attention by home rows.
struct HomeAttention {
  at::Tensor q_TNH, k_TGH, v_TGH;
  at::Tensor o_TNH;
  at::Tensor lse_TN;                 ///< rows of whole documents
  at::Tensor do_TNH, dq_TNH;         ///< gradients by outputs and queries
  at::Tensor dk_TGH, dv_TGH;         ///< gradients from layers that read these keys and values; undefined: none yet
  std::vector<SliceTensors> slices;  ///< by member of the program
  std::vector<char> has_keys;        ///< by queue: the slices' keys and values, of the layer that makes them, are there
  int num_open_readers = 0;          ///< backward passes of other layers that still add to its gradients
};

/// o = attention(q, k, v) over every document, queries at their homes, however the plan cuts it; partial results are merged in
/// float32 or wider. Equal to one rank's attention to rounding.
/// Shapes: own.q_TNH [T, N, H]; source.k_TGH, v_TGH [T, G, H]. Input: all are allocated, and hold the rows of the groups that are
/// provided; `source` is `own` or an earlier layer's, whose pass may still be running. All of these outlive the pass.
/// All ranks of the plan start it. Writes own.o_TNH, own.lse_TN, own.slices.
std::unique_ptr<AttentionPass> attention_forward(const AttentionProgram& program, const AttentionChannels& channels, double scale,
                                                 HomeAttention& own, HomeAttention& source);

/// Writes own.dq_TNH. Adds to source.dk_TGH, dv_TGH what is known at home: with `source` = `own` all of it, otherwise the
/// part of whole documents, while slices keep theirs until the source's own backward.
/// Shapes: own.do_TNH, dq_TNH [T, N, H]. Input: own.do_TNH is allocated, and holds the rows of the groups that are provided.
std::unique_ptr<AttentionPass> attention_backward(const AttentionProgram& program, const AttentionChannels& channels,
                                                  double scale, HomeAttention& own, HomeAttention& source);

/// Writes rows of x [T, ...]; takes the values as they are where they are everything. Allocates x where it is undefined.
void assign_rows(at::Tensor& x, Rows rows, std::int64_t num_rows, const at::Tensor& values);

}  // namespace ballast::model
