#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>

#include "kernels/attention/attention.h"
#include "kernels/bench_against.h"

namespace ballast::kernels {
namespace {

/// `speedup` here is the share of the rate of a matrix product (n = 512) that attention reaches; 2048 tokens in documents of
/// range(0).
void against_gemm(benchmark::State& state, bool is_backward) {
  const std::int64_t tokens = 2048, length = state.range(0), heads = state.range(1), groups = state.range(2),
                     size = state.range(3);
  const auto q = at::randn({tokens, heads, size}), k = at::randn({tokens, groups, size}), v = at::randn({tokens, groups, size});
  std::vector<std::int64_t> offsets;
  for (std::int64_t t = 0; t <= tokens; t += length) {
    offsets.push_back(t);
  }
  const auto saved = attention(q, k, v, offsets, 0.2);
  const double pairs = static_cast<double>(tokens) * static_cast<double>(length + 1) / 2;
  const double flops = (is_backward ? 10.0 : 4.0) * pairs * static_cast<double>(heads * size);
  const auto a = at::randn({512, 512});
  const double gemm_flops = 2.0 * 512 * 512 * 512;
  bench_against(
      state, "flops_per_second", flops,
      [&] {
        if (is_backward) {
          attention_backward(q, q, k, v, saved.o_TNH, saved.lse_TN, offsets, 0.2);
        } else {
          attention(q, k, v, offsets, 0.2);
        }
      },
      [&] { at::mm(a, a); });
  state.counters["speedup"] = state.counters["speedup"] * flops / gemm_flops;
}

void forward(benchmark::State& state) { against_gemm(state, false); }
void backward(benchmark::State& state) { against_gemm(state, true); }

BENCHMARK(forward)->Name("attention")->ArgsProduct({{8, 64, 512, 2048}, {8}, {4}, {32}})->UseManualTime();
BENCHMARK(backward)->Name("attention_backward")->ArgsProduct({{8, 64, 512, 2048}, {8}, {4}, {32}})->UseManualTime();

}  // namespace
}  // namespace ballast::kernels
