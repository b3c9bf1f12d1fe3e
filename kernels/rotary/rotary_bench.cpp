#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/randn.h>

#include "kernels/bench_against.h"
#include "kernels/rotary/rotary.h"

namespace ballast::kernels {
namespace {

void forward(benchmark::State& state) {
  const std::int64_t half = state.range(2) / 2;
  const auto x = at::randn({state.range(0), state.range(1), 2 * half}), position = at::arange(state.range(0), at::kLong);
  bench_against(
      state, "bytes_per_second", 8.0 * static_cast<double>(x.numel()), [&] { rotary(x, position, 10000); },
      [&] {
        const auto frequency = at::pow(at::Scalar(10000.0), at::arange(half, at::kFloat) / -static_cast<double>(half));
        const auto angle = (position.to(at::kFloat).unsqueeze(1) * frequency).unsqueeze(1), c = angle.cos(), s = angle.sin();
        const auto a = x.narrow(2, 0, half), b = x.narrow(2, half, half);
        const auto y = at::cat({a * c - b * s, b * c + a * s}, 2);
      });
}

BENCHMARK(forward)->Name("rotary")->Args({2048, 8, 32})->Args({2048, 4, 64})->UseManualTime();

}  // namespace
}  // namespace ballast::kernels
