#include "launch/config_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <variant>

#include "launch/field_hint.h"
#include "scheduler/field_options.pb.h"

namespace ballast::launch {
namespace {

using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::io::Tokenizer;
using Token = Tokenizer::Token;

constexpr std::size_t kMaxTextBytes = 1 << 20;
constexpr int kMaxDepth = 32;

/// Ends the reading of a source; its finding was added.
struct SyntaxError {};

/// A value that was given, or what was wanted instead.
using Value = std::variant<std::int64_t, std::uint64_t, double, bool, std::string, const EnumValueDescriptor*>;
struct Wanted {
  std::string text;
};
using ParsedValue = std::variant<Value, Wanted>;

template <class Number>
ParsedValue parse_number(std::string_view text, std::string_view kind) {
  const std::string_view digits = text.substr(text.starts_with('-') ? 1 : 0);
  if (digits.size() > 1 && digits[0] == '0' && digits.find_first_not_of("0123456789") == digits.npos) {
    return Wanted{fmt::format("{} without leading zeros (protobuf would read octal)", kind)};
  }
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (end != text.data() + text.size()) return Wanted{std::string(kind)};
  if (error == std::errc::result_out_of_range) {
    if constexpr (std::is_integral_v<Number>) {
      return Wanted{
          fmt::format("an integer from {} to {}", std::numeric_limits<Number>::min(), std::numeric_limits<Number>::max())};
    }
    return Wanted{fmt::format("{} that a 64-bit float can hold", kind)};
  }
  if (error != std::errc()) return Wanted{std::string(kind)};
  if constexpr (std::is_integral_v<Number>) {
    if constexpr (std::is_signed_v<Number>) return Value(static_cast<std::int64_t>(number));
    return Value(static_cast<std::uint64_t>(number));
  } else {
    if (!std::isfinite(number)) return Wanted{"a finite number"};
    return Value(static_cast<double>(number));
  }
}

/// The names of an enum that may be chosen: all but the unspecified one.
std::vector<std::string> enum_names(const FieldDescriptor& field) {
  std::vector<std::string> names;
  for (int i = 0; i < field.enum_type()->value_count(); ++i) {
    if (field.enum_type()->value(i)->number() != 0) names.push_back(field.enum_type()->value(i)->name());
  }
  return names;
}

ParsedValue parse_scalar(const FieldDescriptor& field, std::string_view text, bool is_quoted) {
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    if (is_quoted) return Value(std::string(text));
    return Wanted{"a string in quotes"};
  }
  if (is_quoted) text = {};  // no other kind of value has quotes
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return parse_number<std::int32_t>(text, "an integer");
    case FieldDescriptor::CPPTYPE_INT64:
      return parse_number<std::int64_t>(text, "an integer");
    case FieldDescriptor::CPPTYPE_UINT32:
      return parse_number<std::uint32_t>(text, "an integer of at least 0");
    case FieldDescriptor::CPPTYPE_UINT64:
      return parse_number<std::uint64_t>(text, "an integer of at least 0");
    case FieldDescriptor::CPPTYPE_FLOAT:
      return parse_number<float>(text, "a number");
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return parse_number<double>(text, "a number");
    case FieldDescriptor::CPPTYPE_BOOL:
      if (text == "true" || text == "false") return Value(text == "true");
      return Wanted{"true or false"};
    default: {
      const EnumValueDescriptor* value = field.enum_type()->FindValueByName(std::string(text));
      if (value && value->number() != 0) return Value(value);
      return Wanted{fmt::format("one of {}", fmt::join(enum_names(field), ", "))};
    }
  }
}

