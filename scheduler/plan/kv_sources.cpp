#include "scheduler/plan/kv_sources.h"

#include <numeric>

namespace ballast::scheduler {

std::vector<int> kv_sources(std::int64_t num_layers) {
  std::vector<int> sources(num_layers);
  std::iota(sources.begin(), sources.end(), 0);
  return sources;
}

}  // namespace ballast::scheduler
