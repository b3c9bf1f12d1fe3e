#pragma once
// The field reference, made from the comments of the schema.
#include <string>
#include <string_view>
#include <vector>

namespace ballast::launch {

/// What is known about a field of the run, or about a message of it.
struct FieldDoc {
  std::string path;                ///< "optim.lr_schedule.warmup_steps"; entries of lists as "cluster.nodes[].num_ranks"
  std::string type;                ///< "int64", "Model", "list of Node", "one of FLOAT32, ..."
  std::vector<std::string> facts;  ///< "default 20", "required", "at least 0", "unit tokens", ...
  std::string comment;             ///< from the schema; of a message too
};

/// Every field of a run in the order of the schema, or those at and below `path`.
/// Throws: std::invalid_argument for a path that does not exist.
std::vector<FieldDoc> field_docs(std::string_view path);

/// A field as it is printed: a line with path, type and facts, then the comment, indented.
std::string to_string(const FieldDoc& field);

}  // namespace ballast::launch
