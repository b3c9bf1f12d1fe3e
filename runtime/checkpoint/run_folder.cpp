#include "runtime/checkpoint/run_folder.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/checkpoint/durable_file.h"
#include "runtime/checkpoint/verify.h"

namespace ballast::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxNumber = 100'000;

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? std::string(name.data()) : std::string("unknown");
}

/// Time first, so that run ids sort; then enough chance that two runs never share one.
std::string new_run_id() {
  std::uint32_t chance = 0;
  if (getrandom(&chance, sizeof(chance), 0) != sizeof(chance)) throw FileError("/dev/urandom", "getrandom", errno);
  return fmt::format("{:%Y%m%dT%H%M%S}-{:08x}", fmt::gmtime(std::time(nullptr)), chance);
}

std::string read_text(const fs::path& path) {
  const InputFile file(path);
  std::string text(static_cast<std::size_t>(std::min<std::int64_t>(file.size_bytes(), 4096)), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

/// `wanted` for 1, `wanted`-2, `wanted`-3, ...
fs::path numbered(const fs::path& wanted, int number) {
  return number == 1 ? wanted : fs::path(fmt::format("{}-{}", wanted.string(), number));
}

fs::path without_trailing_slash(const fs::path& path) { return path.has_filename() ? path : path.parent_path(); }

/// Returns: 1 for `base` itself, n for `base`-n with n >= 2, 0 for any other name.
int number_of(const std::string& name, const std::string& base) {
  if (name == base) return 1;
  if (!name.starts_with(base + "-")) return 0;
  int number = 0;
  const char* end = name.data() + name.size();
  const auto result = std::from_chars(name.data() + base.size() + 1, end, number);
  return result.ptr == end && result.ec == std::errc() && number >= 2 && number <= kMaxNumber &&
                 name == fmt::format("{}-{}", base, number)
             ? number
             : 0;
}

struct Holder {
  std::string host = "unknown";
  std::int64_t pid = 0;
  std::string run_id = "unknown";
};

/// What the lock file says; a torn or foreign content says nothing, the lock itself is the kernel's.
Holder parse_holder(const std::string& text) {
  Holder holder;
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return holder;
  if (const auto host = json.find("host"); host != json.end() && host->is_string()) holder.host = *host;
  if (const auto pid = json.find("pid"); pid != json.end() && pid->is_number_integer()) holder.pid = *pid;
  if (const auto run = json.find("run_id"); run != json.end() && run->is_string()) holder.run_id = *run;
  return holder;
}

const char* name(RunState state) {
  switch (state) {
    case RunState::kRunning:
      return "running";
    case RunState::kFinished:
      return "finished";
    case RunState::kStopped:
      return "stopped";
    case RunState::kFailed:
      return "failed";
  }
  throw std::logic_error("unknown RunState");
}

}  // namespace

RunFolder RunFolder::create(const fs::path& wanted_path) {
  const fs::path wanted = without_trailing_slash(wanted_path);
  if (wanted.has_parent_path()) {
    std::error_code error;
    fs::create_directories(wanted.parent_path(), error);
    if (error) throw FileError(wanted.parent_path(), "mkdir", error.value());
  }
  for (int number = 1;; ++number) {
    const fs::path folder = numbered(wanted, number);
    try {
      make_folder(folder);
    } catch (const FileError& error) {
      if (error.code() == EEXIST && number < kMaxNumber) continue;
      throw;
    }
    sync_folder(folder.has_parent_path() ? folder.parent_path() : ".");
    std::vector<std::string> notes;
    if (number > 1)
      notes.push_back(
          fmt::format("{} exists and is left alone (--resume goes on in it); this run is {}", wanted.string(), folder.string()));
    return RunFolder(folder, std::move(notes));
  }
}

RunFolder RunFolder::open(const fs::path& folder_path) {
  const fs::path folder = without_trailing_slash(folder_path);
  if (!fs::is_directory(folder)) throw NothingToResume(fmt::format("{}: there is no such run folder", folder.string()));
  return RunFolder(folder, {fmt::format("using {}", folder.string())});
}

NewestRun newest_run(const fs::path& wanted_path) {
  const fs::path wanted = without_trailing_slash(wanted_path);
  const fs::path parent = wanted.has_parent_path() ? wanted.parent_path() : ".";
  std::vector<int> numbers;
  std::error_code error;
  for (fs::directory_iterator entry(parent, error), end; !error && entry != end; entry.increment(error)) {
    if (const int number = number_of(entry->path().filename().string(), wanted.filename().string())) numbers.push_back(number);
  }
  if (error && error != std::errc::no_such_file_or_directory) throw FileError(parent, "list", error.value());
  std::ranges::sort(numbers, std::ranges::greater{});
  std::vector<std::string> looked_at;
  for (const int number : numbers) {
    const fs::path folder = numbered(wanted, number);
    if (list_checkpoints(folder / "checkpoints").empty()) {
      looked_at.push_back(fmt::format("{} has no checkpoint", folder.string()));
      continue;
    }
    std::vector<std::string> notes = std::move(looked_at);
    notes.push_back(
        fmt::format("using {}{}", folder.string(), numbers.size() > 1 ? ", the newest that has a checkpoint" : ""));
    return {folder, std::move(notes)};
  }
  if (looked_at.empty()) looked_at.push_back(fmt::format("{} does not exist", wanted.string()));
  throw NothingToResume(fmt::format("there is no checkpoint: {}; train first, without --resume", fmt::join(looked_at, ", ")));
}

RunFolder RunFolder::resume(const fs::path& wanted) {
  NewestRun run = newest_run(wanted);
  return RunFolder(run.folder, std::move(run.notes));
}

RunFolder::RunFolder(fs::path path, std::vector<std::string> notes) : path_(std::move(path)), notes_(std::move(notes)) {
  const fs::path lock_path = path_ / "lock";
  lock_ = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock_ < 0) throw FileError(lock_path, "open", errno);
  try {
    const bool is_free = ::flock(lock_, LOCK_EX | LOCK_NB) == 0;
    if (!is_free && errno != EWOULDBLOCK) throw FileError(lock_path, "flock", errno);
    const std::string text = read_text(lock_path);
    const Holder holder = parse_holder(text);
    if (!is_free)
      throw RunFolderBusy(fmt::format("{} is in use by process {} on host {} (run {}); wait for it or choose another folder",
                                      path_.string(), holder.pid, holder.host, holder.run_id));
    if (!text.empty())
      notes_.push_back(fmt::format("the lock of process {} on host {} (run {}) is stale: that process ended without releasing it",
                                   holder.pid, holder.host, holder.run_id));

    const fs::path id_path = path_ / "run_id";
    if (!fs::exists(id_path)) replace_file(id_path, new_run_id() + "\n");
    run_id_ = read_text(id_path);
    while (!run_id_.empty() && run_id_.back() == '\n') run_id_.pop_back();

    const std::string content =
        nlohmann::ordered_json{{"host", host_name()}, {"pid", ::getpid()}, {"run_id", run_id_}}.dump() + "\n";
    // Written in place: another file under this name would be another lock.
    if (::ftruncate(lock_, 0) != 0 || ::pwrite(lock_, content.data(), content.size(), 0) != static_cast<ssize_t>(content.size()))
      throw FileError(lock_path, "write", errno);
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

RunFolder::RunFolder(RunFolder&& other) noexcept
    : path_(std::move(other.path_)),
      run_id_(std::move(other.run_id_)),
      notes_(std::move(other.notes_)),
      lock_(std::exchange(other.lock_, -1)) {}

RunFolder::~RunFolder() {
  if (lock_ < 0) return;
  [[maybe_unused]] const int ignored = ::ftruncate(lock_, 0);  // an emptied lock file says that its holder ended in order
  ::close(lock_);
}

void RunFolder::write_status(const RunStatus& status) const {
  const nlohmann::ordered_json json = {
      {"state", name(status.state)}, {"exit_code", static_cast<int>(status.exit_code)},
      {"reason", status.reason},     {"last_durable_step", status.last_durable_step},
      {"run_id", run_id_},           {"host", host_name()},
      {"pid", ::getpid()},           {"time", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)))}};
  replace_file(path_ / "status.json", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace ballast::checkpoint
