#include "launch/commands.h"

namespace ballast::launch {
int run_config(const CommandLine&) { throw UsageError("ballast config: show, check, docs and diff are not there yet"); }
}  // namespace ballast::launch
