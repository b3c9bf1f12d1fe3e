#include "launch/resolved_config.h"

#include <fmt/format.h>
#include <google/protobuf/text_format.h>
#include <xxhash.h>

#include <algorithm>

#include "launch/config_text.h"
#include "runtime/train/run_config.pb.h"
#include "scheduler/field_options.pb.h"

namespace ballast::launch {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

google::protobuf::TextFormat::Printer printer() {
  google::protobuf::TextFormat::Printer printer;
  printer.SetUseUtf8StringEscaping(true);
  printer.SetUseShortRepeatedPrimitives(true);
  return printer;
}

void collect_leaves(const Message& message, const std::string& path, bool is_cosmetic, std::vector<ConfigLeaf>& leaves) {
  const auto& reflection = *message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    const bool is_field_cosmetic = is_cosmetic || field.options().GetExtension(schema::cosmetic);
    const std::string full = field_path(path, field.name());
    const int num_entries = field.is_repeated() ? reflection.FieldSize(message, &field) : reflection.HasField(message, &field);
    for (int entry = 0; entry < num_entries; ++entry) {
      const std::string entry_path = field.is_repeated() ? fmt::format("{}[{}]", full, entry) : full;
      if (field.message_type()) {
        const Message& inner =
            field.is_repeated() ? reflection.GetRepeatedMessage(message, &field, entry) : reflection.GetMessage(message, &field);
        collect_leaves(inner, entry_path, is_field_cosmetic, leaves);
        continue;
      }
      ConfigLeaf leaf{entry_path, {}, is_field_cosmetic};
      printer().PrintFieldValueToString(message, &field, field.is_repeated() ? entry : -1, &leaf.value);
      leaves.push_back(std::move(leaf));
    }
  }
}

void set_default(Message& message, const FieldDescriptor& field) {
  const auto& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.SetInt32(&message, &field, field.default_value_int32());
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection.SetInt64(&message, &field, field.default_value_int64());
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection.SetUInt32(&message, &field, field.default_value_uint32());
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.SetUInt64(&message, &field, field.default_value_uint64());
    case FieldDescriptor::CPPTYPE_FLOAT:
      return reflection.SetFloat(&message, &field, field.default_value_float());
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.SetDouble(&message, &field, field.default_value_double());
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.SetBool(&message, &field, field.default_value_bool());
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.SetEnum(&message, &field, field.default_value_enum());
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.SetString(&message, &field, field.default_value_string());
    case FieldDescriptor::CPPTYPE_MESSAGE:
      reflection.MutableMessage(&message, &field);
  }
}

}  // namespace

void fill_defaults(Message& message) {
  const auto& reflection = *message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    const bool is_alternative = !alternatives_of(field).empty();
    if (!field.is_repeated() && !is_alternative && !reflection.HasField(message, &field)) set_default(message, field);
    if (!field.message_type()) continue;
    const int num_entries = field.is_repeated() ? reflection.FieldSize(message, &field) : reflection.HasField(message, &field);
    for (int entry = 0; entry < num_entries; ++entry) {
      fill_defaults(field.is_repeated() ? *reflection.MutableRepeatedMessage(&message, &field, entry)
                                        : *reflection.MutableMessage(&message, &field));
    }
  }
}

std::vector<ConfigLeaf> leaves_of(const Message& message) {
  std::vector<ConfigLeaf> leaves;
  collect_leaves(message, "", false, leaves);
  return leaves;
}

std::uint64_t config_hash(const std::vector<ConfigLeaf>& leaves) {
  std::string text;
  for (const ConfigLeaf& leaf : leaves) {
    if (!leaf.is_cosmetic) text += fmt::format("{}={}\n", leaf.path, leaf.value);
  }
  return XXH3_64bits(text.data(), text.size());
}

std::string config_text(const Message& message) {
  std::string text;
  printer().PrintToString(message, &text);
  return text;
}

std::vector<FieldDifference> differing_fields(const schema::RunConfig& left, const schema::RunConfig& right) {
  const std::vector<ConfigLeaf> left_leaves = leaves_of(left);
  const std::vector<ConfigLeaf> right_leaves = leaves_of(right);
  const auto value_of = [](const std::vector<ConfigLeaf>& leaves, const std::string& path) -> std::string {
    const auto leaf = std::find_if(leaves.begin(), leaves.end(), [&](const ConfigLeaf& it) { return it.path == path; });
    return leaf == leaves.end() ? "" : leaf->value;
  };
  std::vector<FieldDifference> differences;
  for (const ConfigLeaf& leaf : left_leaves) {
    const std::string other = value_of(right_leaves, leaf.path);
    if (other != leaf.value) differences.push_back({leaf.path, leaf.value, other, leaf.is_cosmetic});
  }
  for (const ConfigLeaf& leaf : right_leaves) {
    if (value_of(left_leaves, leaf.path).empty()) differences.push_back({leaf.path, "", leaf.value, leaf.is_cosmetic});
  }
  return differences;
}

}  // namespace ballast::launch
