#pragma once
// A run with every value explicit: how it is filled, written, hashed and compared.
#include <cstdint>
#include <string>
#include <vector>

#include "launch/config_file.h"

namespace google::protobuf {
class FieldDescriptor;
class Message;
}  // namespace google::protobuf

namespace ballast::launch {

/// A scalar value of a message and where it is.
struct ConfigLeaf {
  std::string path;
  std::string value;         ///< as in a file
  bool is_cosmetic = false;  ///< it, or a message around it, is marked cosmetic
};

/// Sets every absent scalar to its default and creates every absent message, except alternatives: an absent one stays absent.
void fill_defaults(google::protobuf::Message& message);

/// The scalars that are present, in the order of the schema.
std::vector<ConfigLeaf> leaves_of(const google::protobuf::Message& message);

/// Hash (XXH3, 64 bits) of the path and value of every leaf that is not cosmetic.
std::uint64_t config_hash(const std::vector<ConfigLeaf>& leaves);

/// The message as text that read_config_text accepts.
std::string config_text(const google::protobuf::Message& message);

}  // namespace ballast::launch
