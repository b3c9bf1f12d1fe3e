#pragma once
// Commands that a test starts, with everything that they start themselves.
#include <chrono>
#include <map>
#include <string>
#include <vector>

namespace ballast::support {

/// A command in a session of its own, with its standard output and error in one file. Ends with the object, descendants included.
class ChildProcess {
 public:
  /// Starts `command` (the first word is looked up in PATH) with this process's environment and `variables` set on top.
  explicit ChildProcess(const std::vector<std::string>& command, const std::map<std::string, std::string>& variables = {});
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  int pid() const { return pid_; }
  /// What it has printed so far.
  std::string output() const;
  /// Waits until the output contains `text`. Throws: std::runtime_error with the output when it ends or `limit` passes first.
  void wait_for_output(const std::string& text, std::chrono::seconds limit);
  /// Returns the exit code, 128 + n after signal n. Throws: std::runtime_error with the output when `limit` passes first.
  int wait(std::chrono::seconds limit);
  /// Living processes of its family, itself included; found by a variable that all of them inherit.
  std::vector<int> family() const;
  /// Waits until the family is gone; false when some of it is still there after `limit`.
  bool wait_until_gone(std::chrono::seconds limit) const;

 private:
  bool poll();

  std::string mark_;  // NAME=value in the environment of the family
  int output_file_ = -1;
  int pid_ = -1;
  int status_ = -1;
  bool has_ended_ = false;
};

/// The command line that runs `program` on `num_ranks` ranks of this machine, more than it has cores if need be.
std::vector<std::string> mpirun_command(int num_ranks, const std::vector<std::string>& program);

/// How a job of ranks went.
struct JobOutcome {
  int exit_code = 0;
  std::string output;
  bool is_gone = false;  ///< no process was left
};

/// Runs a job under mpirun to its end. Open MPI's mpirun at times crashes while it ends an aborted job on a busy machine
/// (PMIx_server_finalize): the ranks have said all that they say by then, but its exit code is that of the crash. A job that ends
/// so is run again, so no rank may end by SIGSEGV. Throws: std::runtime_error with the output when `limit` passes first.
JobOutcome run_job(int num_ranks, const std::vector<std::string>& program, std::chrono::seconds limit);

}  // namespace ballast::support
