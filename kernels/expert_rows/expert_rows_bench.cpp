#include <ATen/TensorOperators.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include "kernels/bench_against.h"
#include "kernels/expert_rows/expert_rows.h"

namespace ballast::kernels {
namespace {

struct Inputs {
  at::Tensor x, y, token, weight;
  explicit Inputs(const benchmark::State& state)
      : x(at::randn({state.range(0), state.range(1)})),
        y(at::randn({2 * state.range(0), state.range(1)})),
        token(at::randint(0, state.range(0), {2 * state.range(0)}, at::kLong)),
        weight(at::randn({2 * state.range(0)})) {}
};

void gather(benchmark::State& state) {
  const Inputs in(state);
  bench_against(
      state, "bytes_per_second", 8.0 * static_cast<double>(in.y.numel()), [&] { gather_rows(in.x, in.token); },
      [&] { in.x.index_select(0, in.token); });
}

void combine(benchmark::State& state) {
  const Inputs in(state);
  bench_against(
      state, "bytes_per_second", 6.0 * static_cast<double>(in.y.numel()),
      [&] { combine_rows(in.y, in.token, in.weight, in.x.size(0)); },
      [&] { at::zeros(in.x.sizes()).index_add_(0, in.token, in.y * in.weight.unsqueeze(1)); });
}

void combine_backward(benchmark::State& state) {
  const Inputs in(state);
  bench_against(
      state, "bytes_per_second", 12.0 * static_cast<double>(in.y.numel()),
      [&] { combine_rows_backward(in.x, in.y, in.token, in.weight); },
      [&] {
        const auto d = in.x.index_select(0, in.token);
        const auto dy = d * in.weight.unsqueeze(1), dweight = (d * in.y).sum(1);
      });
}

BENCHMARK(gather)->Name("gather_rows")->Args({2048, 256})->UseManualTime();
BENCHMARK(combine)->Name("combine_rows")->Args({2048, 256})->UseManualTime();
BENCHMARK(combine_backward)->Name("combine_rows_backward")->Args({2048, 256})->UseManualTime();

}  // namespace
}  // namespace ballast::kernels
