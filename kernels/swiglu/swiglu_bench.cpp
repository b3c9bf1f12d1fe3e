#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>

#include "kernels/bench_against.h"
#include "kernels/swiglu/swiglu.h"

namespace ballast::kernels {
namespace {

void forward(benchmark::State& state) {
  const std::int64_t size = state.range(1);
  const auto gate_up = at::randn({state.range(0), 2 * size});
  bench_against(
      state, "bytes_per_second", 6.0 * static_cast<double>(gate_up.numel()), [&] { swiglu(gate_up); },
      [&] { at::silu(gate_up.narrow(1, 0, size)) * gate_up.narrow(1, size, size); });
}

void backward(benchmark::State& state) {
  const std::int64_t size = state.range(1);
  const auto gate_up = at::randn({state.range(0), 2 * size}), dy = at::randn({state.range(0), size});
  bench_against(
      state, "bytes_per_second", 10.0 * static_cast<double>(gate_up.numel()), [&] { swiglu_backward(dy, gate_up); },
      [&] {
        const auto gate = gate_up.narrow(1, 0, size), up = gate_up.narrow(1, size, size), s = at::sigmoid(gate);
        const auto d = at::cat({dy * up * s * (1 + gate * (1 - s)), dy * gate * s}, 1);
      });
}

BENCHMARK(forward)->Name("swiglu")->Args({4096, 256})->UseManualTime();
BENCHMARK(backward)->Name("swiglu_backward")->Args({4096, 256})->UseManualTime();

}  // namespace
}  // namespace ballast::kernels
