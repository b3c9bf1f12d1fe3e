#pragma once
#include <cstdint>
#include <vector>

namespace ballast::scheduler {

/// By layer: the layer whose keys and values it reads in this step. Every layer reads its own.
std::vector<int> kv_sources(std::int64_t num_layers);

}  // namespace ballast::scheduler
