#include "scheduler/policy/policy_io.h"

#include <fmt/format.h>

#include <stdexcept>

#include "scheduler/policy/scheduler.pb.h"

namespace ballast::scheduler {

std::optional<bool> routing_from(const std::string& name) {
  if (name == "policy") return std::nullopt;
  if (name != "on" && name != "off")
    throw std::invalid_argument(fmt::format("scheduler.routing: '{}'; wanted policy, off or on", name));
  return name == "on";
}

PolicyOptions policy_options_from(const schema::Scheduler& scheduler) {
  return {scheduler.policy(),
          scheduler.tokens_per_step(),
          scheduler.tokens_per_micro_batch(),
          scheduler.token_cap_per_rank(),
          scheduler.tokens_per_rank(),
          remap_from(scheduler.remap()),
          routing_from(scheduler.routing())};
}

}  // namespace ballast::scheduler
