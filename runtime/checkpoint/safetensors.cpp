#include "runtime/checkpoint/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_set>
#include <utility>

#include "runtime/checkpoint/durable_file.h"

namespace ballast::checkpoint {
namespace {

static_assert(std::endian::native == std::endian::little,
              "safetensors data is little-endian and is written as it lies in memory");

constexpr std::int64_t kMaxHeaderBytes = 100'000'000;
constexpr std::int64_t kPrefixBytes = 8;
constexpr std::size_t kMaxNameBytes = 4096;
constexpr std::size_t kMaxDims = 64;

struct TypeRow {
  ElementType type;
  const char* name;
  std::int64_t size_bytes;
};
constexpr std::array kTypes = {TypeRow{ElementType::kI64, "I64", 8},        TypeRow{ElementType::kF64, "F64", 8},
                               TypeRow{ElementType::kF32, "F32", 4},        TypeRow{ElementType::kI32, "I32", 4},
                               TypeRow{ElementType::kBF16, "BF16", 2},      TypeRow{ElementType::kF16, "F16", 2},
                               TypeRow{ElementType::kI16, "I16", 2},        TypeRow{ElementType::kF8E4M3, "F8_E4M3", 1},
                               TypeRow{ElementType::kF8E5M2, "F8_E5M2", 1}, TypeRow{ElementType::kI8, "I8", 1},
                               TypeRow{ElementType::kU8, "U8", 1},          TypeRow{ElementType::kBool, "BOOL", 1}};
static_assert([] {
  for (std::size_t i = 0; i < kTypes.size(); ++i)
    if (static_cast<std::size_t>(kTypes[i].type) != i) return false;
  return true;
}());

const TypeRow& row(ElementType type) { return kTypes.at(static_cast<std::size_t>(type)); }

/// Takes the header apart while the JSON parser walks it, so that nothing is stored that the format does not know.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderReader(std::string where, std::int64_t data_bytes, std::int64_t data_begin)
      : where_(std::move(where)), data_bytes_(data_bytes), data_begin_(data_begin) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool key(string_t& text) override {
    switch (place_) {
      case Place::kTop:
        if (text.size() > kMaxNameBytes) refuse("a tensor's name has {} bytes; at most {} are taken", text.size(), kMaxNameBytes);
        if (!names_.insert(text).second) refuse("'{}' is there twice", text);
        key_ = text;
        break;
      case Place::kMetadata:
        key_ = text;
        if (header_.metadata.contains(text)) refuse("'__metadata__' has '{}' twice", text);
        break;
      case Place::kTensor:
        field_ = text == "dtype" ? kType : text == "shape" ? kShape : text == "data_offsets" ? kOffsets : kNone;
        if (field_ == kNone) refuse("tensor '{}' has the unknown field '{}'", entry_.name, text);
        if (seen_ & field_) refuse("tensor '{}' has '{}' twice", entry_.name, text);
        seen_ |= field_;
        break;
      default:
        return unexpected("a key");
    }
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::kOutside) {
      place_ = Place::kTop;
    } else if (place_ == Place::kTop && key_ == "__metadata__") {
      place_ = Place::kMetadata;
    } else if (place_ == Place::kTop) {
      place_ = Place::kTensor;
      entry_ = {.name = key_};
      offsets_.clear();
      seen_ = field_ = kNone;
    } else {
      return unexpected("an object");
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kTensor) finish_tensor();
    place_ = place_ == Place::kTop ? Place::kOutside : Place::kTop;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::kTensor || (field_ != kShape && field_ != kOffsets)) return unexpected("a list");
    place_ = Place::kList;
    return true;
  }
  bool end_array() override {
    place_ = Place::kTensor;
    return true;
  }

  bool string(string_t& text) override {
    if (place_ == Place::kMetadata) {
      header_.metadata.emplace(key_, std::move(text));
    } else if (place_ == Place::kTensor && field_ == kType) {
      entry_.type = element_type(text, fmt::format("{}: tensor '{}'", where_, entry_.name));
    } else {
      return unexpected("a string");
    }
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::kList) return unexpected("a number");
    if (value > static_cast<number_unsigned_t>(std::numeric_limits<std::int64_t>::max()))
      refuse("tensor '{}': {} is beyond any size", entry_.name, value);
    auto& list = field_ == kShape ? entry_.shape : offsets_;
    const std::size_t limit = field_ == kShape ? kMaxDims : 2;
    if (list.size() == limit) refuse("tensor '{}': more than {} numbers in a list", entry_.name, limit);
    list.push_back(static_cast<std::int64_t>(value));
    return true;
  }
  bool number_integer(number_integer_t value) override {
    refuse("tensor '{}': {} is negative", entry_.name, value);
    return false;
  }
  bool number_float(number_float_t, const string_t& text) override {
    refuse("tensor '{}': {} is not a whole number", entry_.name, text);
    return false;
  }
  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a truth value"); }
  bool binary(binary_t&) override { return unexpected("binary"); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    refuse("the header is not JSON at byte {}: {}", kPrefixBytes + static_cast<std::int64_t>(position), error.what());
    return false;
  }

 private:
  enum class Place { kOutside, kTop, kMetadata, kTensor, kList };
  enum Field { kNone = 0, kType = 1, kShape = 2, kOffsets = 4, kAll = 7 };

  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> text, Args&&... args) {
    throw FormatError(where_ + ": " + fmt::format(text, std::forward<Args>(args)...));
  }
  bool unexpected(const char* what) {
    refuse("{} where the format has none (after key '{}')", what, key_);
    return false;
  }

  void finish_tensor() {
    if (seen_ != kAll || offsets_.size() != 2) refuse("tensor '{}' lacks dtype, shape or two data_offsets", entry_.name);
    const auto [begin, end] = std::pair(offsets_[0], offsets_[1]);
    if (begin > end || end > data_bytes_)
      refuse("tensor '{}': data_offsets [{}, {}] leave the {} bytes of data", entry_.name, begin, end, data_bytes_);
    const std::int64_t size = row(entry_.type).size_bytes;
    const std::int64_t count =
        num_elements(entry_.shape, data_bytes_ / size, fmt::format("{}: tensor '{}'", where_, entry_.name));
    if (end - begin != count * size)
      refuse("tensor '{}': data_offsets hold {} bytes, shape and dtype want {}", entry_.name, end - begin, count * size);
    // The first tensor too many shows here, before millions more are stored.
    if (end - begin > data_bytes_ - claimed_bytes_)
      refuse("tensor '{}': the tensors claim more than the {} bytes of data, so some overlap", entry_.name, data_bytes_);
    claimed_bytes_ += end - begin;
    entry_.begin_bytes = data_begin_ + begin;
    entry_.end_bytes = data_begin_ + end;
    header_.entries.push_back(std::move(entry_));
  }

  std::string where_;
  std::int64_t data_bytes_;
  std::int64_t data_begin_;
  std::int64_t claimed_bytes_ = 0;
  Place place_ = Place::kOutside;
  int field_ = kNone;
  int seen_ = kNone;
  std::string key_;
  std::vector<std::int64_t> offsets_;
  SafetensorsEntry entry_;
  std::unordered_set<std::string> names_;
  SafetensorsHeader header_;
};

