#include "runtime/checkpoint/load.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <functional>
#include <set>
#include <thread>
#include <unordered_map>
#include <utility>

#include "runtime/checkpoint/buffer_bytes.h"
#include "runtime/checkpoint/durable_file.h"
#include "runtime/checkpoint/rank_messages.h"
#include "runtime/checkpoint/rank_messages.pb.h"
#include "runtime/checkpoint/verify.h"
#include "runtime/comm/broadcast_text.h"

namespace ballast::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr int kTries = 3;
constexpr std::chrono::milliseconds kPause{200};

/// Tries again what a busy or remote file system may refuse for a moment.
template <class Read>
auto patiently(Read read) {
  for (int attempt = 1;; ++attempt) {
    try {
      return read();
    } catch (const FileError&) {
      if (attempt == kTries) throw;
      std::this_thread::sleep_for(kPause);
    }
  }
}

template <class Message>
Message parse(const std::string& bytes) {
  Message message;
  if (!message.ParseFromString(bytes)) throw std::logic_error("a message between ranks of a load is damaged");
  return message;
}

/// Verifies this rank's share of the files.
schema::Finding verify_share(comm::Communicator& world, const fs::path& folder, const Manifest& manifest) {
  schema::Finding finding;
  try {
    for (std::size_t i = static_cast<std::size_t>(world.rank()); i < manifest.files.size();
         i += static_cast<std::size_t>(world.size()))
      patiently([&] { verify_file(folder, manifest, i); });
  } catch (const FormatError& error) {
    finding.set_bad_content(error.what());
  } catch (const std::exception& error) {
    finding.set_unreadable(error.what());
  }
  return finding;
}

/// What all ranks found together; every rank gets the same.
schema::Finding agree(comm::Communicator& world, const schema::Finding& own) {
  schema::Finding all;
  if (const std::string error = first_error(world, own.unreadable()); !error.empty()) all.set_unreadable(error);
  if (const std::string error = first_error(world, own.bad_content()); !error.empty()) all.set_bad_content(error);
  return all;
}

std::string utc_now(const char* format) {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  return fmt::format(fmt::runtime(fmt::format("{{:{}}}", format)), fmt::gmtime(now));
}

/// How long ago the manifest was written, as a person says it.
std::string age_of(const fs::path& checkpoint) {
  std::error_code error;
  const auto time = fs::last_write_time(checkpoint / "manifest.pb", error);
  if (error) return "age unknown";
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(fs::file_time_type::clock::now() - time).count();
  if (seconds < 0) return "saved in the future, so a clock was moved";
  if (seconds < 120) return fmt::format("saved {} s ago", seconds);
  if (seconds < 7200) return fmt::format("saved {} min ago", seconds / 60);
  return fmt::format("saved {} h ago", seconds / 3600);
}

/// Rank 0's walk from the newest checkpoint to older ones.
class Search {
 public:
  explicit Search(fs::path checkpoints) : checkpoints_(std::move(checkpoints)) {}

  /// The next candidate whose manifest is whole; its files are still to be verified.
  schema::Proposal next() {
    schema::Proposal proposal;
    try {
      if (!is_listed_) {
        patiently([&] { candidates_ = list_checkpoints(checkpoints_); });
        is_listed_ = true;
        note_latest();
      }
      while (position_ < candidates_.size()) {
        const Candidate& candidate = candidates_[position_];
        const fs::path folder = checkpoints_ / candidate.name;
        try {
          const std::string bytes = patiently([&] { return read_manifest_bytes(folder); });
          const std::string where = (folder / "manifest.pb").string();
          const Manifest manifest = parse_manifest(std::as_bytes(std::span(bytes)), where);
          if (manifest.point.step != candidate.step)
            throw FormatError(fmt::format("{}: holds step {}, which the folder's name does not say", where, manifest.point.step));
          proposal.set_folder(folder.string());
          proposal.set_manifest(bytes);
          return proposal;
        } catch (const FormatError& error) {
          refuse(error.what());
        }
      }
      if (!candidates_.empty() || has_quarantine())
        proposal.set_error(fmt::format("{}: no usable checkpoint\n{}", checkpoints_.string(), fmt::join(lines_, "\n")));
    } catch (const std::exception& error) {
      proposal.set_error(error.what());
    }
    return proposal;
  }

  /// The candidate proposed last is bad: moves it away.
  void refuse(const std::string& reason) {
    const std::string& name = candidates_[position_].name;
    std::string where;
    try {
      where = fmt::format("moved to {}", quarantine(name, reason).string());
    } catch (const FileError& error) {
      where = fmt::format("left in place: {}", error.what());
    }
    lines_.push_back(fmt::format("{} refused: {}; {}", name, reason, where));
    ++position_;
  }

  void accept(const Manifest& manifest) {
    const fs::path folder = checkpoints_ / candidates_[position_].name;
    lines_.push_back(fmt::format("{} chosen: {}, {}, {} bytes in {} files, run {}", candidates_[position_].name, folder.string(),
                                 age_of(folder), manifest.size_bytes(), manifest.files.size(), manifest.point.run_id));
  }

