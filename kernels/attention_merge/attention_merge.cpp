#include "kernels/attention_merge/attention_merge.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "kernels/attention_merge/attention_merge_cpu.h"
#include "kernels/tensor_check.h"

namespace ballast::kernels {

void attention_merge(const at::Tensor& o_TNH, const at::Tensor& lse_TN, const at::Tensor& part_o_TNH,
                     const at::Tensor& part_lse_TN) {
  check_floating("attention_merge", "o_TNH", o_TNH, {kAnySize, kAnySize, kAnySize});
  check_same_type("attention_merge", "lse_TN", lse_TN, o_TNH, o_TNH.sizes().slice(0, 2));
  check_same_type("attention_merge", "part_o_TNH", part_o_TNH, o_TNH, o_TNH.sizes());
  check_same_type("attention_merge", "part_lse_TN", part_lse_TN, o_TNH, lse_TN.sizes());
  const std::int64_t size = o_TNH.size(2);
  AT_DISPATCH_FLOATING_TYPES(o_TNH.scalar_type(), "attention_merge", [&] {
    auto* o = o_TNH.mutable_data_ptr<scalar_t>();
    auto* lse = lse_TN.mutable_data_ptr<scalar_t>();
    const auto* part_o = part_o_TNH.const_data_ptr<scalar_t>();
    const auto* part_lse = part_lse_TN.const_data_ptr<scalar_t>();
    const std::int64_t grain = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, size));
    at::parallel_for(0, lse_TN.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
      attention_merge_rows(o + begin * size, lse + begin, part_o + begin * size, part_lse + begin, end - begin, size);
    });
  });
}

}  // namespace ballast::kernels
