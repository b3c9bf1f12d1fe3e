#include "runtime/checkpoint/publish.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "runtime/checkpoint/buffer_bytes.h"
#include "runtime/checkpoint/durable_file.h"
#include "runtime/checkpoint/rank_messages.h"
#include "runtime/checkpoint/rank_messages.pb.h"
#include "runtime/checkpoint/safetensors.h"
#include "runtime/checkpoint/verify.h"
#include "runtime/comm/broadcast_text.h"

namespace ballast::checkpoint {
namespace {

namespace fs = std::filesystem;

template <class Message>
Message parse(const std::string& bytes) {
  Message message;
  if (!message.ParseFromString(bytes)) throw std::logic_error("a message between ranks of a save is damaged");
  return message;
}

schema::Offer make_offer(std::int64_t step, std::span<const Piece> pieces) {
  schema::Offer offer;
  offer.set_step(step);
  try {
    for (const Piece& piece : pieces) {
      const auto bytes = bytes_of(piece.data, fmt::format("piece of tensor '{}'", piece.name));
      auto& out = *offer.add_piece();
      out.set_name(piece.name);
      out.set_kind(static_cast<schema::TensorKind>(piece.kind));
      out.set_dtype(name(element_type(piece.data.dtype)));
      out.mutable_shape()->Assign(piece.global_shape.begin(), piece.global_shape.end());
      std::int64_t end = 0;
      if (__builtin_add_overflow(piece.begin, piece.data.count, &end))
        throw std::invalid_argument(fmt::format("piece of tensor '{}': begins at element {}", piece.name, piece.begin));
      out.set_begin(piece.begin);
      out.set_end(end);
      out.set_is_replicated(piece.is_replicated);
      if (piece.is_replicated) {
        const ContentHash hash = content_hash(bytes);
        out.set_hash_high(hash.high);
        out.set_hash_low(hash.low);
      }
    }
  } catch (const std::invalid_argument& error) {
    offer.set_error(error.what());
  }
  return offer;
}

std::vector<OfferedPiece> read_offer(const schema::Offer& offer) {
  std::vector<OfferedPiece> pieces;
  for (const auto& piece : offer.piece()) {
    pieces.push_back({.name = piece.name(),
                      .kind = static_cast<TensorKind>(piece.kind()),
                      .type = element_type(piece.dtype(), "offer"),
                      .shape = {piece.shape().begin(), piece.shape().end()},
                      .begin = piece.begin(),
                      .end = piece.end(),
                      .is_replicated = piece.is_replicated(),
                      .hash = {piece.hash_high(), piece.hash_low()}});
  }
  return pieces;
}

/// Writes this rank's assigned pieces into one file of `folder`.
schema::Receipt write_pieces(int rank, const fs::path& folder, std::span<const Piece> pieces,
                             const schema::Assignment& assignment) {
  schema::Receipt receipt;
  if (assignment.write_idx().empty()) return receipt;
  try {
    std::vector<SafetensorsTensor> tensors;
    for (const int index : assignment.write_idx()) {
      const Piece& piece = pieces[static_cast<std::size_t>(index)];
      const auto data = bytes_of(piece.data, piece.name);
      std::int64_t count = 1;
      for (const std::int64_t dim : piece.global_shape) count *= dim;  // checked by the inventory
      tensors.push_back({.name = name_in_file(piece.name, piece.begin, piece.begin + piece.data.count, count),
                         .type = element_type(piece.data.dtype),
                         .shape = piece.data.count == count ? piece.global_shape : std::vector{piece.data.count},
                         .data = data});
    }
    const std::string file_name = fmt::format("rank-{:05d}.safetensors", rank);
    const WrittenSafetensors written = write_safetensors(folder / file_name, tensors);
    auto& file = *receipt.mutable_file();
    file.set_name(file_name);
    file.set_size_bytes(written.size_bytes);
    file.set_hash_high(written.hash.high);
    file.set_hash_low(written.hash.low);
    receipt.mutable_offset_bytes()->Assign(written.begin_bytes.begin(), written.begin_bytes.end());
  } catch (const FileError& error) {
    const char* hint = error.code() == ENOENT ? "; is the folder on a file system that all ranks see?" : "";
    receipt.set_error(fmt::format("{}{}", error.what(), hint));
  } catch (const std::exception& error) {
    receipt.set_error(error.what());
  }
  return receipt;
}

/// Rank 0's side of a save: it alone makes, renames and removes folders.
class Publisher {
 public:
  Publisher(const SaveOptions& options, const TrainingPoint& point) : options_(options), point_(point) {}

