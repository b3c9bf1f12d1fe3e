#include "scheduler/policy/policy_io.h"

#include <fmt/format.h>

#include <stdexcept>

#include "scheduler/policy/scheduler.pb.h"

namespace ballast::scheduler {

PolicyOptions policy_options_from(const schema::Scheduler& scheduler) {
  const std::string& routing = scheduler.routing();
  if (routing != "policy" && routing != "on" && routing != "off") {
    throw std::invalid_argument(fmt::format("scheduler.routing: '{}'; wanted policy, off or on", routing));
  }
  return {scheduler.policy(),
          scheduler.tokens_per_step(),
          scheduler.tokens_per_micro_batch(),
          scheduler.token_cap_per_rank(),
          scheduler.tokens_per_rank(),
          remap_from(scheduler.remap()),
          routing == "policy" ? std::nullopt : std::optional(routing == "on")};
}

}  // namespace ballast::scheduler
