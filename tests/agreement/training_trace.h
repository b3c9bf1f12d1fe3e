#pragma once
// A short training run and what is compared of it.
#include <c10/core/ScalarType.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "runtime/comm/communicator.h"
#include "scheduler/plan/expand.h"
#include "scheduler/topology/topology.h"
#include "tests/support/random_sequences.h"

namespace ballast::agreement {

struct TraceOptions {
  const char* router = "bip_exact";
  std::int64_t num_experts = 8;
  at::ScalarType dtype = at::kDouble;
  int num_steps = 20;
  std::int64_t tokens_per_micro_batch = 96;  ///< several micro-batches per step
  std::string policy = "longest_first";
  int ranks_per_node = 8;  ///< nodes as full as this, the last one with the rest
  std::int64_t num_attention_heads = 2;
  std::int64_t num_key_value_heads = 1;
  bool is_capped = false;  ///< no rank may hold more than 1.5 times its part of a full micro-batch, so that documents are cut
  std::vector<int> kv_source_layer = {0, 1};                         ///< as many as there are layers
  std::function<void(scheduler::Plan& plan, int rank)> damage = {};  ///< what a rank does to its plan before it runs it
};

/// Of every policy.
std::vector<std::string> policy_names();
/// `options` under a policy, with the cap unless it is one that never cuts a document.
TraceOptions under_policy(TraceOptions options, const std::string& policy);

scheduler::Topology topology(const TraceOptions& options, int num_ranks);
scheduler::HeadCounts head_counts(const TraceOptions& options);
/// Bytes of a head's row in messages.
std::int64_t row_bytes(const TraceOptions& options);
/// The plan that train() runs in step `step`.
scheduler::Plan plan_of_step(const TraceOptions& options, int num_ranks, std::int64_t step);

/// A plan of one micro-batch for documents of these lengths.
scheduler::Plan plan_of_documents(const TraceOptions& options, int num_ranks, const std::vector<std::int64_t>& lengths);
/// Losses of a model that has learnt nothing, by document and position, computed by ranks that are threads.
std::vector<std::vector<double>> token_losses(const TraceOptions& options, int num_ranks,
                                              const std::vector<support::RandomSequence>& documents);

struct Trace {
  std::vector<double> losses;  ///< of each step
  std::vector<double> gradient_norms;
  std::map<std::string, double> tensor_norms;  ///< L2, after the last step
  std::int64_t worst_load_above_minimum = 0;
};

/// Trains on the communicator's ranks; the result is the same on every rank.
Trace train(comm::Communicator& world, int ep, const TraceOptions& options);
/// The same on ranks that are threads.
Trace train_on_local_ranks(int num_ranks, int ep, const TraceOptions& options);

/// Fails the running test where a loss or norm differs by more than the relative tolerance.
void expect_equal(const Trace& one, const Trace& many, double tolerance);

}  // namespace ballast::agreement
