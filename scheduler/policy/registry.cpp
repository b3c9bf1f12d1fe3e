#include "scheduler/policy/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "scheduler/policy/ballast.h"
#include "scheduler/policy/chunk_heap.h"
#include "scheduler/policy/distca.h"
#include "scheduler/policy/flexsp.h"
#include "scheduler/policy/longest_first.h"
#include "scheduler/policy/sequential.h"
#include "scheduler/policy/wlb.h"

namespace ballast::scheduler {

namespace {

constexpr Policy kPolicies[] = {
    {"sequential", "documents in arrival order, kept whole, in packs of a rank's budget", place_sequential},
    {"longest_first", "documents kept whole, longest first, each to the rank with the least work", place_longest_first},
    {"ballast", "short sequences whole, longer ones on rings inside a node, the longest by head over nodes; all work levelled",
     place_ballast},
    {"distca", "documents cut at rank borders; work above the mean is computed elsewhere, its tokens stay", place_distca},
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