/// Sets a singular field, appends to a list.
void store(Message& message, const FieldDescriptor& field, const Value& value) {
  const auto& reflection = *message.GetReflection();
  const auto apply = [&](auto set, auto add, auto typed) {
    if (field.is_repeated()) {
      (reflection.*add)(&message, &field, std::move(typed));
    } else {
      (reflection.*set)(&message, &field, std::move(typed));
    }
  };
  using Reflection = google::protobuf::Reflection;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return apply(&Reflection::SetInt32, &Reflection::AddInt32, static_cast<std::int32_t>(std::get<std::int64_t>(value)));
    case FieldDescriptor::CPPTYPE_INT64:
      return apply(&Reflection::SetInt64, &Reflection::AddInt64, std::get<std::int64_t>(value));
    case FieldDescriptor::CPPTYPE_UINT32:
      return apply(&Reflection::SetUInt32, &Reflection::AddUInt32, static_cast<std::uint32_t>(std::get<std::uint64_t>(value)));
    case FieldDescriptor::CPPTYPE_UINT64:
      return apply(&Reflection::SetUInt64, &Reflection::AddUInt64, std::get<std::uint64_t>(value));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return apply(&Reflection::SetFloat, &Reflection::AddFloat, static_cast<float>(std::get<double>(value)));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return apply(&Reflection::SetDouble, &Reflection::AddDouble, std::get<double>(value));
    case FieldDescriptor::CPPTYPE_BOOL:
      return apply(&Reflection::SetBool, &Reflection::AddBool, std::get<bool>(value));
    case FieldDescriptor::CPPTYPE_STRING:
      return apply(&Reflection::SetString, &Reflection::AddString, std::get<std::string>(value));
    default:
      return apply(&Reflection::SetEnum, &Reflection::AddEnum, std::get<const EnumValueDescriptor*>(value));
  }
}

/// Forgets where a field, its entries and everything below it were given.
void erase_positions(const std::string& path, std::map<std::string, Position>& positions) {
  for (auto it = positions.lower_bound(path); it != positions.end() && it->first.starts_with(path);) {
    const char next = it->first.size() == path.size() ? '\0' : it->first[path.size()];
    it = next == '\0' || next == '.' || next == '[' ? positions.erase(it) : std::next(it);
  }
}

/// Lets a field be given that was not: what excludes it is cleared.
void clear_alternatives(Message& message, const FieldDescriptor& field, const std::string& path, ConfigReading& reading) {
  const std::string parent = path.substr(0, path.size() - field.name().size());
  for (const FieldDescriptor* other : alternatives_of(field)) {
    message.GetReflection()->ClearField(&message, other);
    erase_positions(parent + other->name(), reading.positions);
  }
}

/// Recursive descent over one source.
class Reader : private google::protobuf::io::ErrorCollector {
 public:
  /// `origin`: position of the first character of `text`.
  Reader(std::string_view text, Position origin, ConfigReading& reading)
      : origin_(origin), reading_(reading), stream_(text.data(), static_cast<int>(text.size())), tokenizer_(&stream_, this) {
    tokenizer_.set_comment_style(Tokenizer::SH_COMMENT_STYLE);
    tokenizer_.set_require_space_after_number(false);
  }

  void read_source(Message& message, const std::string& path) {
    next();
    read_fields(message, path, 0);
    if (current().type != Tokenizer::TYPE_END) stop(fmt::format("expected the name of a field, got {}", shown(current())));
  }

  /// The value of one field, and nothing after it. `name` is the position of the field's name.
  void read_assigned(Message& message, const FieldDescriptor& field, const std::string& path, Position name) {
    next();
    if (!begin_field(message, field, path, name)) return;
    read_value(message, field, path, name, 0);
    if (current().type != Tokenizer::TYPE_END) stop(fmt::format("expected the end of the value, got {}", shown(current())));
  }

