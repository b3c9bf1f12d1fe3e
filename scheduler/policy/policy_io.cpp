#include "scheduler/policy/policy_io.h"

#include "scheduler/policy/scheduler.pb.h"

namespace ballast::scheduler {

PolicyOptions policy_options_from(const schema::Scheduler& scheduler) {
  return {scheduler.policy(),
          scheduler.tokens_per_step(),
          scheduler.tokens_per_micro_batch(),
          scheduler.token_cap_per_rank(),
          scheduler.tokens_per_rank(),
          remap_from(scheduler.remap())};
}

}  // namespace ballast::scheduler
