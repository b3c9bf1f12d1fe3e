#pragma once
// The two passes of config checking; both torch-free and MPI-free. Findings go where the fields were given.
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
/// `sources` say what the run is for: its ranks, whether the cluster follows them, whether its own data is read. A check is left
/// out when a field that it is about already has a finding.
void check_run(const schema::RunConfig& run, const ConfigSources& sources, ConfigReading& reading);

}  // namespace ballast::launch
