// Shards, schedule, clipping, and the sharded AdamW against an unsharded one written out by hand.
#include "runtime/optim/zero_adamw.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <numeric>
#include <random>

#include "runtime/optim/grad_clip.h"
#include "runtime/optim/lr_schedule.h"
#include "tests/support/run_ranks.h"

namespace ballast::optim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <class Error>
std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing thrown";
}

TEST(ShardLayout, CutsAsEvenlyAsPossible) {
  EXPECT_THAT(make_shard_layout(10, 4).counts, ElementsAre(3, 3, 2, 2));
  EXPECT_THAT(make_shard_layout(10, 4).begins, ElementsAre(0, 3, 6, 8));
  EXPECT_THAT(make_shard_layout(2, 4).counts, ElementsAre(1, 1, 0, 0));
  EXPECT_THAT(make_shard_layout(0, 2).counts, ElementsAre(0, 0));
  EXPECT_THAT(message_of<std::invalid_argument>([] { make_shard_layout(5, 0); }), HasSubstr("5 elements over 0 ranks"));
}

TEST(LearningRate, WarmsUpThenFollowsTheCosine) {
  const LrSchedule schedule{.peak = 2.0, .warmup_steps = 4, .final_fraction = 0.1};
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 0, 25), 0.4);
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 3, 25), 1.6);
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 4, 25), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 14, 25), 2.0 * (0.1 + 0.9 * 0.5));
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 24, 25), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 1000, 25), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate({.peak = 2.0, .warmup_steps = 0, .final_fraction = 0.1}, 0, 1), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate({.peak = 2.0, .warmup_steps = 9, .final_fraction = 0.1}, 0, 3), 0.2)
      << "shorter than its warm-up";
  EXPECT_THAT(message_of<std::invalid_argument>([] { learning_rate({}, -1, 3); }), HasSubstr("step -1 of 3"));
  LrSchedule wrong;
  wrong.final_fraction = 1.5;
  EXPECT_THAT(message_of<std::invalid_argument>([&] { learning_rate(wrong, 0, 3); }), HasSubstr("final_fraction 1.5"));
}

TEST(ClipFactor, BringsTheNormDownAndRefusesWhatIsNotFinite) {
  EXPECT_EQ(clip_factor(4.0, 1.0), 0.25);
  EXPECT_EQ(clip_factor(0.5, 1.0), 1.0);
  EXPECT_EQ(clip_factor(4.0, 0.0), 1.0);
  EXPECT_THAT(message_of<std::runtime_error>([] { clip_factor(std::numeric_limits<double>::infinity(), 0.0); }),
              HasSubstr("the global gradient norm is inf"));
}

TEST(SumOfSquares, CountsEveryElement) {
  for (std::int64_t size = 0; size < 70; ++size) {
    const at::Tensor values = at::empty({size}, at::kFloat);
    float* value = values.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < size; ++i) value[i] = static_cast<float>(i + 1);
    EXPECT_EQ(sum_of_squares(values), static_cast<double>(size * (size + 1) * (2 * size + 1)) / 6.0);
  }
}

// A model of dense parameters, of which one does not decay, and experts sharded over ep ranks.

struct Shape {
  std::string name;
  std::vector<std::int64_t> sizes;
  bool has_weight_decay;
  bool is_expert;
  std::int64_t numel() const { return std::accumulate(sizes.begin(), sizes.end(), std::int64_t{1}, std::multiplies<>()); }
};
const std::vector<Shape> kShapes{{"embedding", {5, 3}, true, false},
                                 {"norm", {3}, false, false},
                                 {"projection", {3, 4}, true, false},
                                 {"experts.up", {6, 2, 3}, true, true},
                                 {"experts.down", {6, 3}, true, true}};

std::vector<double> random_values(std::int64_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> values(count);
  for (double& value : values) value = normal(random);
  return values;
}
constexpr std::int64_t kParts = 12;  // of a batch, shared out over 1 to 4 ranks
/// Gradient of a whole parameter in a step, from one part of its batch.
std::vector<double> gradient_of(std::size_t shape, std::int64_t step, std::int64_t part) {
  return random_values(kShapes[shape].numel(), 1000 * (shape + 1) + static_cast<std::uint64_t>(step * kParts + part));
}

