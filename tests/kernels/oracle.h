#pragma once
// What the kernel tests compare with: compositions of LibTorch operators in fp64 and their autograd.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace ballast::kernels {

inline constexpr at::ScalarType kTypes[] = {at::kDouble, at::kFloat};

/// Largest error against the fp64 reference, relative to the largest reference element.
inline double tolerance(at::ScalarType type) { return type == at::kDouble ? 1e-13 : 2e-6; }

inline at::Tensor normal(at::IntArrayRef sizes, at::ScalarType type, std::uint64_t seed) {
  return at::randn(sizes, at::detail::createCPUGenerator(seed), at::kDouble).to(type);
}

inline at::Tensor integers(std::int64_t bound, std::int64_t count, std::uint64_t seed) {
  return at::randint(0, bound, {count}, at::detail::createCPUGenerator(seed), at::kLong);
}

struct Differentiated {
  at::Tensor y;
  std::vector<at::Tensor> gradients;  ///< by each input
};

/// Runs fn on fp64 copies of the inputs under autograd and pulls dy back through it.
template <typename Fn>
Differentiated differentiate(const Fn& fn, const std::vector<at::Tensor>& inputs, const at::Tensor& dy) {
  std::vector<at::Tensor> leaves;
  for (const auto& input : inputs) {
    leaves.push_back(input.to(at::kDouble).clone().set_requires_grad(true));
  }
  const at::Tensor y = fn(leaves);
  y.backward(dy.to(at::kDouble));
  Differentiated result{y.detach(), {}};
  for (const auto& leaf : leaves) {
    result.gradients.push_back(leaf.grad());
  }
  return result;
}

inline void expect_close(const at::Tensor& got, const at::Tensor& wanted, double bound) {
  ASSERT_EQ(got.sizes(), wanted.sizes());
  if (got.numel() == 0) {
    return;
  }
  const auto reference = wanted.to(at::kDouble);
  const double error = (got.to(at::kDouble) - reference).abs().max().item<double>();
  const double size = reference.abs().max().item<double>();
  EXPECT_LE(error, bound * (size > 0 ? size : 1)) << "largest reference element " << size;
}

/// The call throws and says this.
template <typename Fn>
void expect_message(const Fn& fn, const std::string& text) {
  try {
    fn();
    ADD_FAILURE() << "no exception, wanted: " << text;
  } catch (const c10::Error& error) {
    EXPECT_NE(std::string(error.what_without_backtrace()).find(text), std::string::npos) << error.what_without_backtrace();
  }
}

/// fn() gives the same bits with one thread and with two (fn returns a vector of tensors).
template <typename Fn>
void expect_same_on_two_threads(const Fn& fn) {
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const std::vector<at::Tensor> one = fn();
  at::set_num_threads(2);
  const std::vector<at::Tensor> two = fn();
  at::set_num_threads(before);
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_TRUE(at::equal(one[i], two[i])) << "result " << i;
  }
}

}  // namespace ballast::kernels