  const std::vector<std::string>& lines() const { return lines_; }

 private:
  bool has_quarantine() const {
    std::error_code error;
    return fs::exists(checkpoints_ / "quarantine", error) && !fs::is_empty(checkpoints_ / "quarantine", error);
  }

  /// `latest` is a hint; what it says that is not so is worth a line.
  void note_latest() {
    try {
      const InputFile file(checkpoints_ / "latest");
      std::string text(static_cast<std::size_t>(std::min<std::int64_t>(file.size_bytes(), 256)), '\0');
      file.read(0, std::as_writable_bytes(std::span(text)));
      const std::string name = text.substr(0, text.find_first_of(" \n"));
      const bool is_there = std::ranges::find(candidates_, name, &Candidate::name) != candidates_.end();
      if (checkpoint_step(name) < 0) {
        lines_.push_back("latest does not name a checkpoint; ignored");
      } else if (!is_there) {
        lines_.push_back(fmt::format("latest names {}, which is not there; ignored", name));
      } else if (name != candidates_.front().name) {
        lines_.push_back(fmt::format("latest names {}, {} is newer", name, candidates_.front().name));
      }
    } catch (const FileError&) {  // without the hint the folders themselves say everything
    }
  }

  fs::path quarantine(const std::string& name, const std::string& reason) const {
    const fs::path folder = checkpoints_ / "quarantine";
    if (!fs::exists(folder)) make_folder(folder);
    const std::string base = fmt::format("{}-{}", name, utc_now("%Y%m%dT%H%M%SZ"));
    fs::path target = folder / base;
    for (int number = 2; fs::exists(target); ++number) target = folder / fmt::format("{}-{}", base, number);
    rename_exclusively(checkpoints_ / name, target);
    sync_folder(folder);
    sync_folder(checkpoints_);
    replace_file(target / "reason.txt", reason + "\n");
    return target;
  }

  fs::path checkpoints_;
  std::vector<Candidate> candidates_;
  std::size_t position_ = 0;
  bool is_listed_ = false;
  std::vector<std::string> lines_;
};

/// A run of bytes of one file that goes to one place in memory.
struct Copy {
  std::size_t file_idx;
  std::int64_t offset_bytes;
  std::span<std::byte> target;
};

/// The stored pieces that a wanted range meets.
void add_copies(const StoredTensor& tensor, std::int64_t begin, std::span<std::byte> target, std::vector<Copy>& copies) {
  const std::int64_t size = size_in_bytes(tensor.type);
  const std::int64_t end = begin + static_cast<std::int64_t>(target.size()) / size;
  auto piece = std::ranges::upper_bound(tensor.pieces, begin, {}, &StoredPiece::end);
  for (; piece != tensor.pieces.end() && piece->begin < end; ++piece) {
    const std::int64_t from = std::max(begin, piece->begin);
    const std::int64_t to = std::min(end, piece->end);
    copies.push_back(
        {static_cast<std::size_t>(piece->file_idx), piece->offset_bytes + (from - piece->begin) * size,
         target.subspan(static_cast<std::size_t>((from - begin) * size), static_cast<std::size_t>((to - from) * size))});
  }
}

/// Throws: std::invalid_argument for the first element of `count` that no range holds.
void require_wanted(const std::string& tensor, std::vector<std::pair<std::int64_t, std::int64_t>> ranges, std::int64_t count) {
  std::ranges::sort(ranges);
  std::int64_t covered = 0;
  const auto refuse = [&](std::int64_t until) {
    throw std::invalid_argument(
        fmt::format("the checkpoint holds '{}', but no rank takes its elements [{}, {}) of {}", tensor, covered, until, count));
  };
  for (const auto& [begin, end] : ranges) {
    if (begin > covered) refuse(begin);
    covered = std::max(covered, end);
  }
  if (covered < count) refuse(count);
}

}  // namespace

Found find_newest(comm::Communicator& world, const fs::path& checkpoints) {
  Search search(checkpoints);
  Found found;
  while (true) {
    const std::string own = world.rank() == 0 ? search.next().SerializeAsString() : std::string();
    const auto proposal = parse<schema::Proposal>(comm::broadcast_text(world, own, 0));
    if (!proposal.error().empty()) throw LoadError(proposal.error());
    if (proposal.folder().empty()) break;

    Manifest manifest = parse_manifest(std::as_bytes(std::span(proposal.manifest())), proposal.folder());
    const auto finding = agree(world, verify_share(world, proposal.folder(), manifest));
    if (finding.has_unreadable()) throw LoadError(finding.unreadable());
    if (finding.has_bad_content()) {
      if (world.rank() == 0) search.refuse(finding.bad_content());
      continue;
    }
    if (world.rank() == 0) search.accept(manifest);
    found.checkpoint.emplace(proposal.folder(), std::move(manifest));
    break;
  }
  schema::Report report;
  for (const std::string& line : search.lines()) report.add_line(line);
  report = parse<schema::Report>(comm::broadcast_text(world, report.SerializeAsString(), 0));
  found.report.assign(report.line().begin(), report.line().end());
  return found;
}