model::ParameterGroup make_group(const std::string& name, bool is_expert, int ep, int ep_rank, at::ScalarType type) {
  model::ParameterGroup group;
  group.name = name;
  std::int64_t total = 0;
  for (const Shape& shape : kShapes) total += shape.is_expert == is_expert ? shape.numel() / ep : 0;
  group.values = at::zeros({total}, type);
  group.gradients = at::zeros({total}, type);
  std::int64_t begin = 0;
  for (std::size_t s = 0; s < kShapes.size(); ++s) {
    const Shape& shape = kShapes[s];
    if (shape.is_expert != is_expert) continue;
    const std::int64_t count = shape.numel() / ep;
    model::Parameter parameter{shape.name,
                               shape.sizes,
                               ep_rank * count,
                               group.values.narrow(0, begin, count),
                               group.gradients.narrow(0, begin, count),
                               shape.has_weight_decay};
    begin += count;
    const std::vector<double> values = random_values(shape.numel(), s);
    for (std::int64_t i = 0; i < count; ++i) parameter.value[i].fill_(values[parameter.global_begin + i]);
    group.parameters.push_back(std::move(parameter));
  }
  return group;
}

const AdamwOptions kOptions{.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip_norm = 5.0};
constexpr std::int64_t kSteps = 5;
double rate_of(std::int64_t step) { return 0.01 / static_cast<double>(step + 1); }

struct Reference {
  std::map<std::string, std::vector<double>> values, exp_avg, exp_avg_sq;
  std::vector<double> norms;
};
Reference reference() {
  Reference r;
  for (std::size_t s = 0; s < kShapes.size(); ++s) {
    r.values[kShapes[s].name] = random_values(kShapes[s].numel(), s);
    r.exp_avg[kShapes[s].name].assign(kShapes[s].numel(), 0.0);
    r.exp_avg_sq[kShapes[s].name].assign(kShapes[s].numel(), 0.0);
  }
  for (std::int64_t step = 0; step < kSteps; ++step) {
    std::map<std::string, std::vector<double>> gradients;
    double squares = 0;
    for (std::size_t s = 0; s < kShapes.size(); ++s) {
      std::vector<double>& sum = gradients[kShapes[s].name];
      sum.assign(kShapes[s].numel(), 0.0);
      for (std::int64_t part = 0; part < kParts; ++part) {
        const std::vector<double> gradient = gradient_of(s, step, part);
        for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += gradient[i];
      }
      for (const double g : sum) squares += g * g;
    }
    r.norms.push_back(std::sqrt(squares));
    const double factor = std::min(1.0, kOptions.clip_norm / r.norms.back());
    const double t = static_cast<double>(step + 1);
    for (const Shape& shape : kShapes) {
      for (std::int64_t i = 0; i < shape.numel(); ++i) {
        const double g = factor * gradients[shape.name][i];
        double& value = r.values[shape.name][i];
        double& m = r.exp_avg[shape.name][i];
        double& v = r.exp_avg_sq[shape.name][i];
        if (shape.has_weight_decay) value *= 1.0 - rate_of(step) * kOptions.weight_decay;
        m = kOptions.beta1 * m + (1 - kOptions.beta1) * g;
        v = kOptions.beta2 * v + (1 - kOptions.beta2) * g * g;
        value -= rate_of(step) * m / (1 - std::pow(kOptions.beta1, t)) /
                 (std::sqrt(v / (1 - std::pow(kOptions.beta2, t))) + kOptions.eps);
      }
    }
  }
  return r;
}

/// This rank's model and optimizer.
struct Trainer {
  Trainer(comm::Communicator& world_, int ep_, at::ScalarType type)
      : world(world_),
        ep(ep_),
        expert_replicas(world.split(world.rank() % ep, world.rank())),
        dense(make_group("dense", false, 1, 0, type)),
        experts(make_group("experts", true, ep, world.rank() % ep, type)),
        optimizer({{&dense, &world}, {&experts, expert_replicas.get()}}, world, kOptions) {}

