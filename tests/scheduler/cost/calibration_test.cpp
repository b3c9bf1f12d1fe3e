#include "scheduler/cost/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <random>

#include "scheduler/cost/seconds.h"
#include "tests/scheduler/small_model.h"

namespace ballast::scheduler {
namespace {

using testing::HasSubstr;

/// A pass of one sequence.
WorkPoint pass(std::int64_t length, double pair_seconds, double token_seconds, double fixed_seconds) {
  WorkPoint point{length * (length + 1) / 2, length, 0};
  point.seconds = pair_seconds * static_cast<double>(point.pairs) + token_seconds * static_cast<double>(length) + fixed_seconds;
  return point;
}

std::string refusal_of(const std::vector<WorkPoint>& points) {
  try {
    fit_work(points);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no error";
}

std::string refusal_of(const std::vector<MessagePoint>& points) {
  try {
    fit_link(points);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no error";
}

TEST(Calibration, ExactPointsGiveBackTheCoefficients) {
  EXPECT_TRUE(rc::check("coefficients over orders of magnitude", [] {
    const double pair = std::exp(*rc::gen::inRange(-280, -180) / 10.0);
    const double token = pair * *rc::gen::inRange(100, 40000);
    const double fixed = token * *rc::gen::inRange(0, 10000);
    std::vector<WorkPoint> points;
    for (std::int64_t length = 128; length <= 131072; length *= 2) points.push_back(pass(length, pair, token, fixed));
    const WorkFit fit = fit_work(points);
    RC_ASSERT(std::abs(fit.pair_seconds / pair - 1) < 1e-8);
    RC_ASSERT(std::abs(fit.token_seconds / token - 1) < 1e-8);
    RC_ASSERT(std::abs(fit.fixed_seconds - fixed) < 1e-8 * (fixed + 100 * token));
    RC_ASSERT(fit.error.rms_relative < 1e-9);
    RC_ASSERT(std::abs(fit.error.worst_relative) < 1e-9);
  }));
  std::vector<MessagePoint> points;
  for (std::int64_t bytes = 1; bytes <= std::int64_t{1} << 30; bytes *= 8)
    points.push_back({bytes, static_cast<double>(bytes) / 25e9 + 7e-6});
  const LinkFit link = fit_link(points);
  EXPECT_NEAR(link.bytes_per_second / 25e9, 1, 1e-9);
  EXPECT_NEAR(link.message_seconds / 7e-6, 1, 1e-9);
  EXPECT_LT(link.error.rms_relative, 1e-12);
}

TEST(Calibration, RelativeErrorsCountAlike) {
  // Ten percent of noise on every point: unweighted, the seconds of the largest message would leave no trace of the latency.
  std::mt19937_64 random(3);
  std::vector<MessagePoint> points;
  double squares = 0;
  for (int i = 0; i < 400; ++i) {
    const std::int64_t bytes = std::int64_t{1} << (i % 31);
    const double noise = 0.2 * (static_cast<double>(random() % 1000001) / 1e6 - 0.5);
    squares += noise * noise;
    points.push_back({bytes, (static_cast<double>(bytes) / 25e9 + 7e-6) * (1 + noise)});
  }
  const LinkFit link = fit_link(points);
  EXPECT_NEAR(link.bytes_per_second / 25e9, 1, 0.03);
  EXPECT_NEAR(link.message_seconds / 7e-6, 1, 0.03);
  EXPECT_NEAR(link.error.rms_relative, std::sqrt(squares / 400), 0.003);
  EXPECT_LT(std::abs(link.error.worst_relative), 0.15);

  std::vector<WorkPoint> passes;
  for (int i = 0; i < 400; ++i) {
    passes.push_back(pass(std::int64_t{128} << (i % 11), 4e-11, 2e-6, 3e-3));
    passes.back().seconds *= 1 + 0.1 * (static_cast<double>(random() % 1000001) / 1e6 - 0.5);
  }
  const WorkFit fit = fit_work(passes);
  EXPECT_NEAR(fit.pair_seconds / 4e-11, 1, 0.05);
  EXPECT_NEAR(fit.token_seconds / 2e-6, 1, 0.05);
  EXPECT_NEAR(fit.fixed_seconds / 3e-3, 1, 0.05);
}

TEST(Calibration, NoSmallChangeFitsBetter) {
  std::mt19937_64 random(5);
  std::vector<WorkPoint> points;
  for (int i = 0; i < 30; ++i) {
    points.push_back(pass(100 + 997 * i, 3e-11, 1e-6, 5e-4));
    points.back().seconds *= 1 + 0.2 * (static_cast<double>(random() % 1000001) / 1e6 - 0.5);
  }
  const WorkFit fit = fit_work(points);
  const auto squares = [&](double pair, double token, double fixed) {
    double sum = 0;
    for (const WorkPoint& point : points) {
      const double fitted = pair * static_cast<double>(point.pairs) + token * static_cast<double>(point.tokens) + fixed;
      sum += std::pow(fitted / point.seconds - 1, 2);
    }
    return sum;
  };
  const double best = squares(fit.pair_seconds, fit.token_seconds, fit.fixed_seconds);
  EXPECT_NEAR(fit.error.rms_relative, std::sqrt(best / 30), 1e-12);
  for (const double factor : {0.99, 1.01}) {
    EXPECT_GT(squares(fit.pair_seconds * factor, fit.token_seconds, fit.fixed_seconds), best);
    EXPECT_GT(squares(fit.pair_seconds, fit.token_seconds * factor, fit.fixed_seconds), best);
    EXPECT_GT(squares(fit.pair_seconds, fit.token_seconds, fit.fixed_seconds * factor), best);
  }
}

TEST(Calibration, TheWorstPointIsNamed) {
  std::vector<MessagePoint> points;
  for (int i = 0; i < 20; ++i) points.push_back({std::int64_t{1} << i, (1 << i) / 1e9 + 1e-6});
  points[13].seconds *= 2;
  const LinkFit link = fit_link(points);
  EXPECT_EQ(link.error.worst_point, 13u);
  EXPECT_NEAR(link.error.worst_relative, -0.5, 0.1);
}

TEST(Calibration, AFixedPartBelowZeroIsZero) {
  std::vector<MessagePoint> points{{1000, 0.9e-6}, {2000, 2e-6}, {4000, 4.1e-6}};
  const LinkFit link = fit_link(points);
  EXPECT_EQ(link.message_seconds, 0);
  EXPECT_NEAR(link.bytes_per_second, 1e9, 0.1e9);
}

TEST(Calibration, RefusesWithNumbers) {
  EXPECT_THAT(refusal_of(std::vector<WorkPoint>{{1, 1, 1}, {3, 2, 2}}), HasSubstr("2 points for 3 coefficients"));
  EXPECT_THAT(refusal_of(std::vector<MessagePoint>{{8, 1}, {16, 0}}), HasSubstr("point 1 took 0 seconds"));
  EXPECT_THAT(refusal_of(std::vector<MessagePoint>{{8, 1}, {16, std::nan("")}}), HasSubstr("point 1 took nan seconds"));
  EXPECT_THAT(refusal_of(std::vector<MessagePoint>{{-8, 1}, {16, 1}}), HasSubstr("point 0 has -8 bytes"));
  EXPECT_THAT(refusal_of(std::vector<MessagePoint>{{0, 1}, {0, 1}}), HasSubstr("all 2 points have 0 bytes"));
  EXPECT_THAT(refusal_of(std::vector<MessagePoint>{{64, 1}, {64, 1.2}, {64, 1.1}}),
              HasSubstr("messages of 3 points follow the other quantities"));
  EXPECT_THAT(refusal_of(std::vector<MessagePoint>{{64, 2}, {6400, 1}}),
              HasSubstr("seconds per unit of bytes; a positive value is wanted"));
  // Three passes of equal length.
  EXPECT_THAT(refusal_of(std::vector<WorkPoint>(3, pass(4096, 1e-11, 1e-6, 1e-3))), HasSubstr("tokens of 3 points follow"));
  // Only tokens cost, so time does not grow with pairs.
  EXPECT_THAT(refusal_of(std::vector<WorkPoint>{pass(1000, -1e-11, 1e-6, 1e-3), pass(4000, -1e-11, 1e-6, 1e-3),
                                                pass(16000, -1e-11, 1e-6, 1e-3), pass(32000, -1e-11, 1e-6, 1e-3)}),
              HasSubstr("-1e-11 seconds per unit of pairs"));
}

TEST(Calibration, FittedRatesAreWhatThePlannerUses) {
  const ModelShape model = small_model();
  Topology topology = uniform_topology(1, Node{});
  set_rates(topology, model, {2e-11, 3e-7, 0, {}});
  EXPECT_NEAR(cost_rates(model, topology).pair_seconds / 2e-11, 1, 1e-12);
  EXPECT_NEAR(cost_rates(model, topology).token_seconds / 3e-7, 1, 1e-12);
}

}  // namespace
}  // namespace ballast::scheduler
