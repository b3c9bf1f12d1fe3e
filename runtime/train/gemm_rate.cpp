#include "runtime/train/gemm_rate.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>

namespace ballast::train {

std::vector<GemmShape> gemm_shapes(const model::ModelConfig& config, std::int64_t num_tokens) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t query_width = config.num_attention_heads * config.head_dim;
  std::vector<GemmShape> shapes = {{num_tokens, hidden, query_width},
                                   {num_tokens, hidden, 2 * config.intermediate_size},
                                   {num_tokens, config.intermediate_size, hidden},
                                   {num_tokens, hidden, config.vocab_size}};
  if (config.num_experts > 0) {
    const std::int64_t rows = std::max<std::int64_t>(1, num_tokens * config.experts_per_token / config.num_experts);
    shapes.push_back({rows, hidden, 2 * config.expert_intermediate_size});
  }
  std::ranges::stable_sort(shapes, std::greater{}, [](const GemmShape& shape) { return shape[0] * shape[1] * shape[2]; });
  shapes.resize(3);
  shapes.push_back({2048, 2048, 2048});
  return shapes;
}

double measure_gemm_rate(std::span<const GemmShape> shapes, at::ScalarType dtype, double seconds_per_shape) {
  using Clock = std::chrono::steady_clock;
  const c10::InferenceMode no_autograd;
  double best = 0;
  for (const auto& [rows, inner, columns] : shapes) {
    const at::Tensor left = at::ones({rows, inner}, dtype);
    const at::Tensor right = at::ones({inner, columns}, dtype);
    at::Tensor product = at::empty({rows, columns}, dtype);
    at::mm_out(product, left, right);
    const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(inner) * static_cast<double>(columns);
    const Clock::time_point begin = Clock::now();
    double seconds = 0;
    std::int64_t repeats = 0;
    do {
      at::mm_out(product, left, right);
      ++repeats;
      seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    } while (seconds < seconds_per_shape);
    best = std::max(best, flops * static_cast<double>(repeats) / seconds);
  }
  return best;
}

}  // namespace ballast::train
