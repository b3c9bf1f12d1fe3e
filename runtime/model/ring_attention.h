#pragma once
// Attention of a micro-batch as the plan places it: whole documents, rings, heads over nodes, gathered keys, served tasks.
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
  at::Tensor dk_TGH, dv_TGH;         ///< gradients from layers that read these keys and values; undefined: none yet
  std::vector<SliceTensors> slices;  ///< by member of the program
};

/// o = attention(q, k, v) over every document, queries at their homes, however the plan cuts it; partial results are merged in
/// float32 or wider. Equal to one rank's attention to rounding.
/// Shapes: own.q_TNH [T, N, H]; source.k_TGH, v_TGH [T, G, H]. Input: `source` is `own` or an earlier layer's, after its forward.
/// All ranks of the plan call it. Writes own.o_TNH, own.lse_TN, own.slices.
/// Throws: CommError.
void ring_attention(const AttentionProgram& program, comm::Communicator& ranks, metrics::PhaseClock& clock, double scale,
                    HomeAttention& own, HomeAttention& source);

/// Returns: dq [T, N, H]. Adds to source.dk_TGH, dv_TGH what is known at home: with `source` = `own` all of it, otherwise the
/// part of whole documents, while slices keep theirs until the source's own backward.
/// Shapes: do_TNH [T, N, H]. Input: `do_other_work` is called while messages travel and nothing is ready; it says whether it did
/// any. Throws: CommError.
at::Tensor ring_attention_backward(
    const AttentionProgram& program, comm::Communicator& ranks, metrics::PhaseClock& clock, double scale,
    const at::Tensor& do_TNH, HomeAttention& own, HomeAttention& source,
    const std::function<bool()>& do_other_work = [] { return false; });

}  // namespace ballast::model
