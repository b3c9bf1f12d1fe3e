#pragma once
// Rows of tokens sorted for the experts, and the weighted sum back: dispatch and combine inside one rank.
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace ballast::kernels {

/// Copies the token of each row: y[r] = x[row_token[r]].
/// Shapes: x_TD [T, D], row_token_R [R] int64; returns [R, D].
/// Deterministic: also over the number of threads, like everything here.
/// Throws: c10::Error on wrong shapes or types; c10::IndexError on a token outside [0, T).
at::Tensor gather_rows(const at::Tensor& x_TD, const at::Tensor& row_token_R);

/// Gradient of gather_rows: dx[t] = sum of dy[r] over the rows of token t, in row order.
/// Shapes: dy_RD [R, D], row_token_R [R]; returns [num_tokens, D], zero for a token without rows.
at::Tensor gather_rows_backward(const at::Tensor& dy_RD, const at::Tensor& row_token_R, std::int64_t num_tokens);

/// Adds each row to its target in place, in row order: target[row_target[r]] += y[r].
/// Shapes: y_RD [R, D], row_target_R [R], target_SD [S, D].
void accumulate_rows(const at::Tensor& y_RD, const at::Tensor& row_target_R, const at::Tensor& target_SD);

/// Weighted sum of each token's rows, in row order: out[t] = sum over rows r of token t of row_weight[r] * y[r].
/// Shapes: y_RD [R, D], row_token_R [R] int64, row_weight_R [R]; returns [num_tokens, D], zero for a token without rows.
at::Tensor combine_rows(const at::Tensor& y_RD, const at::Tensor& row_token_R, const at::Tensor& row_weight_R,
                        std::int64_t num_tokens);

struct CombineRowsGradient {
  at::Tensor dy_RD;          ///< row_weight[r] * dout[row_token[r]]
  at::Tensor drow_weight_R;  ///< dot(dout[row_token[r]], y[r])
};

/// Gradients of combine_rows.
/// Shapes: dout_TD [T, D], y_RD [R, D], row_token_R [R], row_weight_R [R].
CombineRowsGradient combine_rows_backward(const at::Tensor& dout_TD, const at::Tensor& y_RD, const at::Tensor& row_token_R,
                                          const at::Tensor& row_weight_R);

}  // namespace ballast::kernels
