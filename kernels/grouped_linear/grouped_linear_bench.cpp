#include <ATen/ops/_grouped_mm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include "kernels/bench_against.h"
#include "kernels/grouped_linear/grouped_linear.h"

namespace ballast::kernels {
namespace {

void forward(benchmark::State& state) {
  const std::int64_t rows = state.range(0), experts = state.range(1), in = state.range(2), out = state.range(3);
  const auto x = at::randn({rows, in}), weight = at::randn({experts, out, in});
  std::vector<std::int64_t> offsets;
  for (std::int64_t e = 0; e <= experts; ++e) {
    offsets.push_back(rows * e / experts);
  }
  const auto ends = at::tensor(std::vector<std::int64_t>(offsets.begin() + 1, offsets.end())).to(at::kInt);
  bench_against(
      state, "flops_per_second", 2.0 * static_cast<double>(rows * in * out), [&] { grouped_linear(x, weight, offsets); },
      [&] { at::_grouped_mm(x, weight.transpose(1, 2), ends); });
}

BENCHMARK(forward)->Name("grouped_linear")->Args({4096, 8, 256, 512})->Args({4096, 64, 256, 512})->UseManualTime();

}  // namespace
}  // namespace ballast::kernels