  /// Dense gradients come from this rank's parts of the batch, those of its experts from the parts of all ranks of its ep group.
  void set_gradients(std::int64_t step) {
    for (model::ParameterGroup* group : {&dense, &experts}) {
      group->gradients.zero_();
      const int num_workers = group == &dense ? world.size() : expert_replicas->size();
      const int worker = group == &dense ? world.rank() : world.rank() / ep;
      for (const model::Parameter& parameter : group->parameters) {
        const auto shape = std::find_if(kShapes.begin(), kShapes.end(), [&](const Shape& s) { return s.name == parameter.name; });
        for (std::int64_t part = worker; part < kParts; part += num_workers) {
          const std::vector<double> gradient = gradient_of(static_cast<std::size_t>(shape - kShapes.begin()), step, part);
          for (std::int64_t i = 0; i < parameter.gradient.numel(); ++i)
            parameter.gradient[i].add_(gradient[parameter.global_begin + i]);
        }
      }
    }
  }
  double step(std::int64_t index) {
    set_gradients(index);
    optimizer.reduce_gradients();
    const double norm = optimizer.clip_gradients();
    EXPECT_NEAR(optimizer.global_norm(), std::min(norm, kOptions.clip_norm), 1e-5);
    optimizer.update(rate_of(index));
    optimizer.gather_parameters();
    return norm;
  }
  void expect_values(const Reference& expected, double tolerance) const {
    for (const model::ParameterGroup* group : {&dense, &experts}) {
      for (const model::Parameter& parameter : group->parameters) {
        const std::vector<double>& values = expected.values.at(parameter.name);
        for (std::int64_t i = 0; i < parameter.value.numel(); ++i) {
          ASSERT_NEAR(parameter.value[i].item<double>(), values[parameter.global_begin + i], tolerance)
              << parameter.name << " " << i;
        }
      }
    }
  }

  comm::Communicator& world;
  int ep;
  std::unique_ptr<comm::Communicator> expert_replicas;
  model::ParameterGroup dense, experts;
  ZeroAdamw optimizer;
};

class Sharded : public ::testing::TestWithParam<std::pair<int, int>> {};  // ranks, ep

TEST_P(Sharded, EqualsTheUnshardedReference) {
  const int num_ranks = GetParam().first, ep = GetParam().second;
  const Reference expected = reference();
  EXPECT_GT(expected.norms[0], kOptions.clip_norm) << "clipping is at work";
  for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
    const double tolerance = type == at::kDouble ? 1e-12 : 2e-5;
    support::run_ranks(num_ranks, [&](comm::Communicator& world) {
      Trainer trainer(world, ep, type);
      for (std::int64_t step = 0; step < kSteps; ++step) {
        ASSERT_NEAR(trainer.step(step), expected.norms[step], tolerance * expected.norms[step]);
      }
      trainer.expect_values(expected, tolerance);
    });
  }
}

TEST_P(Sharded, StateCoversEachElementOnceAndComesBackOnOtherRanks) {
  const int num_ranks = GetParam().first, ep = GetParam().second;
  std::mutex mutex;
  std::map<std::string, std::vector<double>> saved;  // by kind and name
  std::map<std::string, std::vector<int>> times;
  support::run_ranks(num_ranks, [&](comm::Communicator& world) {
    Trainer trainer(world, ep, at::kDouble);
    for (std::int64_t step = 0; step < 2; ++step) trainer.step(step);
    EXPECT_EQ(trainer.optimizer.num_updates(), 2);
    const std::lock_guard lock(mutex);
    for (const StatePiece& piece : trainer.optimizer.state()) {
      const std::int64_t numel =
          std::accumulate(piece.global_shape.begin(), piece.global_shape.end(), std::int64_t{1}, std::multiplies<>());
      ASSERT_LE(piece.global_begin + piece.tensor.numel(), numel);
      std::vector<double>& values = saved[piece.kind + piece.name];
      std::vector<int>& seen = times[piece.kind + piece.name];
      values.resize(numel);
      seen.resize(numel);
      for (std::int64_t i = 0; i < piece.tensor.numel(); ++i) {
        values[piece.global_begin + i] = piece.tensor[i].item<double>();
        ++seen[piece.global_begin + i];
      }
    }
  });
  ASSERT_EQ(saved.size(), 3 * kShapes.size());
  for (const auto& [name, seen] : times) EXPECT_THAT(seen, ::testing::Each(1)) << name;

  const Reference expected = reference();
  support::run_ranks(3, [&](comm::Communicator& world) {
    Trainer trainer(world, 3, at::kDouble);
    trainer.dense.values.zero_();
    trainer.experts.values.zero_();
    for (const StatePiece& piece : trainer.optimizer.state()) {
      const std::vector<double>& values = saved.at(piece.kind + piece.name);
      for (std::int64_t i = 0; i < piece.tensor.numel(); ++i) piece.tensor[i].fill_(values[piece.global_begin + i]);
    }
    trainer.optimizer.set_num_updates(2);
    trainer.optimizer.gather_parameters();
    for (std::int64_t step = 2; step < kSteps; ++step) trainer.step(step);
    trainer.expect_values(expected, 1e-12);
  });
}

