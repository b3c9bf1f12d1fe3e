#include "runtime/metrics/throughput.h"

namespace ballast::metrics {

std::optional<double> model_flops_utilization(double flops, double seconds, double peak_flops_per_second) {
  if (!(seconds > 0) || !(peak_flops_per_second > 0)) return std::nullopt;
  return flops / seconds / peak_flops_per_second;
}

}  // namespace ballast::metrics
