#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include "kernels/adamw/adamw.h"
#include "kernels/bench_against.h"

namespace ballast::kernels {
namespace {

void step(benchmark::State& state) {
  const std::int64_t size = state.range(0);
  auto value = at::randn({size}), m = at::zeros({size}), v = at::zeros({size});
  const auto gradient = at::randn({size});
  const AdamWOptions options{.learning_rate = 1e-4};
  const std::vector<AdamWRun> runs{{0, size / 2, 0.1}, {size / 2, size, 0}};
  bench_against(
      state, "bytes_per_second", 28.0 * static_cast<double>(size), [&] { adamw(value, gradient, m, v, 3, options, runs); },
      [&] {
        m.mul_(0.9).add_(gradient, 0.1);
        v.mul_(0.95).addcmul_(gradient, gradient, 0.05);
        value.addcdiv_(m, v.sqrt().add_(1e-8), -1e-4);
      });
}

BENCHMARK(step)->Name("adamw")->Args({5 << 20})->UseManualTime();

}  // namespace
}  // namespace ballast::kernels