INSTANTIATE_TEST_SUITE_P(RanksAndEp, Sharded,
                         ::testing::Values(std::pair{1, 1}, std::pair{2, 1}, std::pair{2, 2}, std::pair{3, 1}, std::pair{3, 3},
                                           std::pair{4, 1}, std::pair{4, 2}),
                         [](const auto& test) {
                           return "ranks" + std::to_string(test.param.first) + "_ep" + std::to_string(test.param.second);
                         });

TEST(ZeroAdamw, WorksWithFewerElementsThanRanks) {
  support::run_ranks(4, [](comm::Communicator& world) {
    model::ParameterGroup group;
    group.name = "tiny";
    group.values = at::zeros({2}, at::kDouble);
    group.gradients = at::zeros({2}, at::kDouble);
    group.parameters.push_back({"tiny", {2}, 0, group.values, group.gradients, false});
    AdamwOptions options;
    options.clip_norm = 0.0;
    ZeroAdamw optimizer({{&group, &world}}, world, options);
    group.gradients.fill_(1.0);
    optimizer.reduce_gradients();
    EXPECT_DOUBLE_EQ(optimizer.clip_gradients(), std::sqrt(32.0));
    optimizer.update(0.5);
    optimizer.gather_parameters();
    for (std::int64_t i = 0; i < 2; ++i) EXPECT_NEAR(group.values[i].item<double>(), -0.5, 1e-8);
    EXPECT_EQ(optimizer.state().size(), world.rank() < 2 ? 3U : 0U);
  });
}

TEST(ZeroAdamw, RefusesParametersThatDoNotTileTheBuffer) {
  support::run_ranks(1, [](comm::Communicator& world) {
    model::ParameterGroup group;
    group.name = "dense";
    group.values = at::zeros({6}, at::kDouble);
    group.gradients = at::zeros({6}, at::kDouble);
    group.parameters.push_back({"a", {2}, 0, group.values.narrow(0, 0, 2), group.gradients.narrow(0, 0, 2), true});
    const auto make = [&] { ZeroAdamw({{&group, &world}}, world, AdamwOptions{}); };
    EXPECT_THAT(message_of<std::invalid_argument>(make),
                HasSubstr("group 'dense': its parameters have 2 elements, its buffers 6"));
    group.parameters.push_back({"b", {3}, 0, group.values.narrow(0, 3, 3), group.gradients.narrow(0, 2, 3), true});
    EXPECT_THAT(message_of<std::invalid_argument>(make),
                HasSubstr("parameter 'b' should start at element 2 of values and gradients; it starts at 3 and 2"));
  });
}

TEST(ZeroAdamw, RefusesGradientsThatAreNotFiniteOnEveryRank) {
  support::run_ranks(2, [](comm::Communicator& world) {
    Trainer trainer(world, 1, at::kFloat);
    trainer.set_gradients(0);
    if (world.rank() == 1) trainer.dense.gradients[7].fill_(std::numeric_limits<double>::quiet_NaN());
    trainer.optimizer.reduce_gradients();
    EXPECT_THAT(message_of<std::runtime_error>([&] { trainer.optimizer.clip_gradients(); }), HasSubstr("gradient norm is nan"));
  });
}

}  // namespace
}  // namespace ballast::optim
