#include "launch/config_docs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <memory>
#include <stdexcept>

#include "launch/config_text.h"
#include "launch/field_hint.h"
#include "launch/schema_descriptor.h"
#include "scheduler/field_options.pb.h"

namespace ballast::launch {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

/// The schema with its comments, which the compiled-in descriptors lack.
const Descriptor& documented_run() {
  static const auto pool = [] {
    google::protobuf::FileDescriptorSet files;
    const std::string_view bytes = schema_descriptor();
    if (!files.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      throw std::logic_error("the schema descriptor of this build cannot be parsed");
    }
    auto built = std::make_unique<google::protobuf::DescriptorPool>();
    for (const auto& file : files.file()) {
      if (!built->BuildFile(file)) throw std::logic_error("the schema descriptor of this build is incomplete: " + file.name());
    }
    return built;
  }();
  return *pool->FindMessageTypeByName("ballast.schema.RunConfig");
}

/// Comments before and behind an element, as one text.
template <class Element>
std::string comment_of(const Element& element) {
  google::protobuf::SourceLocation location;
  if (!element.GetSourceLocation(&location)) return {};
  std::string comment;
  for (const char c : location.leading_comments + location.trailing_comments) {
    const bool is_space = c == '\n' || c == ' ';
    if (!is_space) {
      comment += c;
    } else if (!comment.empty() && comment.back() != ' ') {
      comment += ' ';
    }
  }
  while (comment.ends_with(' ')) comment.pop_back();
  return comment;
}

std::string type_of(const FieldDescriptor& field) {
  std::string type = field.type_name();
  if (field.message_type()) type = field.message_type()->name();
  if (field.enum_type()) {
    std::vector<std::string> names;
    for (int i = 0; i < field.enum_type()->value_count(); ++i) {
      if (field.enum_type()->value(i)->number() != 0) names.push_back(field.enum_type()->value(i)->name());
    }
    type = fmt::format("one of {}", fmt::join(names, ", "));
  }
  return field.is_repeated() ? "list of " + type : type;
}

/// The default as it would be written, or nothing.
std::string default_of(const FieldDescriptor& field) {
  google::protobuf::FieldDescriptorProto proto;
  field.CopyTo(&proto);
  return field.cpp_type() == FieldDescriptor::CPPTYPE_STRING && field.has_default_value()
             ? fmt::format("\"{}\"", proto.default_value())
             : proto.default_value();
}

std::vector<std::string> facts_of(const FieldDescriptor& documented) {
  // Options are extensions that only the compiled-in descriptor knows by type.
  const FieldDescriptor& field = *google::protobuf::DescriptorPool::generated_pool()
                                      ->FindMessageTypeByName(documented.containing_type()->full_name())
                                      ->FindFieldByName(documented.name());
  const auto& options = field.options();
  std::vector<std::string> facts;
  if (options.GetExtension(schema::required)) facts.push_back("required");
  if (const std::string value = default_of(field); !value.empty()) facts.push_back("default " + value);
  if (options.HasExtension(schema::min)) facts.push_back(fmt::format("at least {}", options.GetExtension(schema::min)));
  if (options.HasExtension(schema::max)) facts.push_back(fmt::format("at most {}", options.GetExtension(schema::max)));
  if (options.HasExtension(schema::unit)) facts.push_back("in " + options.GetExtension(schema::unit));
  std::vector<std::string> choices;
  for (int i = 0; i < options.ExtensionSize(schema::choice); ++i) choices.push_back(options.GetExtension(schema::choice, i));
  if (!choices.empty()) facts.push_back(fmt::format("one of {}", fmt::join(choices, ", ")));
  std::vector<std::string> others;
  for (const FieldDescriptor* other : alternatives_of(field)) others.push_back(other->name());
  if (!others.empty()) facts.push_back(fmt::format("not with {}", fmt::join(others, ", ")));
  if (options.GetExtension(schema::cosmetic)) facts.push_back("cosmetic");
  return facts;
}

void collect(const Descriptor& message, const std::string& path, std::vector<FieldDoc>& docs) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    const std::string full = field_path(path, field.name());
    FieldDoc doc{full, type_of(field), facts_of(field), comment_of(field)};
    if (field.message_type() && doc.comment.empty()) doc.comment = comment_of(*field.message_type());
    docs.push_back(std::move(doc));
    if (field.message_type()) collect(*field.message_type(), field.is_repeated() ? full + "[]" : full, docs);
  }
}

}  // namespace

std::vector<FieldDoc> field_docs(std::string_view path) {
  std::vector<FieldDoc> docs;
  collect(documented_run(), "", docs);
  if (path.empty()) return docs;
  std::vector<std::string> paths;
  for (const FieldDoc& doc : docs) paths.push_back(doc.path);
  std::erase_if(docs, [&](const FieldDoc& doc) {
    return doc.path != path && !(doc.path.starts_with(path) && (doc.path[path.size()] == '.' || doc.path[path.size()] == '['));
  });
  if (docs.empty()) {
    const std::vector<std::string> near = nearest_names(path, paths);
    throw std::invalid_argument(
        fmt::format("no field \"{}\"{}", path, near.empty() ? "" : fmt::format("; did you mean {}?", fmt::join(near, " or "))));
  }
  return docs;
}

std::string to_string(const FieldDoc& field) {
  std::string text = fmt::format("{}  {}", field.path, field.type);
  if (!field.facts.empty()) text += fmt::format("  ({})", fmt::join(field.facts, "; "));
  text += "\n";
  if (!field.comment.empty()) text += fmt::format("    {}\n", field.comment);
  return text;
}

}  // namespace ballast::launch
