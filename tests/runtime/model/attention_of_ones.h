#pragma once
// The simplest attention that a program can run, for tests of who waits for whom: every output is 1.
#include <ATen/ops/ones.h>

#include "runtime/model/ring_attention.h"

namespace ballast::model {

/// Queries, keys and values of a rank's rows, all 1, for a program of N = 2 query heads and G = 1 key/value head. H = 4.
inline HomeAttention attention_of_ones(const AttentionProgram& program) {
  HomeAttention attention;
  attention.q_TNH = at::ones({program.num_rows(), 2, 4}, at::kDouble);
  attention.k_TGH = attention.v_TGH = at::ones({program.num_rows(), 1, 4}, at::kDouble);
  return attention;
}

}  // namespace ballast::model