 private:
  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& text) override {
    std::string lowered = text;
    lowered[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(lowered[0])));
    if (lowered.ends_with('.')) lowered.pop_back();
    reading_.add_finding(position(line, column), lowered);
    has_token_error_ = true;
  }

  const Token& current() { return tokenizer_.current(); }
  bool is_symbol(char symbol) { return current().type == Tokenizer::TYPE_SYMBOL && current().text[0] == symbol; }

  void next() {
    tokenizer_.Next();
    if (has_token_error_) throw SyntaxError{};
  }
  bool take(char symbol) {
    if (!is_symbol(symbol)) return false;
    next();
    return true;
  }

  Position position(int line, int column) const {
    return {origin_.source, origin_.line + line, line == 0 ? origin_.column + column : column + 1};
  }
  Position position(const Token& token) const { return position(token.line, token.column); }

  [[noreturn]] void stop(const std::string& text) {
    reading_.add_finding(position(current()), text);
    throw SyntaxError{};
  }

  static std::string shown(const Token& token) {
    return token.type == Tokenizer::TYPE_END ? "the end" : fmt::format("\"{}\"", token.text);
  }

  void add_finding(Position at, const std::string& path, std::string text) {
    reading_.add_finding(at, std::move(text));
    reading_.doubtful.insert(path);
  }

  void read_fields(Message& message, const std::string& path, int depth) {
    while (current().type == Tokenizer::TYPE_IDENTIFIER) {
      read_field(message, path, depth);
      if (!take(',')) take(';');
    }
  }

  void read_field(Message& message, const std::string& path, int depth) {
    const Position at = position(current());
    const std::string name = current().text;
    next();
    const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
    const bool has_colon = take(':');
    if (!has_colon && !is_symbol('{') && !is_symbol('<'))
      stop(fmt::format("expected \":\" after \"{}\", got {}", name, shown(current())));
    if (!field) {
      add_finding(at, path,
                  fmt::format("unknown key \"{}\" in {}{}", name, message.GetDescriptor()->name(),
                              field_hint(name, *message.GetDescriptor())));
      return skip_value(depth);
    }
    const std::string full = field_path(path, name);
    if (!begin_field(message, *field, full, at)) return skip_value(depth);
    read_value(message, *field, full, at, depth);
  }

  /// Notes that the field is given here. False, with a finding, if it may not be given again.
  bool begin_field(Message& message, const FieldDescriptor& field, const std::string& path, Position at) {
    if (const auto first = given_.find(path); first != given_.end()) {
      if (field.is_repeated()) return true;
      add_finding(at, path, fmt::format("{} is given twice; first in line {}", path, first->second.line));
      return false;
    }
    const std::string parent = path.substr(0, path.size() - field.name().size());
    for (const FieldDescriptor* other : alternatives_of(field)) {
      const std::string other_path = parent + other->name();
      if (const auto first = given_.find(other_path); first != given_.end()) {
        add_finding(at, path,
                    fmt::format("{} is given beside {} of line {}; keep one of them", path, other_path, first->second.line));
        return false;
      }
    }
    clear_alternatives(message, field, path, reading_);
    if (field.is_repeated()) {
      message.GetReflection()->ClearField(&message, &field);
      erase_positions(path, reading_.positions);
    }
    given_[path] = at;
    reading_.positions[path] = at;
    return true;
  }

  void read_value(Message& message, const FieldDescriptor& field, const std::string& path, Position at, int depth) {
    if (field.is_repeated() && take('[')) {
      if (take(']')) return;
      do {
        read_entry(message, field, path, position(current()), depth);
      } while (take(','));
      if (!take(']')) stop(fmt::format("expected \",\" or \"]\" in the list {}, got {}", path, shown(current())));
      return;
    }
    read_entry(message, field, path, at, depth);
  }

  void read_entry(Message& message, const FieldDescriptor& field, const std::string& path, Position at, int depth) {
    const auto& reflection = *message.GetReflection();
    std::string entry = path;
    if (field.is_repeated()) {
      entry = fmt::format("{}[{}]", path, reflection.FieldSize(message, &field));
      reading_.positions[entry] = at;
    }
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      if (!is_symbol('{') && !is_symbol('<')) {
        const bool is_list = is_symbol('[');
        if (is_list) skip_value(depth);
        return add_finding(at, path,
                           fmt::format("{}: expected {{ fields of {} }}, got {}", path, field.message_type()->name(),
                                       is_list ? "a list" : shown_value()));
      }
      Message* inner =
          field.is_repeated() ? reflection.AddMessage(&message, &field) : reflection.MutableMessage(&message, &field);
      return read_block(*inner, entry, depth);
    }
    if (is_symbol('{') || is_symbol('<') || is_symbol('[')) {
      add_finding(at, path, fmt::format("{}: expected one value, got {}", path, shown(current())));
      return skip_value(depth);
    }
    bool is_quoted = false;
    const std::string text = take_scalar(is_quoted);
    const ParsedValue parsed = parse_scalar(field, text, is_quoted);
    if (const Wanted* wanted = std::get_if<Wanted>(&parsed)) {
      const std::string got = is_quoted      ? fmt::format("the string \"{}\"", text)
                              : text.empty() ? "nothing"
                                             : fmt::format("\"{}\"", text);
      return add_finding(at, path, fmt::format("{}: expected {}, got {}", path, wanted->text, got));
    }
    store(message, field, std::get<Value>(parsed));
  }

  void read_block(Message& message, const std::string& path, int depth) {
    if (depth + 1 > kMaxDepth) stop(fmt::format("messages are nested more than {} deep", kMaxDepth));
    const char end = is_symbol('{') ? '}' : '>';
    next();
    read_fields(message, path, depth + 1);
    if (!take(end))
      stop(fmt::format("expected the name of a field or \"{}\" at the end of {}, got {}", end, path, shown(current())));
  }

  /// The text of a scalar: the content of quoted strings, or everything up to a space or a mark that ends values.
  std::string take_scalar(bool& is_quoted) {
    std::string text;
    if (current().type == Tokenizer::TYPE_STRING) {
      is_quoted = true;
      while (current().type == Tokenizer::TYPE_STRING) {
        Tokenizer::ParseStringAppend(current().text, &text);
        next();
      }
      return text;
    }
    constexpr std::string_view kEnds = ",;{}[]<>";
    int line = current().line;
    int column = current().column;
    while (current().type != Tokenizer::TYPE_END && current().type != Tokenizer::TYPE_STRING && current().line == line &&
           current().column == column && kEnds.find(current().text[0]) == kEnds.npos) {
      text += current().text;
      column = current().end_column;
      next();
    }
    return text;
  }
  /// The scalar here, for a message.
  std::string shown_value() {
    bool is_quoted = false;
    const std::string text = take_scalar(is_quoted);
    return text.empty() ? shown(current()) : fmt::format("\"{}\"", text);
  }

  /// Passes over a value that is not wanted, whatever its kind.
  void skip_value(int depth) {
    if (depth > kMaxDepth) stop(fmt::format("messages are nested more than {} deep", kMaxDepth));
    bool is_quoted = false;
    if (take('[')) {
      while (!is_symbol(']')) {
        const int line = current().line;
        const int column = current().column;
        skip_value(depth + 1);
        take(',');
        if (current().line == line && current().column == column) stop(fmt::format("expected a value, got {}", shown(current())));
      }
      next();
    } else if (is_symbol('{') || is_symbol('<')) {
      const char end = is_symbol('{') ? '}' : '>';
      next();
      while (!take(end)) {
        if (current().type != Tokenizer::TYPE_IDENTIFIER)
          stop(fmt::format("expected the name of a field or \"{}\", got {}", end, shown(current())));
        next();
        take(':');
        skip_value(depth + 1);
        if (!take(',')) take(';');
      }
    } else {
      take_scalar(is_quoted);
    }
  }

  Position origin_;
  ConfigReading& reading_;
  google::protobuf::io::ArrayInputStream stream_;
  Tokenizer tokenizer_;
  bool has_token_error_ = false;
  std::map<std::string, Position> given_;  // by this source
};

