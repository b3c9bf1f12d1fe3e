#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include "kernels/bench_against.h"
#include "kernels/cross_entropy/cross_entropy.h"

namespace ballast::kernels {
namespace {

void with_gradient(benchmark::State& state) {
  const std::int64_t tokens = state.range(0), size = state.range(1), vocabulary = state.range(2);
  const auto x = at::randn({tokens, size}), weight = at::randn({vocabulary, size}) * 0.1;
  const auto target = at::randint(0, vocabulary, {tokens}, at::kLong);
  const auto dweight = at::zeros({vocabulary, size});
  bench_against(
      state, "flops_per_second", 6.0 * static_cast<double>(tokens * size * vocabulary),
      [&] { linear_cross_entropy_with_gradient(x, weight, target, 1e-3, dweight); },
      [&] {
        const auto log_p = at::log_softmax(at::mm(x, weight.t()), 1);
        const auto loss = -log_p.gather(1, target.unsqueeze(1));
        auto d = log_p.exp() * 1e-3;
        d.scatter_add_(1, target.unsqueeze(1), at::zeros({tokens, 1}) - 1e-3);
        const auto dx = at::mm(d, weight);
        dweight.addmm_(d.t(), x);
      });
}

BENCHMARK(with_gradient)
    ->Name("linear_cross_entropy_with_gradient")
    ->Args({2048, 256, 260})
    ->Args({1024, 256, 32000})
    ->UseManualTime();

}  // namespace
}  // namespace ballast::kernels