Checkpoint open_checkpoint(comm::Communicator& world, const fs::path& folder) {
  schema::Proposal proposal;
  if (world.rank() == 0) {
    try {
      proposal.set_manifest(patiently([&] { return read_manifest_bytes(folder); }));
      parse_manifest(std::as_bytes(std::span(proposal.manifest())), (folder / "manifest.pb").string());
    } catch (const std::exception& error) {
      proposal.set_error(error.what());
    }
  }
  proposal = parse<schema::Proposal>(comm::broadcast_text(world, proposal.SerializeAsString(), 0));
  if (!proposal.error().empty()) throw LoadError(proposal.error());
  Manifest manifest = parse_manifest(std::as_bytes(std::span(proposal.manifest())), folder.string());
  const auto finding = agree(world, verify_share(world, folder, manifest));
  if (finding.has_unreadable()) throw LoadError(finding.unreadable());
  if (finding.has_bad_content()) throw LoadError(finding.bad_content());
  return Checkpoint(folder, std::move(manifest));
}

void Checkpoint::read(comm::Communicator& world, std::span<const Wanted> wanted, std::span<const TensorKind> complete) const {
  std::unordered_map<std::string_view, std::int64_t> index;
  for (std::size_t i = 0; i < manifest_.tensors.size(); ++i)
    index.emplace(manifest_.tensors[i].name, static_cast<std::int64_t>(i));

  schema::Wish wish;
  std::vector<Copy> copies;
  try {
    for (const Wanted& want : wanted) {
      const auto entry = index.find(want.name);
      if (entry == index.end()) throw std::invalid_argument(fmt::format("{} holds no tensor '{}'", folder_.string(), want.name));
      const StoredTensor& tensor = manifest_.tensors[static_cast<std::size_t>(entry->second)];
      const std::string where = fmt::format("tensor '{}'", want.name);
      const auto target = writable_bytes_of(want.data, where);
      const ElementType type = element_type(want.data.dtype);
      if (type != tensor.type)
        throw std::invalid_argument(fmt::format("{}: {} is stored, {} is wanted", where, name(tensor.type), name(type)));
      const std::int64_t count = tensor.count();
      if (want.begin < 0 || want.begin > count || want.data.count > count - want.begin)
        throw std::invalid_argument(
            fmt::format("{}: {} elements from {} on are wanted, {} are stored", where, want.data.count, want.begin, count));
      wish.add_tensor_idx(entry->second);
      wish.add_begin(want.begin);
      wish.add_end(want.begin + want.data.count);
      add_copies(tensor, want.begin, target, copies);
    }
  } catch (const std::invalid_argument& error) {
    wish.set_error(error.what());
  }

  const auto wishes = gather_at_root(world, wish.SerializeAsString());
  std::string refusal;
  if (world.rank() == 0) {
    std::vector<std::vector<std::pair<std::int64_t, std::int64_t>>> ranges(manifest_.tensors.size());
    try {
      for (std::size_t rank = 0; rank < wishes.size(); ++rank) {
        const auto each = parse<schema::Wish>(wishes[rank]);
        if (!each.error().empty()) throw std::invalid_argument(fmt::format("rank {}: {}", rank, each.error()));
        for (int i = 0; i < each.tensor_idx_size(); ++i)
          ranges[static_cast<std::size_t>(each.tensor_idx(i))].emplace_back(each.begin(i), each.end(i));
      }
      for (std::size_t i = 0; i < ranges.size(); ++i) {
        const StoredTensor& tensor = manifest_.tensors[i];
        if (std::ranges::find(complete, tensor.kind) != complete.end())
          require_wanted(tensor.name, std::move(ranges[i]), tensor.count());
      }
    } catch (const std::invalid_argument& error) {
      refusal = error.what();
    }
  }
  refusal = comm::broadcast_text(world, refusal, 0);
  if (!refusal.empty()) throw std::invalid_argument(fmt::format("load {}: {}", folder_.filename().string(), refusal));

  std::ranges::sort(copies, {}, [](const Copy& copy) { return std::pair(copy.file_idx, copy.offset_bytes); });
  std::string failure;
  try {
    for (auto copy = copies.begin(); copy != copies.end();) {
      const std::size_t file_idx = copy->file_idx;
      const InputFile file(folder_ / manifest_.files[file_idx].name);
      for (; copy != copies.end() && copy->file_idx == file_idx; ++copy)
        patiently([&] { file.read(copy->offset_bytes, copy->target); });
    }
  } catch (const std::exception& error) {
    failure = error.what();
  }
  failure = first_error(world, failure);
  if (!failure.empty()) throw LoadError(failure);
}

}  // namespace ballast::checkpoint
