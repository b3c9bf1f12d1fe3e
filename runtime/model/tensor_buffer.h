#pragma once
// A tensor's memory as the communicators see it.
#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include "runtime/comm/communicator.h"

namespace ballast::model {

/// The elements of a contiguous tensor. Does not own: keep the tensor until the call is finished.
inline comm::Buffer buffer(const at::Tensor& tensor) {
  TORCH_CHECK(tensor.is_contiguous(), "only contiguous tensors travel");
  comm::Dtype dtype{};
  switch (tensor.scalar_type()) {
    case at::kFloat:
      dtype = comm::Dtype::kFloat32;
      break;
    case at::kDouble:
      dtype = comm::Dtype::kFloat64;
      break;
    case at::kLong:
      dtype = comm::Dtype::kInt64;
      break;
    case at::kBFloat16:
      dtype = comm::Dtype::kBfloat16;
      break;
    default:
      TORCH_CHECK(false, "tensors of type ", toString(tensor.scalar_type()), " do not travel");
  }
  return {tensor.data_ptr(), tensor.numel(), dtype, tensor.is_cuda() ? comm::Device::kCuda : comm::Device::kHost};
}

}  // namespace ballast::model
