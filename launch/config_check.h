#pragma once
// The two passes of config checking; both torch-free and MPI-free. Findings go where the fields were given.
#include <optional>
#include <string>

#include "launch/config_text.h"

namespace ballast::schema {
class RunConfig;
}

namespace ballast::launch {

/// First pass, every message alone: what must be given is given, numbers are within the limits that the schema states, strings
/// are among its choices. `message` is as read, before defaults are filled in; `path` is where it belongs in the run.
void check_fields(const google::protobuf::Message& message, const std::string& path, ConfigReading& reading);

/// Second pass, across messages, on a run with all defaults: shapes divide, lengths fit, experts and nodes match the ranks.
/// Without `world` the ranks are those of the cluster, if it names its nodes. A check is left out when a field that it is about
/// already has a finding. `has_data`: the run's own data and training are used too, not only model and cluster.
void check_run(const schema::RunConfig& run, std::optional<int> world, bool has_data, ConfigReading& reading);

}  // namespace ballast::launch