std::string quoted(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::type_error& error) {
    throw std::invalid_argument(fmt::format("safetensors: the name of a tensor is not UTF-8: {}", error.what()));
  }
}

std::string build_header(std::span<const SafetensorsTensor> tensors, std::span<const std::size_t> order) {
  std::string json = R"({"__metadata__":{"format":"pt"})";
  std::int64_t offset = 0;
  std::unordered_set<std::string_view> names;
  for (const std::size_t index : order) {
    const SafetensorsTensor& tensor = tensors[index];
    const std::string where = fmt::format("safetensors: tensor '{}'", tensor.name);
    if (tensor.name.empty() || tensor.name.size() > kMaxNameBytes || tensor.name == "__metadata__")
      throw std::invalid_argument(fmt::format("{}: a name has 1 to {} bytes and is not __metadata__", where, kMaxNameBytes));
    if (!names.insert(tensor.name).second) throw std::invalid_argument(where + " is given twice");
    const auto size = static_cast<std::int64_t>(tensor.data.size());
    const std::int64_t element = size_in_bytes(tensor.type);
    std::int64_t count = 0;
    try {
      count = num_elements(tensor.shape, std::numeric_limits<std::int64_t>::max() / element, where);
    } catch (const FormatError& error) {
      throw std::invalid_argument(error.what());
    }
    if (size != count * element)
      throw std::invalid_argument(fmt::format("{}: {} bytes given, shape and type want {}", where, size, count * element));
    json += fmt::format(R"(,{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", quoted(tensor.name), name(tensor.type),
                        fmt::join(tensor.shape, ","), offset, offset + size);
    offset += size;
  }
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');
  return json;
}

}  // namespace

