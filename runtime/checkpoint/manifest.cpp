#include "runtime/checkpoint/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <unordered_set>

#include "runtime/checkpoint/manifest.pb.h"

namespace ballast::checkpoint {
namespace {

constexpr int kFormatVersion = 1;
constexpr std::size_t kTrailerBytes = 16;
constexpr std::size_t kMaxBytes = 1 << 30;
constexpr std::array kKindNames = {"weight", "optimizer", "router", "state"};

std::array<std::byte, kTrailerBytes> trailer(ContentHash hash) {
  std::array<std::byte, kTrailerBytes> bytes;
  for (int i = 0; i < 8; ++i) {
    bytes[i] = static_cast<std::byte>(hash.high >> (56 - 8 * i));
    bytes[8 + i] = static_cast<std::byte>(hash.low >> (56 - 8 * i));
  }
  return bytes;
}

void write_point(const TrainingPoint& point, schema::TrainingPoint& out) {
  out.set_run_id(point.run_id);
  out.set_step(point.step);
  out.set_consumed_samples(point.consumed_samples);
  out.set_config_hash(point.config_hash);
  out.set_config_text(point.config_text);
  out.set_parent(point.parent);
  for (const auto& [library, version] : point.libraries) {
    auto& entry = *out.add_library();
    entry.set_name(library);
    entry.set_version(version);
  }
  for (const auto& [axis, size] : point.mesh) {
    auto& entry = *out.add_mesh();
    entry.set_name(axis);
    entry.set_size(size);
  }
  for (const auto& [key, value] : point.state) {
    auto& entry = *out.add_state();
    entry.set_name(key);
    if (const auto* integer = std::get_if<std::int64_t>(&value)) entry.set_integer(*integer);
    if (const auto* real = std::get_if<double>(&value)) entry.set_real(*real);
    if (const auto* binary = std::get_if<std::string>(&value)) entry.set_binary(*binary);
  }
}

/// Reads one manifest; every refusal begins with where the bytes came from.
class ManifestReader {
 public:
  explicit ManifestReader(const std::string& where) : where_(where) {}

  Manifest read(const schema::Manifest& in) {
    if (in.format_version() != kFormatVersion)
      refuse("format version {}; this build reads version {}", in.format_version(), kFormatVersion);
    Manifest manifest;
    manifest.point = read_point(in.point());
    std::unordered_set<std::string> names;
    std::int64_t total = 0;
    for (const auto& file : in.file()) {
      if (!is_plain(file.name())) refuse("file name '{}' is not a plain name", file.name());
      if (!names.insert(file.name()).second) refuse("file '{}' is listed twice", file.name());
      if (file.size_bytes() < 0 || file.size_bytes() > std::numeric_limits<std::int64_t>::max() - total)
        refuse("file '{}' has a size of {} bytes", file.name(), file.size_bytes());
      total += file.size_bytes();
      manifest.files.push_back({file.name(), file.size_bytes(), {file.hash_high(), file.hash_low()}});
    }
    names.clear();
    for (const auto& tensor : in.tensor()) {
      if (!names.insert(tensor.name()).second) refuse("tensor '{}' is listed twice", tensor.name());
      manifest.tensors.push_back(read_tensor(tensor, manifest.files));
    }
    return manifest;
  }

 private:
  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> text, Args&&... args) const {
    throw FormatError(where_ + ": " + fmt::format(text, std::forward<Args>(args)...));
  }

  static bool is_plain(const std::string& name) {
    return !name.empty() && name.size() <= 255 && name.front() != '.' && name.find_first_of(std::string("/\\\0", 3)) == name.npos;
  }

  TrainingPoint read_point(const schema::TrainingPoint& in) const {
    if (in.step() < 0 || in.consumed_samples() < 0)
      refuse("step {} with {} consumed samples; neither can be negative", in.step(), in.consumed_samples());
    TrainingPoint point{.run_id = in.run_id(),
                        .step = in.step(),
                        .consumed_samples = in.consumed_samples(),
                        .config_hash = in.config_hash(),
                        .config_text = in.config_text(),
                        .parent = in.parent()};
    for (const auto& entry : in.library()) point.libraries.emplace_back(entry.name(), entry.version());
    for (const auto& entry : in.mesh()) point.mesh.emplace_back(entry.name(), entry.size());
    for (const auto& entry : in.state()) {
      StateValue value;
      switch (entry.value_case()) {
        case schema::StateValue::kInteger:
          value = entry.integer();
          break;
        case schema::StateValue::kReal:
          value = entry.real();
          break;
        case schema::StateValue::kBinary:
          value = entry.binary();
          break;
        case schema::StateValue::VALUE_NOT_SET:
          refuse("state '{}' has no value", entry.name());
      }
      if (!point.state.emplace(entry.name(), std::move(value)).second) refuse("state '{}' is listed twice", entry.name());
    }
    return point;
  }

