#pragma once
#include <optional>

namespace ballast::metrics {

/// MFU: floating point operations per second of the real tokens, over what the ranks could do.
///   flops / seconds / peak_flops_per_second
/// Input: flops by formula ballast-1 (scheduler/cost); the peak is the sum over the ranks: on CPU their GEMM rate measured in
/// the same run. Returns: nothing when peak or time is unknown (not above zero). A value above 1 means that the peak is wrong.
std::optional<double> model_flops_utilization(double flops, double seconds, double peak_flops_per_second);

}  // namespace ballast::metrics