std::int64_t size_in_bytes(ElementType type) { return row(type).size_bytes; }
const char* name(ElementType type) { return row(type).name; }

ElementType element_type(std::string_view name, const std::string& where) {
  std::string known;
  for (const TypeRow& candidate : kTypes) {
    if (name == candidate.name) return candidate.type;
    known += fmt::format("{}{}", known.empty() ? "" : " ", candidate.name);
  }
  throw FormatError(fmt::format("{}: dtype '{}' is not taken; known are {}", where, name, known));
}

std::int64_t num_elements(std::span<const std::int64_t> shape, std::int64_t limit, const std::string& where) {
  if (const auto dim = std::ranges::find_if(shape, [](std::int64_t value) { return value < 0; }); dim != shape.end())
    throw FormatError(fmt::format("{}: a dim is {}", where, *dim));
  if (std::ranges::find(shape, 0) != shape.end()) return 0;
  std::int64_t product = 1;
  for (const std::int64_t dim : shape) {
    if (dim > limit / product)
      throw FormatError(fmt::format("{}: shape [{}] has more than {} elements", where, fmt::join(shape, ", "), limit));
    product *= dim;
  }
  return product;
}

SafetensorsHeader read_safetensors_header(const InputFile& file) {
  const std::string where = file.path().string();
  if (file.size_bytes() < kPrefixBytes)
    throw FormatError(fmt::format("{}: {} bytes are too few for a safetensors file", where, file.size_bytes()));
  std::uint64_t header_bytes = 0;
  file.read(0, std::as_writable_bytes(std::span(&header_bytes, 1)));
  const std::int64_t limit = std::min(kMaxHeaderBytes, file.size_bytes() - kPrefixBytes);
  if (header_bytes < 2 || header_bytes > static_cast<std::uint64_t>(limit))
    throw FormatError(fmt::format("{}: offset 0: header of {} bytes; a file of {} bytes has 2 to {}", where, header_bytes,
                                  file.size_bytes(), limit));
  std::string text(header_bytes, '\0');
  file.read(kPrefixBytes, std::as_writable_bytes(std::span(text)));
  if (text.front() != '{') throw FormatError(fmt::format("{}: offset 8: the header does not begin with '{{'", where));

  const std::int64_t data_begin = kPrefixBytes + static_cast<std::int64_t>(header_bytes);
  HeaderReader reader(where, file.size_bytes() - data_begin, data_begin);
  nlohmann::json::sax_parse(text, &reader);
  SafetensorsHeader header = reader.take();

  std::ranges::sort(header.entries, {},
                    [](const SafetensorsEntry& entry) { return std::pair(entry.begin_bytes, entry.end_bytes); });
  std::int64_t expected = data_begin;
  for (const SafetensorsEntry& entry : header.entries) {
    if (entry.begin_bytes != expected)
      throw FormatError(fmt::format(
          "{}: tensor '{}' begins at byte {}, {} {}", where, entry.name, entry.begin_bytes,
          entry.begin_bytes < expected ? "inside the tensor before it, which ends at" : "leaving a hole from byte", expected));
    expected = entry.end_bytes;
  }
  if (expected != file.size_bytes())
    throw FormatError(fmt::format("{}: no tensor claims the last {} bytes", where, file.size_bytes() - expected));
  return header;
}

WrittenSafetensors write_safetensors(const std::filesystem::path& path, std::span<const SafetensorsTensor> tensors) {
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return std::pair(tensors[i].type, std::string_view(tensors[i].name)); });
  const std::string header = build_header(tensors, order);

  OutputFile file(path);
  const std::uint64_t header_bytes = header.size();
  file.write(std::as_bytes(std::span(&header_bytes, 1)));
  file.write(header);
  WrittenSafetensors written;
  written.begin_bytes.resize(tensors.size());
  for (const std::size_t index : order) {
    written.begin_bytes[index] = file.size_bytes();
    file.write(tensors[index].data);
  }
  file.finish();
  written.size_bytes = file.size_bytes();
  written.hash = file.hash();
  return written;
}

}  // namespace ballast::checkpoint
