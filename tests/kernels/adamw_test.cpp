#include "kernels/adamw/adamw.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "tests/kernels/oracle.h"

namespace ballast::kernels {
namespace {

/// The formula, one operator at a time.
void reference(at::Tensor& value, const at::Tensor& gradient, at::Tensor& m, at::Tensor& v, double step, const AdamWOptions& o,
               double weight_decay) {
  m = o.beta1 * m + (1 - o.beta1) * gradient;
  v = o.beta2 * v + (1 - o.beta2) * gradient * gradient;
  const auto m_hat = m / (1 - std::pow(o.beta1, step)), v_hat = v / (1 - std::pow(o.beta2, step));
  value = value * (1 - o.learning_rate * weight_decay) - o.learning_rate * m_hat / (v_hat.sqrt() + o.eps);
}

constexpr AdamWOptions kOptions{.learning_rate = 3e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8};

TEST(AdamW, EqualsTheFormulaOverRunsAndSteps) {
  const std::vector<AdamWRun> runs{{0, 100, 0.1}, {100, 100, 0.5}, {100, 137, 0}, {137, 1000, 0.1}};
  for (const auto type : kTypes) {
    auto value = normal({1000}, type, 1), m = at::zeros({1000}, type), v = at::zeros({1000}, type);
    auto value_wanted = value.to(at::kDouble).clone(), m_wanted = m.to(at::kDouble).clone(), v_wanted = v.to(at::kDouble).clone();
    for (std::int64_t step = 1; step <= 5; ++step) {
      const auto gradient = normal({1000}, type, 10 + static_cast<std::uint64_t>(step)), kept = gradient.clone();
      adamw(value, gradient, m, v, step, kOptions, runs);
      EXPECT_TRUE(at::equal(gradient, kept));
      for (const auto& run : runs) {
        const auto part = [&run](const at::Tensor& whole) { return whole.narrow(0, run.begin, run.end - run.begin); };
        auto a = part(value_wanted).clone(), b = part(m_wanted).clone(), c = part(v_wanted).clone();
        reference(a, part(gradient).to(at::kDouble), b, c, static_cast<double>(step), kOptions, run.weight_decay);
        part(value_wanted).copy_(a);
        part(m_wanted).copy_(b);
        part(v_wanted).copy_(c);
      }
    }
    expect_close(value, value_wanted, tolerance(type));
    expect_close(m, m_wanted, tolerance(type));
    expect_close(v, v_wanted, tolerance(type));
  }
}

TEST(AdamW, SameBitsOnTwoThreadsAndEqualInTwoShards) {
  const std::int64_t size = 50001, cut = 20011;
  const auto start = normal({size}, at::kFloat, 1), gradient = normal({size}, at::kFloat, 2), m0 = normal({size}, at::kFloat, 3);
  const auto v0 = normal({size}, at::kFloat, 4).square();
  const auto whole = [&] {
    auto value = start.clone(), m = m0.clone(), v = v0.clone();
    adamw(value, gradient, m, v, 7, kOptions, std::vector<AdamWRun>{{0, size, 0.1}});
    return std::vector{value, m, v};
  };
  expect_same_on_two_threads(whole);
  auto value = start.clone(), m = m0.clone(), v = v0.clone();
  for (const auto& [begin, count] : {std::pair{std::int64_t{0}, cut}, {cut, size - cut}}) {
    adamw(value.narrow(0, begin, count), gradient.narrow(0, begin, count), m.narrow(0, begin, count), v.narrow(0, begin, count),
          7, kOptions, std::vector<AdamWRun>{{0, count, 0.1}});
  }
  expect_close(value, whole()[0], 1e-7);
  expect_close(v, whole()[2], 1e-7);
}

TEST(AdamW, EmptyShard) {
  const auto none = at::empty({0});
  adamw(none, none, none, none, 1, kOptions, {});
  adamw(none, none, none, none, 1, kOptions, std::vector<AdamWRun>{{0, 0, 0.1}});
}

TEST(AdamW, RefusesWithTheReason) {
  const auto value = at::zeros({10});
  const auto run = [&](std::vector<AdamWRun> runs, std::int64_t step = 1) {
    return [&value, runs, step] { adamw(value, at::zeros({10}), at::zeros({10}), at::zeros({10}), step, kOptions, runs); };
  };
  expect_message(run({{0, 10, 0}}, 0), "adamw: step is 0, wanted 1 or more");
  expect_message(run({{0, 4, 0}, {5, 10, 0}}), "adamw: run [5, 10) after element 4, wanted runs in order without gaps");
  expect_message(run({{0, 9, 0}}), "adamw: runs end at element 9, wanted 10");
  expect_message(run({{0, 11, 0}}), "adamw: runs reach element 11 of 10");
  expect_message([&] { adamw(value, at::zeros({9}), value, value, 1, kOptions, {}); },
                 "adamw: gradient has shape [9], wanted [10]");
}

}  // namespace
}  // namespace ballast::kernels
