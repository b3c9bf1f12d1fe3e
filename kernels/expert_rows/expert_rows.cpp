#include "kernels/expert_rows/expert_rows.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/expert_rows/expert_rows_cpu.h"
#include "kernels/tensor_check.h"

namespace ballast::kernels {
namespace {

std::int64_t rows_per_task(std::int64_t size) { return std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, size)); }

/// The rows of each target, in row order: those of target s are rows[begin[s]] .. rows[begin[s + 1] - 1].
struct RowsByTarget {
  std::vector<std::int64_t> begin, rows;

  RowsByTarget(const at::Tensor& row_target_R, std::int64_t num_targets) : begin(num_targets + 1, 0), rows(row_target_R.numel()) {
    const auto* target = row_target_R.const_data_ptr<std::int64_t>();
    const std::int64_t num_rows = row_target_R.numel();
    for (std::int64_t r = 0; r < num_rows; ++r) {
      ++begin[target[r] + 1];
    }
    for (std::int64_t s = 0; s < num_targets; ++s) {
      begin[s + 1] += begin[s];
    }
    std::vector<std::int64_t> next(begin.begin(), begin.end() - 1);
    for (std::int64_t r = 0; r < num_rows; ++r) {
      rows[next[target[r]]++] = r;
    }
  }
};

/// target[s] (+)= weighted sum of the rows of s; row_weight undefined means 1.
void sum_by_target(const at::Tensor& y_RD, const at::Tensor& row_target_R, const at::Tensor& row_weight_R, bool is_added,
                   const at::Tensor& target_SD) {
  const std::int64_t num_targets = target_SD.size(0), size = target_SD.size(1);
  const RowsByTarget by_target(row_target_R, num_targets);
  AT_DISPATCH_FLOATING_TYPES(y_RD.scalar_type(), "sum_by_target", [&] {
    const auto* y = y_RD.const_data_ptr<scalar_t>();
    const auto* weight = row_weight_R.defined() ? row_weight_R.const_data_ptr<scalar_t>() : nullptr;
    auto* target = target_SD.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, num_targets, rows_per_task(size), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t s = begin; s < end; ++s) {
        const std::int64_t first = by_target.begin[s];
        sum_rows(y, by_target.rows.data() + first, by_target.begin[s + 1] - first, weight, size, is_added, target + s * size);
      }
    });
  });
}

void check_rows(const char* op, const at::Tensor& y_RD, const at::Tensor& row_token_R, std::int64_t num_tokens) {
  check_floating(op, "y_RD", y_RD, {kAnySize, kAnySize});
  TORCH_CHECK(num_tokens >= 0, op, ": num_tokens is ", num_tokens, ", wanted 0 or more");
  check_index(op, "row_token_R", row_token_R, y_RD.size(0));
  check_index_range(op, "row_token_R", row_token_R, num_tokens);
}

}  // namespace

at::Tensor gather_rows(const at::Tensor& x_TD, const at::Tensor& row_token_R) {
  check_floating("gather_rows", "x_TD", x_TD, {kAnySize, kAnySize});
  const std::int64_t num_rows = row_token_R.numel();
  check_index("gather_rows", "row_token_R", row_token_R, num_rows);
  check_index_range("gather_rows", "row_token_R", row_token_R, x_TD.size(0));
  at::Tensor y_RD = at::empty({num_rows, x_TD.size(1)}, x_TD.options());
  const std::size_t row_bytes = static_cast<std::size_t>(x_TD.size(1)) * x_TD.element_size();
  const auto* x = static_cast<const std::byte*>(x_TD.const_data_ptr());
  const auto* token = row_token_R.const_data_ptr<std::int64_t>();
  auto* y = static_cast<std::byte*>(y_RD.mutable_data_ptr());
  at::parallel_for(0, row_bytes == 0 ? 0 : num_rows, rows_per_task(x_TD.size(1)), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      std::memcpy(y + r * row_bytes, x + token[r] * row_bytes, row_bytes);
    }
  });
  return y_RD;
}

at::Tensor gather_rows_backward(const at::Tensor& dy_RD, const at::Tensor& row_token_R, std::int64_t num_tokens) {
  check_rows("gather_rows_backward", dy_RD, row_token_R, num_tokens);
  at::Tensor dx_TD = at::empty({num_tokens, dy_RD.size(1)}, dy_RD.options());
  sum_by_target(dy_RD, row_token_R, {}, false, dx_TD);
  return dx_TD;
}

void accumulate_rows(const at::Tensor& y_RD, const at::Tensor& row_target_R, const at::Tensor& target_SD) {
  check_floating("accumulate_rows", "target_SD", target_SD, {kAnySize, kAnySize});
  check_rows("accumulate_rows", y_RD, row_target_R, target_SD.size(0));
  check_same_type("accumulate_rows", "y_RD", y_RD, target_SD, {kAnySize, target_SD.size(1)});
  sum_by_target(y_RD, row_target_R, {}, true, target_SD);
}

at::Tensor combine_rows(const at::Tensor& y_RD, const at::Tensor& row_token_R, const at::Tensor& row_weight_R,
                        std::int64_t num_tokens) {
  check_rows("combine_rows", y_RD, row_token_R, num_tokens);
  check_same_type("combine_rows", "row_weight_R", row_weight_R, y_RD, {y_RD.size(0)});
  at::Tensor out_TD = at::empty({num_tokens, y_RD.size(1)}, y_RD.options());
  sum_by_target(y_RD, row_token_R, row_weight_R, false, out_TD);
  return out_TD;
}

CombineRowsGradient combine_rows_backward(const at::Tensor& dout_TD, const at::Tensor& y_RD, const at::Tensor& row_token_R,
                                          const at::Tensor& row_weight_R) {
  const char* op = "combine_rows_backward";
  check_floating(op, "dout_TD", dout_TD, {kAnySize, kAnySize});
  check_rows(op, y_RD, row_token_R, dout_TD.size(0));
  check_same_type(op, "y_RD", y_RD, dout_TD, {kAnySize, dout_TD.size(1)});
  check_same_type(op, "row_weight_R", row_weight_R, dout_TD, {y_RD.size(0)});
  const std::int64_t num_rows = y_RD.size(0), size = y_RD.size(1);
  CombineRowsGradient result{at::empty(y_RD.sizes(), y_RD.options()), at::empty({num_rows}, y_RD.options())};
  AT_DISPATCH_FLOATING_TYPES(y_RD.scalar_type(), "combine_rows_backward", [&] {
    const auto* dout = dout_TD.const_data_ptr<scalar_t>();
    const auto* y = y_RD.const_data_ptr<scalar_t>();
    const auto* token = row_token_R.const_data_ptr<std::int64_t>();
    const auto* weight = row_weight_R.const_data_ptr<scalar_t>();
    auto* dy = result.dy_RD.mutable_data_ptr<scalar_t>();
    auto* dweight = result.drow_weight_R.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, num_rows, rows_per_task(size), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        dweight[r] = combine_row_backward(dout + token[r] * size, y + r * size, weight[r], size, dy + r * size);
      }
    });
  });
  return result;
}

}  // namespace ballast::kernels
