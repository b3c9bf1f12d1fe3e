#include "scheduler/policy/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "scheduler/policy/ballast.h"
#include "scheduler/policy/chunk_heap.h"
#include "scheduler/policy/distca.h"
#include "scheduler/policy/dp_balanced.h"
#include "scheduler/policy/flexsp.h"
#include "scheduler/policy/hybrid_dp.h"
#include "scheduler/policy/llama_cp.h"
#include "scheduler/policy/longest_first.h"
#include "scheduler/policy/megatron_dcp.h"
#include "scheduler/policy/megatron_dcp_main.h"
#include "scheduler/policy/sequential.h"
#include "scheduler/policy/te_cp.h"
#include "scheduler/policy/ulysses.h"
#include "scheduler/policy/wlb.h"
#include "scheduler/policy/zeppelin.h"

namespace ballast::scheduler {

namespace {

constexpr Policy kPolicies[] = {
    {"sequential", "documents in arrival order, equal tokens, cut where they cross the border of a rank", place_sequential},
    {"dp_balanced", "documents in arrival order, kept whole, in packs for equal groups of ranks", place_dp_balanced,
     form_dp_balanced},
    {"longest_first", "documents kept whole, longest first, each to the rank with the least work", place_longest_first},
    {"te_cp", "every sequence on a ring of all ranks", place_te_cp},
    {"llama_cp", "one pack over all ranks, keys and values gathered, queries head and tail", place_llama_cp},
    {"ulysses", "packs over groups of ranks, split by head inside attention", place_ulysses},
    {"hybrid_dp", "rings of as many ranks as a sequence needs, longest first to the ranks with the least time", place_hybrid_dp,
     form_hybrid_dp},
    {"megatron_dcp", "groups of a power of two of ranks, each packed up to its tokens", place_megatron_dcp, form_megatron_dcp},
    {"megatron_dcp_main", "groups of a power of two of ranks, levelled by attention, in buckets", place_megatron_dcp_main,
     form_megatron_dcp_main, false},
    {"zeppelin", "whole sequences, rings inside a node, rings over nodes, by two thresholds", place_zeppelin},
    {"ballast", "short sequences whole, longer ones on rings inside a node, the longest by head over nodes; all work levelled",
     place_ballast},
    {"distca", "documents cut at rank borders; work above the mean is computed elsewhere, its tokens stay", place_distca,
     form_distca, false},
    {"chunk_heap", "the pack in equal chunks, heaviest first, each to the rank with the least work and fewer than its part",
     place_chunk_heap},
    {"flexsp", "groups of powers of two ranks, heads split inside; the fastest set of sizes", place_flexsp, form_flexsp},
    {"wlb", "whole documents in packs of equal work; each pack's queries cut over a group that gathers its keys", place_wlb,
     form_wlb},
};

}  // namespace

std::span<const Policy> policies() { return kPolicies; }

const Policy& find_policy(const std::string& name) {
  std::vector<std::string> known;
  for (const Policy& policy : kPolicies) {
    if (name == policy.name) return policy;
    known.emplace_back(policy.name);
  }
  throw std::invalid_argument(fmt::format("scheduler.policy: unknown policy '{}'; known: {}", name, fmt::join(known, ", ")));
}

}  // namespace ballast::scheduler
