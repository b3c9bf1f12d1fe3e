#include "tests/support/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace ballast::support {
namespace {

constexpr std::chrono::milliseconds kPause{20};
constexpr const char* kMark = "BALLAST_TEST_FAMILY";

[[noreturn]] void fail(const std::string& what) { throw std::system_error(errno, std::generic_category(), what); }

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  for (std::string& word : words) result.push_back(word.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& command, const std::map<std::string, std::string>& variables) {
  static std::atomic<int> num_started{0};
  mark_ = fmt::format("{}={}.{}", kMark, getpid(), num_started++);
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const std::string name = text.substr(0, text.find('='));
    if (!variables.contains(name) && name != kMark) environment.push_back(text);
  }
  for (const auto& [name, value] : variables) environment.push_back(fmt::format("{}={}", name, value));
  environment.push_back(mark_);
  std::vector<std::string> arguments = command;
  // Prepared before the fork: the child of a process with threads may not allocate.
  const std::vector<char*> argv = pointers(arguments);
  const std::vector<char*> envp = pointers(environment);

  output_file_ = memfd_create("output", MFD_CLOEXEC);
  if (output_file_ < 0) fail("memfd_create");
  pid_ = fork();
  if (pid_ < 0) fail("fork");
  if (pid_ == 0) {
    setsid();
    const int nothing = open("/dev/null", O_RDONLY);
    if (nothing >= 0) dup2(nothing, STDIN_FILENO);
    dup2(output_file_, STDOUT_FILENO);
    dup2(output_file_, STDERR_FILENO);
    execvpe(argv[0], argv.data(), envp.data());
    _exit(127);
  }
}

ChildProcess::~ChildProcess() {
  for (const int pid : family()) kill(pid, SIGKILL);
  if (!has_ended_) waitpid(pid_, &status_, 0);
  close(output_file_);
}

std::string ChildProcess::output() const {
  std::string text(static_cast<std::size_t>(lseek(output_file_, 0, SEEK_END)), '\0');
  std::size_t num = 0;
  while (num < text.size()) {
    const ssize_t got = pread(output_file_, text.data() + num, text.size() - num, static_cast<off_t>(num));
    if (got <= 0) break;
    num += static_cast<std::size_t>(got);
  }
  text.resize(num);
  return text;
}

bool ChildProcess::poll() {
  if (!has_ended_) has_ended_ = waitpid(pid_, &status_, WNOHANG) == pid_;
  return has_ended_;
}

void ChildProcess::wait_for_output(const std::string& text, std::chrono::seconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (output().find(text) == std::string::npos) {
    if (poll() || std::chrono::steady_clock::now() > end) {
      if (output().find(text) != std::string::npos) return;
      throw std::runtime_error(fmt::format("'{}' has not been printed; the output is:\n{}", text, output()));
    }
    std::this_thread::sleep_for(kPause);
  }
}

int ChildProcess::wait(std::chrono::seconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!poll()) {
    if (std::chrono::steady_clock::now() > end) {
      throw std::runtime_error(fmt::format("not ended after {} s; the output is:\n{}", limit.count(), output()));
    }
    std::this_thread::sleep_for(kPause);
  }
  return WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_);
}

std::vector<int> ChildProcess::family() const {
  std::vector<int> pids;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    int pid = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), pid).ptr != name.data() + name.size()) continue;
    // Processes that are gone, or not ours, read as empty; so do those that have ended and wait for their parent.
    std::ifstream file(entry.path() / "environ", std::ios::binary);
    const std::string environment{std::istreambuf_iterator<char>(file), {}};
    if (('\0' + environment).find('\0' + mark_ + '\0') != std::string::npos) pids.push_back(pid);
  }
  return pids;
}

bool ChildProcess::wait_until_gone(std::chrono::seconds limit) const {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!family().empty()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(kPause);
  }
  return true;
}

std::vector<std::string> mpirun_command(int num_ranks, const std::vector<std::string>& program) {
  std::vector<std::string> command{"mpirun", "--oversubscribe", "--bind-to", "none", "-n", std::to_string(num_ranks)};
  command.insert(command.end(), program.begin(), program.end());
  return command;
}

JobOutcome run_job(int num_ranks, const std::vector<std::string>& program, std::chrono::seconds limit) {
  constexpr int kMostCrashes = 7;
  for (int crashes = 0;; ++crashes) {
    ChildProcess job(mpirun_command(num_ranks, program));
    const int exit_code = job.wait(limit);
    const bool is_gone = job.wait_until_gone(std::chrono::seconds(20));
    if (exit_code != 128 + SIGSEGV || crashes == kMostCrashes) return {exit_code, job.output(), is_gone};
  }
}

}  // namespace ballast::support
