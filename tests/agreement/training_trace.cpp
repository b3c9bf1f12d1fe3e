#include "tests/agreement/training_trace.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "runtime/train/plan_runner.h"
#include "scheduler/make_plan.h"
#include "scheduler/policy/registry.h"
#include "tests/support/run_ranks.h"
#include "tests/support/sequence_views.h"

namespace ballast::agreement {
namespace {

constexpr std::int64_t kHeadDim = 8;

model::ModelConfig small_config(const TraceOptions& options) {
  model::ModelConfig config;
  config.vocab_size = 31;
  config.hidden_size = 16;
  config.num_layers = static_cast<std::int64_t>(options.kv_source_layer.size());
  config.num_attention_heads = options.num_attention_heads;
  config.num_key_value_heads = options.num_key_value_heads;
  config.head_dim = kHeadDim;
  config.intermediate_size = 24;
  config.num_dense_layers = 1;
  config.num_experts = options.num_experts;
  config.experts_per_token = 2;
  config.num_shared_experts = 1;
  config.expert_intermediate_size = 8;
  config.dtype = options.dtype;
  config.initializer_range = 0.1;
  config.router.name = options.router;
  return config;
}

/// What planning needs of the model.
scheduler::ModelShape model_shape(const model::ModelConfig& config) {
  scheduler::ModelShape shape;
  shape.vocab_size = config.vocab_size;
  shape.hidden_size = config.hidden_size;
  shape.num_layers = config.num_layers;
  shape.num_attention_heads = config.num_attention_heads;
  shape.num_key_value_heads = config.num_key_value_heads;
  shape.head_dim = config.head_dim;
  shape.intermediate_size = config.intermediate_size;
  shape.num_dense_layers = config.num_dense_layers;
  shape.num_experts = config.num_experts;
  shape.experts_per_token = config.experts_per_token;
  shape.num_shared_experts = config.num_shared_experts;
  shape.expert_intermediate_size = config.expert_intermediate_size;
  return shape;
}

/// The same lengths for every step: uneven, some ranks may get nothing in a micro-batch.
const std::vector<std::int64_t> kLengths = {50, 3, 1, 29, 17, 40, 2, 11, 23, 60, 5};

}  // namespace

std::vector<std::string> policy_names() {
  std::vector<std::string> names;
  for (const scheduler::Policy& policy : scheduler::policies()) names.emplace_back(policy.name);
  return names;
}

TraceOptions under_policy(TraceOptions options, const std::string& policy) {
  options.policy = policy;
  options.is_capped = policy != "longest_first";
  return options;
}

scheduler::Topology topology(const TraceOptions& options, int num_ranks) {
  return scheduler::resized(scheduler::uniform_topology(1, {.num_ranks = options.ranks_per_node, .nic_of_rank = {}}), num_ranks);
}

scheduler::HeadCounts head_counts(const TraceOptions& options) {
  return {static_cast<int>(options.num_attention_heads), static_cast<int>(options.num_key_value_heads)};
}

std::int64_t row_bytes(const TraceOptions& options) {
  return kHeadDim * static_cast<std::int64_t>(c10::elementSize(options.dtype));
}

namespace {

scheduler::Plan plan_of_lengths(const TraceOptions& options, int num_ranks, std::int64_t step,
                                const std::vector<std::int64_t>& lengths) {
  scheduler::PlanRequest request;
  request.lengths = lengths;
  request.topology = topology(options, num_ranks);
  request.model = model_shape(small_config(options));
  request.options.policy = options.policy;
  request.options.tokens_per_step = 1000;
  request.options.tokens_per_micro_batch = options.tokens_per_micro_batch;
  if (options.is_capped) request.options.token_cap_per_rank = 3 * options.tokens_per_micro_batch / (2 * num_ranks);
  request.step = step;
  scheduler::Plan plan = scheduler::make_plan(request);
  for (scheduler::MicroBatch& micro_batch : plan.micro_batches) micro_batch.kv_source_layer = options.kv_source_layer;
  return plan;
}

model::PackOptions small_pack_options(const TraceOptions& options, int num_ranks) {
  model::PackOptions result = model::pack_options(model_shape(small_config(options)), topology(options, num_ranks));
  result.most_rows_per_block = 16;  // the batches are small, and several blocks are wanted
  return result;
}

}  // namespace

scheduler::Plan plan_of_step(const TraceOptions& options, int num_ranks, std::int64_t step) {
  return plan_of_lengths(options, num_ranks, step, kLengths);
}

scheduler::Plan plan_of_documents(const TraceOptions& options, int num_ranks, const std::vector<std::int64_t>& lengths) {
  TraceOptions whole = options;
  whole.tokens_per_micro_batch = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  return plan_of_lengths(whole, num_ranks, 0, lengths);
}

std::vector<std::vector<double>> token_losses(const TraceOptions& options, int num_ranks,
                                              const std::vector<support::RandomSequence>& documents) {
  std::vector<std::int64_t> lengths;
  for (const support::RandomSequence& document : documents) {
    lengths.push_back(static_cast<std::int64_t>(document.inputs().size()));
  }
  const scheduler::Plan plan = plan_of_documents(options, num_ranks, lengths);
  std::vector<double> by_global_row(static_cast<std::size_t>(std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0})));
  support::run_ranks(num_ranks, [&](comm::Communicator& world) {
    const comm::Mesh mesh(world, 1);
    metrics::PhaseClock clock;
    model::Transformer transformer(small_config(options), mesh, 12, clock);
    const model::PackedBatch batch =
        model::pack(plan, 0, world.rank(), support::views(documents), small_pack_options(options, num_ranks));
    const at::Tensor loss_T = transformer.evaluate(batch).to(at::kDouble);
    for (std::size_t row = 0; row < batch.own_global_row.size(); ++row) {  // each by one rank
      by_global_row[static_cast<std::size_t>(batch.own_global_row[row])] = loss_T.data_ptr<double>()[row];
    }
  });
  std::vector<std::vector<double>> result;
  auto next = by_global_row.begin();
  for (const std::int64_t length : lengths) {
    result.emplace_back(next, next + length);
    next += length;
  }
  return result;
}