  /// Checks the offers of all ranks and makes the temporary folder.
  /// Returns: one assignment for each rank.
  std::vector<schema::Assignment> assign(const std::vector<schema::Offer>& offers) {
    std::vector<schema::Assignment> assignments(offers.size());
    const auto fail = [&](const char* error, bool is_offer_error) {
      for (auto& assignment : assignments) {
        assignment.set_error(error);
        assignment.set_is_offer_error(is_offer_error);
      }
      return assignments;
    };
    try {
      check_request(offers);
      std::vector<std::vector<OfferedPiece>> pieces;
      for (const auto& offer : offers) pieces.push_back(read_offer(offer));
      inventory_ = take_inventory(pieces);
      make_temporary();
    } catch (const std::invalid_argument& error) {
      return fail(error.what(), true);
    } catch (const std::exception& error) {
      return fail(error.what(), false);
    }
    for (std::size_t rank = 0; rank < assignments.size(); ++rank) {
      assignments[rank].set_folder(temporary_.string());
      for (const AssignedPiece& piece : inventory_.writes[rank])
        assignments[rank].add_write_idx(static_cast<std::int32_t>(piece.offer_idx));
    }
    return assignments;
  }

  schema::Outcome publish(const std::vector<schema::Receipt>& receipts) {
    schema::Outcome outcome;
    try {
      const Manifest manifest = make_manifest(receipts);
      check_sizes(manifest);
      OutputFile file(temporary_ / "manifest.pb");
      file.write(serialize(manifest));
      file.finish();
      sync_folder(temporary_);
      rename_exclusively(temporary_, options_.folder / name());
      temporary_.clear();
      sync_folder(options_.folder);
      outcome.set_name(name());
      outcome.set_size_bytes(manifest.size_bytes() + file.size_bytes());
      note_failure("latest was not renewed",
                   [&] { replace_file(options_.folder / "latest", fmt::format("{} {}\n", name(), to_text(file.hash()))); });
      note_failure("an old checkpoint was not removed", [&] { remove_old(); });
    } catch (const std::exception& error) {
      outcome.set_error(error.what());
      remove_temporary();
    }
    for (const std::string& note : notes_) outcome.add_note(note);
    return outcome;
  }

 private:
  std::string name() const { return checkpoint_name(point_.step); }

  void check_request(const std::vector<schema::Offer>& offers) const {
    if (options_.keep < 2) throw std::invalid_argument(fmt::format("save: keep is {}; at least 2 wanted", options_.keep));
    const bool is_plain = !point_.run_id.empty() && std::ranges::all_of(point_.run_id, [](unsigned char letter) {
      return std::isalnum(letter) || letter == '-' || letter == '_';
    });
    if (!is_plain) throw std::invalid_argument(fmt::format("save: run id '{}'; letters, digits, - and _ wanted", point_.run_id));
    if (point_.step < 0 || point_.consumed_samples < 0)
      throw std::invalid_argument(fmt::format("save: step {}, {} samples", point_.step, point_.consumed_samples));
    for (std::size_t rank = 0; rank < offers.size(); ++rank) {
      if (offers[rank].step() != point_.step)
        throw std::invalid_argument(
            fmt::format("save: rank 0 is at step {}, rank {} at step {}", point_.step, rank, offers[rank].step()));
      if (!offers[rank].error().empty())
        throw std::invalid_argument(fmt::format("save: rank {}: {}", rank, offers[rank].error()));
    }
  }

  void make_temporary() {
    fs::create_directories(options_.folder);
    remove_leftovers();
    if (fs::exists(options_.folder / name())) throw SaveError(fmt::format("{} is already published", name()));
    std::int64_t bytes = 0;
    for (const StoredTensor& tensor : inventory_.tensors) bytes += tensor.count() * size_in_bytes(tensor.type);
    std::error_code unknown;
    const auto space = fs::space(options_.folder, unknown);
    if (!unknown && static_cast<double>(space.available) < 1.1 * static_cast<double>(bytes))
      notes_.push_back(
          fmt::format("{}: {} bytes free, the checkpoint needs {}", options_.folder.string(), space.available, bytes));
    const fs::path folder = options_.folder / fmt::format("{}.tmp-{}", name(), point_.run_id);
    make_folder(folder);
    temporary_ = folder;
    sync_folder(options_.folder);
  }

  /// What earlier processes of this run left half done; nobody else writes here while the run folder is locked.
  void remove_leftovers() const {
    for (const auto& entry : fs::directory_iterator(options_.folder)) {
      const std::string entry_name = entry.path().filename().string();
      const bool is_ours = entry_name.ends_with(".tmp-" + point_.run_id) || entry_name.ends_with(".removed-" + point_.run_id);
      if (is_ours) remove_folder(entry.path());
    }
  }

