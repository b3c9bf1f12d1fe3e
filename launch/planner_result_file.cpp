#include "launch/planner_result_file.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string_view>

#include "build_constants.h"

namespace ballast::launch {
namespace {

/// Whether a last line that is no JSON may be what a cut left of a result.
bool is_cut_result(std::string_view tail, bool follows_results) {
  const std::string_view begin = kPlannerResultBegin;
  return tail.starts_with(begin) || (follows_results && begin.starts_with(tail));
}

}  // namespace

PlannerResultFile::PlannerResultFile(std::string path, std::function<void(const std::string&)> note)
    : path_(std::move(path)), note_(std::move(note)) {
  if (path_.empty()) return;
  std::uintmax_t size = 0;
  std::string tail;
  std::ifstream before;
  if (std::filesystem::is_regular_file(path_)) before.open(path_, std::ios::binary);  // not of a pipe or device
  for (std::string line; std::getline(before, line); size += line.size() + 1) {
    if (before.eof()) {
      tail = line;
      break;
    }
    if (!read_line(line)) throw std::invalid_argument(fmt::format("{}:{}: not a result of bench planner", path_, num_lines_));
  }
  before.close();
  bool lacks_end = false;
  if (!tail.empty()) {
    const bool is_json = nlohmann::json::accept(tail);
    lacks_end = is_json && read_line(tail);
    if (!lacks_end && (is_json || !is_cut_result(tail, num_lines_ > 0))) {
      throw std::invalid_argument(
          fmt::format("{}: its last line is no result of bench planner, so this is another file; it was not changed", path_));
    }
    if (!lacks_end) {
      std::filesystem::resize_file(path_, size);
      note_(fmt::format("{}: a result that was cut while it was written is gone ({} bytes)", path_, tail.size()));
    }
  }
  file_.open(path_, std::ios::binary | std::ios::app);
  if (lacks_end) file_ << std::endl;
  if (!file_) throw std::runtime_error(fmt::format("{}: results cannot be written", path_));
  note_age();
}

bool PlannerResultFile::read_line(const std::string& line) {
  ++num_lines_;
  try {
    PlannerResult result = planner_result_from(nlohmann::json::parse(line));
    line_of_names_.emplace(result.names(), num_lines_);
    if (result.inputs == 0 && result.seed >= 0) {
      ++num_without_inputs_;
    } else {
      known_.insert_or_assign({result.names(), result.inputs}, std::move(result));
    }
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

void PlannerResultFile::note_age() {
  if (num_without_inputs_ > 0) {
    note_(fmt::format(
        "{}: {} of its results are of an older program and do not say what they were computed from; they stay, but are not used",
        path_, num_without_inputs_));
  }
  std::map<std::string, int> others;
  for (const auto& [names, result] : known_) {
    if (result.commit != build::kCommit) ++others[result.commit];
  }
  for (const auto& [commit, count] : others) {
    note_(
        fmt::format("{}: {} of its results are of the program at commit {}, and this is {}; they are used where their inputs are "
                    "wanted again. To have all by this program, give another file",
                    path_, count, commit, build::kCommit));
  }
}

const PlannerResult* PlannerResultFile::find(const PlannerResult& wanted) {
  const auto found = known_.find({wanted.names(), wanted.inputs});
  if (found != known_.end()) return &found->second;
  const auto other = line_of_names_.find(wanted.names());
  if (other != line_of_names_.end() && !has_said_other_inputs_) {
    has_said_other_inputs_ = true;
    note_(
        fmt::format("{}: results of other inputs (cluster, model, lengths or options), line {} the first, stay in the file and "
                    "are computed again from these",
                    path_, other->second));
  }
  return nullptr;
}

void PlannerResultFile::add(const PlannerResult& result) {
  if (path_.empty()) return;
  file_ << json_line(result) << std::endl;
  if (!file_) throw std::runtime_error(fmt::format("{}: a result cannot be written; is the disk full?", path_));
}

}  // namespace ballast::launch