/// One step of an assignment's path: the field's name, where it stands, and the entry of a list.
struct PathStep {
  std::string name;
  int column = 1;
  std::optional<int> entry;
};

/// Cuts "a.b[2].c"; nothing if it is not such a path.
std::optional<std::vector<PathStep>> parse_path(std::string_view path) {
  std::vector<PathStep> steps;
  std::size_t begin = 0;
  while (begin <= path.size()) {
    const std::size_t end = std::min(path.find('.', begin), path.size());
    std::string_view part = path.substr(begin, end - begin);
    PathStep step;
    step.column = static_cast<int>(begin) + 1;
    if (const std::size_t bracket = part.find('['); bracket != part.npos) {
      int entry = -1;
      const char* last = part.data() + part.size() - 1;
      const auto [stop, error] = std::from_chars(part.data() + bracket + 1, last, entry);
      if (*last != ']' || stop != last || error != std::errc() || entry < 0) return std::nullopt;
      step.entry = entry;
      part = part.substr(0, bracket);
    }
    if (part.empty()) return std::nullopt;
    step.name = part;
    steps.push_back(std::move(step));
    begin = end + 1;
  }
  return steps;
}

}  // namespace

std::vector<ConfigFinding> ConfigReading::findings() const {
  std::vector<ConfigFinding> sorted;
  for (const auto& [position, text] : findings_)
    sorted.push_back({sources[position.source], position.line, position.column, text});
  return sorted;
}

std::string field_path(const std::string& path, std::string_view field) {
  return path.empty() ? std::string(field) : fmt::format("{}.{}", path, field);
}

