#pragma once
#include <cstdint>
#include <vector>

namespace ballast::scheduler {

/// By layer: the layer whose keys and values it reads. Every layer reads its own: models whose layers share them cannot be named
/// yet, though expansion and simulation count with it.
std::vector<int> kv_sources(std::int64_t num_layers);

}  // namespace ballast::scheduler
