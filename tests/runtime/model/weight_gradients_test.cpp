#include "runtime/model/weight_gradients.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

namespace ballast::model {
namespace {

Weight weight() { return {at::ones({1}, at::kDouble), at::zeros({1}, at::kDouble)}; }
double gradient(const Weight& weight) { return weight.gradient.item<double>(); }
at::Tensor value(double x) { return at::full({1}, x, at::kDouble); }

TEST(WeightGradients, AddWhatTheirNamesSay) {
  metrics::PhaseClock clock;
  const at::Tensor dy_TF = at::tensor({1.0, 2.0, 3.0, 4.0}, at::kDouble).view({2, 2});
  const at::Tensor x_TD = at::tensor({5.0, 7.0}, at::kDouble).view({2, 1});
  const Weight linear{{}, at::ones({2, 1}, at::kDouble)}, bias{{}, at::ones({2}, at::kDouble)};
  const Weight experts{{}, at::ones({2, 2, 1}, at::kDouble)}, norm{{}, at::ones({2}, at::kDouble)};
  const std::vector<std::int64_t> offsets{0, 0, 2};  // the first expert has no rows
  WeightGradients gradients(clock);
  gradients.add_linear(dy_TF, x_TD, linear);
  gradients.add_grouped_linear(dy_TF, x_TD, experts, offsets);
  gradients.add_bias(dy_TF, bias);
  gradients.add_part(at::tensor({10.0, 20.0}, at::kDouble), norm);
  EXPECT_EQ(linear.gradient.sum().item<double>(), 2) << "nothing has run";
  while (!gradients.is_empty()) gradients.run_one();
  EXPECT_TRUE(linear.gradient.equal(at::tensor({27.0, 39.0}, at::kDouble).view({2, 1})));
  EXPECT_TRUE(experts.gradient.equal(at::tensor({1.0, 1.0, 27.0, 39.0}, at::kDouble).view({2, 2, 1})));
  EXPECT_TRUE(bias.gradient.equal(at::tensor({5.0, 7.0}, at::kDouble)));
  EXPECT_TRUE(norm.gradient.equal(at::tensor({11.0, 21.0}, at::kDouble)));
}

TEST(WeightGradients, TimeBelongsToThePhaseInWhichTheyCame) {
  metrics::PhaseClock clock;
  WeightGradients gradients(clock);
  metrics::StepPhase seen{};
  {
    const metrics::PhaseClock::Scope phase(clock, metrics::StepPhase::kExperts);
    gradients.add([&] { seen = clock.current(); });
  }
  const metrics::PhaseClock::Scope phase(clock, metrics::StepPhase::kCommunication);
  gradients.run_one();
  EXPECT_EQ(seen, metrics::StepPhase::kExperts);
  EXPECT_EQ(clock.current(), metrics::StepPhase::kCommunication);
}

TEST(WaitingWeightGradients, OldestRunsFirstAndAtOnceWhenTooManyWait) {
  metrics::PhaseClock clock;
  const std::vector<Weight> weights{weight(), weight(), weight()};
  WaitingWeightGradients waiting(2);
  for (const Weight& layer : weights) {
    WeightGradients gradients(clock);
    gradients.add_part(value(1), layer);
    gradients.add_part(value(2), layer);
    EXPECT_EQ(gradient(weights[0]), 0) << "while two wait, nothing has to run";
    waiting.add_layer(std::move(gradients));
  }
  EXPECT_EQ(gradient(weights[0]), 3) << "the third was one too many";
  EXPECT_EQ(gradient(weights[1]), 0);
  EXPECT_TRUE(waiting.run_one());
  EXPECT_EQ(gradient(weights[1]), 1);
  EXPECT_EQ(gradient(weights[2]), 0);
  waiting.run_all();
  EXPECT_EQ(gradient(weights[1]), 3);
  EXPECT_EQ(gradient(weights[2]), 3);
  EXPECT_FALSE(waiting.run_one());
}

TEST(WaitingWeightGradients, WithoutRoomNothingWaits) {
  metrics::PhaseClock clock;
  const Weight layer = weight();
  WeightGradients late(clock), ready(clock);
  late.add_part(value(1), layer);
  ready.add_part(value(2), layer);
  late.append(std::move(ready));
  WaitingWeightGradients waiting(0);
  waiting.add_layer(std::move(late));
  EXPECT_EQ(gradient(layer), 3);
}

}  // namespace
}  // namespace ballast::model
