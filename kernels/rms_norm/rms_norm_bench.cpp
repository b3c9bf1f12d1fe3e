#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/rsqrt.h>

#include "kernels/bench_against.h"
#include "kernels/rms_norm/rms_norm.h"

namespace ballast::kernels {
namespace {

void forward(benchmark::State& state) {
  const auto x = at::randn({state.range(0), state.range(1)}), weight = at::randn({state.range(1)});
  bench_against(
      state, "bytes_per_second", 8.0 * static_cast<double>(x.numel()), [&] { rms_norm(x, weight, 1e-5); },
      [&] { x* at::rsqrt(x.square().mean(-1, true) + 1e-5) * weight; });
}

void backward(benchmark::State& state) {
  const auto x = at::randn({state.range(0), state.range(1)}), weight = at::randn({state.range(1)}), dy = at::randn(x.sizes());
  const auto rstd = rms_norm(x, weight, 1e-5).rstd, scale = rstd.unsqueeze(-1);
  bench_against(
      state, "bytes_per_second", 12.0 * static_cast<double>(x.numel()), [&] { rms_norm_backward(dy, x, weight, rstd); },
      [&] {
        const auto g = dy * weight, normal = x * scale;
        const auto dx = scale * (g - normal * (g * normal).mean(-1, true)), dweight = (dy * normal).sum(0);
      });
}

BENCHMARK(forward)->Name("rms_norm")->Args({2048, 256})->Args({16384, 32})->UseManualTime();
BENCHMARK(backward)->Name("rms_norm_backward")->Args({2048, 256})->Args({16384, 32})->UseManualTime();

}  // namespace
}  // namespace ballast::kernels