  StoredTensor read_tensor(const schema::StoredTensor& in, std::span<const StoredFile> files) const {
    const std::string where = fmt::format("{}: tensor '{}'", where_, in.name());
    StoredTensor tensor{.name = in.name(),
                        .kind = static_cast<TensorKind>(in.kind()),
                        .type = element_type(in.dtype(), where),
                        .shape = {in.shape().begin(), in.shape().end()}};
    const std::int64_t element = size_in_bytes(tensor.type);
    const std::int64_t count = num_elements(tensor.shape, std::numeric_limits<std::int64_t>::max() / element, where);
    std::int64_t expected = 0;
    for (const auto& piece : in.piece()) {
      if (piece.begin() != expected || piece.end() <= piece.begin() || piece.end() > count)
        refuse("tensor '{}': piece [{}, {}) where one from element {} on was wanted, of {}", in.name(), piece.begin(),
               piece.end(), expected, count);
      if (piece.file_idx() < 0 || static_cast<std::size_t>(piece.file_idx()) >= files.size())
        refuse("tensor '{}': file {} of {} files", in.name(), piece.file_idx(), files.size());
      const StoredFile& file = files[static_cast<std::size_t>(piece.file_idx())];
      if (piece.offset_bytes() < 0 || piece.offset_bytes() > file.size_bytes ||
          piece.end() - piece.begin() > (file.size_bytes - piece.offset_bytes()) / element)
        refuse("tensor '{}': piece [{}, {}) at byte {} leaves '{}' of {} bytes", in.name(), piece.begin(), piece.end(),
               piece.offset_bytes(), file.name, file.size_bytes);
      tensor.pieces.push_back({piece.file_idx(), piece.begin(), piece.end(), piece.offset_bytes()});
      expected = piece.end();
    }
    if (expected != count) refuse("tensor '{}': elements [{}, {}) are in no piece", in.name(), expected, count);
    return tensor;
  }

  const std::string& where_;
};

}  // namespace

const char* name(TensorKind kind) { return kKindNames.at(static_cast<std::size_t>(kind)); }

std::string name_in_file(const std::string& tensor, std::int64_t begin, std::int64_t end, std::int64_t count) {
  return begin == 0 && end == count ? tensor : fmt::format("{}[{}:{}]", tensor, begin, end);
}

const StoredTensor* Manifest::find(const std::string& tensor_name) const {
  const auto found = std::ranges::find(tensors, tensor_name, &StoredTensor::name);
  return found == tensors.end() ? nullptr : &*found;
}

std::int64_t Manifest::size_bytes() const {
  std::int64_t sum = 0;
  for (const StoredFile& file : files) sum += file.size_bytes;
  return sum;
}

std::string serialize(const Manifest& manifest) {
  schema::Manifest out;
  out.set_format_version(kFormatVersion);
  write_point(manifest.point, *out.mutable_point());
  for (const StoredFile& file : manifest.files) {
    auto& entry = *out.add_file();
    entry.set_name(file.name);
    entry.set_size_bytes(file.size_bytes);
    entry.set_hash_high(file.hash.high);
    entry.set_hash_low(file.hash.low);
  }
  for (const StoredTensor& tensor : manifest.tensors) {
    auto& entry = *out.add_tensor();
    entry.set_name(tensor.name);
    entry.set_kind(static_cast<schema::TensorKind>(tensor.kind));
    entry.set_dtype(name(tensor.type));
    entry.mutable_shape()->Assign(tensor.shape.begin(), tensor.shape.end());
    for (const StoredPiece& piece : tensor.pieces) {
      auto& stored = *entry.add_piece();
      stored.set_file_idx(static_cast<std::int32_t>(piece.file_idx));
      stored.set_begin(piece.begin);
      stored.set_end(piece.end);
      stored.set_offset_bytes(piece.offset_bytes);
    }
  }
  std::string bytes = out.SerializeAsString();  // no map fields: the same message gives the same bytes
  const auto end = trailer(content_hash(std::as_bytes(std::span(bytes))));
  bytes.append(reinterpret_cast<const char*>(end.data()), end.size());
  return bytes;
}

Manifest parse_manifest(std::span<const std::byte> bytes, const std::string& where) {
  if (bytes.size() < kTrailerBytes || bytes.size() > kMaxBytes)
    throw FormatError(fmt::format("{}: {} bytes; a manifest has {} to {}", where, bytes.size(), kTrailerBytes, kMaxBytes));
  const auto message = bytes.first(bytes.size() - kTrailerBytes);
  const ContentHash hash = content_hash(message);
  if (!std::ranges::equal(trailer(hash), bytes.last(kTrailerBytes)))
    throw FormatError(fmt::format("{}: its content has the hash {}, its trailer says another", where, to_text(hash)));
  schema::Manifest in;
  if (!in.ParseFromArray(message.data(), static_cast<int>(message.size())))
    throw FormatError(fmt::format("{}: not a manifest: protobuf cannot read it", where));
  return ManifestReader(where).read(in);
}

}  // namespace ballast::checkpoint