Trace train(comm::Communicator& world, int ep, const TraceOptions& options) {
  const model::ModelConfig config = small_config(options);
  const comm::Mesh mesh(world, ep);
  metrics::PhaseClock clock;
  model::Transformer transformer(config, mesh, 12, clock);
  optim::ZeroAdamw optimizer(
      {{&transformer.parameters().dense(), &mesh.dp()}, {&transformer.parameters().experts(), &mesh.replica()}}, mesh.dp(), {});

  train::PlanRunner runner(transformer, optimizer, mesh, clock, small_pack_options(options, world.size()));

  Trace trace;
  for (int step = 0; step < options.num_steps; ++step) {
    const auto sequences = support::random_sequences(kLengths, config.vocab_size, static_cast<std::uint64_t>(step % 4));
    scheduler::Plan plan = plan_of_step(options, world.size(), step);
    if (options.damage) options.damage(plan, world.rank());
    const train::StepResult result = runner.run(plan, support::views(sequences), 0.01);
    trace.losses.push_back(result.loss);
    trace.gradient_norms.push_back(result.grad_norm);
    for (const metrics::ExpertLoad& load : result.expert_load) {
      trace.worst_load_above_minimum = std::max(trace.worst_load_above_minimum, load.above_minimum);
    }
  }

  for (const model::Parameter& parameter : transformer.parameters().dense().parameters) {
    trace.tensor_norms[parameter.name] = parameter.value.norm().item<double>();
  }
  for (const model::Parameter& parameter : transformer.parameters().experts().parameters) {
    double square = parameter.value.to(at::kDouble).square().sum().item<double>();
    mesh.ep().all_reduce({&square, 1, comm::Dtype::kFloat64}, comm::ReduceOp::kSum).wait();
    trace.tensor_norms[parameter.name] = std::sqrt(square);
  }
  return trace;
}

Trace train_on_local_ranks(int num_ranks, int ep, const TraceOptions& options) {
  Trace trace;
  support::run_ranks(num_ranks, [&](comm::Communicator& world) {
    Trace own = train(world, ep, options);
    if (world.rank() == 0) trace = std::move(own);
  });
  return trace;
}

void expect_equal(const Trace& one, const Trace& many, double tolerance) {
  const auto expect_near = [&](double a, double b, const std::string& what) {
    EXPECT_NEAR(a, b, tolerance * std::max(std::abs(a), std::abs(b))) << what;
  };
  ASSERT_EQ(one.losses.size(), many.losses.size());
  for (std::size_t step = 0; step < one.losses.size(); ++step) {
    expect_near(one.losses[step], many.losses[step], "loss of step " + std::to_string(step));
    expect_near(one.gradient_norms[step], many.gradient_norms[step], "gradient norm of step " + std::to_string(step));
  }
  ASSERT_EQ(one.tensor_norms.size(), many.tensor_norms.size());
  for (const auto& [name, norm] : one.tensor_norms) expect_near(norm, many.tensor_norms.at(name), name);
}

}  // namespace ballast::agreement