std::vector<const FieldDescriptor*> alternatives_of(const FieldDescriptor& field) {
  std::vector<const FieldDescriptor*> others;
  const auto* message = field.containing_type();
  for (int i = 0; i < message->field_count(); ++i) {
    const FieldDescriptor* other = message->field(i);
    if (other == &field) continue;
    const bool is_same_oneof = field.real_containing_oneof() && other->real_containing_oneof() == field.real_containing_oneof();
    if (is_same_oneof || field.options().GetExtension(schema::excludes) == other->name() ||
        other->options().GetExtension(schema::excludes) == field.name()) {
      others.push_back(other);
    }
  }
  return others;
}

void read_config_text(std::string_view text, const std::string& source, Message& message, const std::string& path,
                      ConfigReading& reading) {
  const Position begin{static_cast<int>(reading.sources.size()), 1, 1};
  reading.sources.push_back(source);
  if (text.size() > kMaxTextBytes) {
    reading.add_finding(begin, fmt::format("the file has {} bytes; a config has at most {}", text.size(), kMaxTextBytes));
    reading.is_broken = true;
    return;
  }
  try {
    Reader(text, begin, reading).read_source(message, path);
  } catch (const SyntaxError&) {
    reading.is_broken = true;
  }
}

void read_config_assignment(std::string_view assignment, int number, Message& run, ConfigReading& reading) {
  Position at{static_cast<int>(reading.sources.size()), 0, 1};
  reading.sources.push_back(fmt::format("--set #{}", number));
  const std::size_t equals = assignment.find('=');
  const auto steps = parse_path(assignment.substr(0, equals));
  if (equals == assignment.npos || !steps) {
    reading.add_finding(at, fmt::format("expected path=value, for example optim.learning_rate=0.001, got \"{}\"", assignment));
    return;
  }
  Message* message = &run;
  std::string path;
  for (std::size_t i = 0; i < steps->size(); ++i) {
    const PathStep& step = (*steps)[i];
    const bool is_last = i + 1 == steps->size();
    at.column = step.column;
    const auto* descriptor = message->GetDescriptor();
    const FieldDescriptor* field = descriptor->FindFieldByName(step.name);
    if (!field) {
      reading.add_finding(
          at, fmt::format("unknown key \"{}\" in {}{}", step.name, descriptor->name(), field_hint(step.name, *descriptor)));
      reading.doubtful.insert(path);
      return;
    }
    path = field_path(path, step.name);
    if (is_last && !step.entry) {
      const std::string_view value = assignment.substr(equals + 1);
      const bool has_quotes = value.starts_with('"') || value.starts_with('\'');
      const bool is_plain_string = field->cpp_type() == FieldDescriptor::CPPTYPE_STRING && !field->is_repeated() && !has_quotes;
      const Position value_begin{at.source, 0, static_cast<int>(equals) + 2};
      try {
        Reader(is_plain_string ? std::string_view("\"\"") : value, value_begin, reading)
            .read_assigned(*message, *field, path, at);
        if (is_plain_string) store(*message, *field, std::string(value));
      } catch (const SyntaxError&) {
        reading.doubtful.insert(path);
      }
      return;
    }
    if (!field->message_type() || is_last) {
      reading.add_finding(
          at, step.entry ? fmt::format("{}: one entry of a list cannot be set; set the whole list, {}=[...], or a field of "
                                       "the entry",
                                       path, path)
                         : fmt::format("{} has no fields; it is set as {}=value", path, path));
      reading.doubtful.insert(path);
      return;
    }
    const auto& reflection = *message->GetReflection();
    if (field->is_repeated()) {
      const int size = reflection.FieldSize(*message, field);
      if (!step.entry || *step.entry >= size) {
        reading.add_finding(
            at, fmt::format("{} is a list of {}; name one entry of it as {}[index], counted from 0", path, size, path));
        reading.doubtful.insert(path);
        return;
      }
      message = reflection.MutableRepeatedMessage(message, field, *step.entry);
      path = fmt::format("{}[{}]", path, *step.entry);
    } else {
      if (step.entry) {
        reading.add_finding(at, fmt::format("{} is not a list; leave [{}] out", path, *step.entry));
        reading.doubtful.insert(path);
        return;
      }
      if (!reflection.HasField(*message, field)) clear_alternatives(*message, *field, path, reading);
      message = reflection.MutableMessage(message, field);
      reading.positions.try_emplace(path, at);
    }
  }
}

}  // namespace ballast::launch