  Manifest make_manifest(const std::vector<schema::Receipt>& receipts) {
    Manifest manifest{.point = point_};
    for (std::size_t rank = 0; rank < receipts.size(); ++rank) {
      const auto& receipt = receipts[rank];
      const auto& writes = inventory_.writes[rank];
      if (!receipt.error().empty()) throw SaveError(fmt::format("rank {}: {}", rank, receipt.error()));
      if (static_cast<std::size_t>(receipt.offset_bytes_size()) != writes.size())
        throw std::logic_error(fmt::format("rank {} wrote {} of {} pieces", rank, receipt.offset_bytes_size(), writes.size()));
      for (std::size_t i = 0; i < writes.size(); ++i) {
        auto& piece = inventory_.tensors[static_cast<std::size_t>(writes[i].tensor_idx)]
                          .pieces[static_cast<std::size_t>(writes[i].piece_idx)];
        piece.file_idx = static_cast<std::int64_t>(manifest.files.size());
        piece.offset_bytes = receipt.offset_bytes(static_cast<int>(i));
      }
      if (receipt.has_file())
        manifest.files.push_back(
            {receipt.file().name(), receipt.file().size_bytes(), {receipt.file().hash_high(), receipt.file().hash_low()}});
    }
    manifest.tensors = std::move(inventory_.tensors);
    return manifest;
  }

  /// Sees through rank 0's eyes what the others say that they wrote.
  void check_sizes(const Manifest& manifest) const {
    for (const StoredFile& file : manifest.files) {
      const InputFile written(temporary_ / file.name);
      if (written.size_bytes() != file.size_bytes)
        throw SaveError(
            fmt::format("{}: {} bytes written, rank 0 sees {}", written.path().string(), file.size_bytes, written.size_bytes()));
    }
  }

  /// Keeps the newest; a folder leaves its published name before anything in it is removed.
  void remove_old() const {
    int num_kept = 1;
    for (const Candidate& old : list_checkpoints(options_.folder)) {
      if (old.step >= point_.step || ++num_kept <= options_.keep) continue;
      const fs::path removed = options_.folder / fmt::format("{}.removed-{}", old.name, point_.run_id);
      rename_exclusively(options_.folder / old.name, removed);
      sync_folder(options_.folder);
      remove_folder(removed);
    }
  }

  template <class Action>
  void note_failure(const char* what, Action action) {
    try {
      action();
    } catch (const std::exception& error) {
      notes_.push_back(fmt::format("{}: {}", what, error.what()));
    }
  }

  void remove_temporary() {
    if (temporary_.empty()) return;
    note_failure("the temporary folder stays until the next save", [&] { remove_folder(temporary_); });
  }

  const SaveOptions& options_;
  const TrainingPoint& point_;
  Inventory inventory_;
  fs::path temporary_;
  std::vector<std::string> notes_;
};

template <class Message>
std::vector<Message> gather(comm::Communicator& world, const Message& message) {
  std::vector<Message> messages;
  for (const std::string& bytes : gather_at_root(world, message.SerializeAsString())) messages.push_back(parse<Message>(bytes));
  return messages;
}

}  // namespace

Saved save(comm::Communicator& world, const SaveOptions& options, const TrainingPoint& point, std::span<const Piece> pieces) {
  std::optional<Publisher> publisher;
  if (world.rank() == 0) publisher.emplace(options, point);

  const auto offers = gather(world, make_offer(point.step, pieces));
  std::vector<std::string> replies;
  if (publisher) {
    for (const auto& assignment : publisher->assign(offers)) replies.push_back(assignment.SerializeAsString());
  }
  const auto assignment = parse<schema::Assignment>(scatter_from_root(world, replies));
  if (!assignment.error().empty()) {
    if (assignment.is_offer_error()) throw InventoryError(assignment.error());
    throw SaveError(assignment.error());
  }

  const auto receipts = gather(world, write_pieces(world.rank(), assignment.folder(), pieces, assignment));
  const std::string reply = publisher ? publisher->publish(receipts).SerializeAsString() : std::string();
  const auto outcome = parse<schema::Outcome>(comm::broadcast_text(world, reply, 0));
  if (!outcome.error().empty()) throw SaveError(fmt::format("{}: {}", checkpoint_name(point.step), outcome.error()));
  return {outcome.name(), outcome.size_bytes(), {outcome.note().begin(), outcome.note().end()}};
}

}  // namespace ballast::checkpoint
