#include "kernels/embedding/embedding.h"

#include "kernels/expert_rows/expert_rows.h"
#include "kernels/tensor_check.h"

namespace ballast::kernels {

at::Tensor embedding(const at::Tensor& weight_VD, const at::Tensor& token_T) {
  check_floating("embedding", "weight_VD", weight_VD, {kAnySize, kAnySize});
  check_index("embedding", "token_T", token_T, token_T.numel());
  check_index_range("embedding", "token_T", token_T, weight_VD.size(0));
  return gather_rows(weight_VD, token_T);
}

void accumulate_embedding_gradient(const at::Tensor& dy_TD, const at::Tensor& token_T, const at::Tensor& dweight_VD) {
  const char* op = "accumulate_embedding_gradient";
  check_floating(op, "dweight_VD", dweight_VD, {kAnySize, kAnySize});
  check_same_type(op, "dy_TD", dy_TD, dweight_VD, {kAnySize, dweight_VD.size(1)});
  check_index(op, "token_T", token_T, dy_TD.size(0));
  check_index_range(op, "token_T", token_T, dweight_VD.size(0));
  accumulate_rows(dy_TD, token_T, dweight_VD);
}

}  // namespace ballast::kernels
