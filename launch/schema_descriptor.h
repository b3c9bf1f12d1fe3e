#pragma once
// The compiled schema with its comments, part of the executable.
#include <string_view>

namespace ballast::launch {

/// A serialized google.protobuf.FileDescriptorSet of all .proto files, with source locations.
std::string_view schema_descriptor();

}  // namespace ballast::launch
