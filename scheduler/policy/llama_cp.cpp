#include "scheduler/policy/llama_cp.h"

#include <numeric>

#include "scheduler/plan/layout.h"
#include "scheduler/policy/pack.h"

namespace ballast::scheduler {

Placement place_llama_cp(const PlacementRequest& request) {
  require_room(request, "llama_cp");
  Placement placement;
  if (request.sequences.empty()) return placement;
  const int num_ranks = request.topology.num_ranks();
  AllGather gather;
  gather.sequences.assign(request.sequences.begin(), request.sequences.end());
  gather.ranks.resize(num_ranks);
  std::iota(gather.ranks.begin(), gather.ranks.end(), 0);
  const std::vector<std::vector<Chunk>> parts = Pack(request.sequences, request.lengths).equal_parts(2 * num_ranks);
  for (int i = 0; i < num_ranks; ++i) {
    std::vector<Chunk> queries = parts[i];
    for (const Chunk& chunk : parts[2 * num_ranks - 1 - i]) append_chunk(queries, chunk);
    gather.queries.push_back(std::move(queries));
  }
  placement.work.push_back(std::move(gather));
  return placement;
}

}  // namespace ballast::scheduler
