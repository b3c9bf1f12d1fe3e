#include "tests/support/mpi_test_main.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <vector>

#include "runtime/comm/mpi_communicator.h"

namespace ballast::support {
namespace {

comm::World* world = nullptr;

// What the process prints, held back.
class HeldOutput {
 public:
  HeldOutput() : file_(std::tmpfile()), stdout_(dup(STDOUT_FILENO)) {
    std::fflush(stdout);
    if (file_ == nullptr || stdout_ < 0 || dup2(fileno(file_), STDOUT_FILENO) < 0) {
      throw std::runtime_error("the output of a rank cannot be held back in a temporary file");
    }
  }
  void print() {
    std::fflush(stdout);
    dup2(stdout_, STDOUT_FILENO);
    std::rewind(file_);
    std::vector<char> block(1 << 16);
    while (const std::size_t num = std::fread(block.data(), 1, block.size(), file_)) {
      std::fwrite(block.data(), 1, num, stdout);
    }
    std::fflush(stdout);
  }

 private:
  std::FILE* file_;
  int stdout_;
};

// Runs the tests of this rank; output of rank 0 and of ranks that fail. True when they passed on all ranks.
bool run_tests() {
  comm::Communicator& communicator = world->communicator();
  std::unique_ptr<HeldOutput> held;
  if (communicator.rank() > 0) held = std::make_unique<HeldOutput>();
  const bool has_failed = RUN_ALL_TESTS() != 0;
  if (has_failed && held) {
    fmt::print("===== rank {} of {} has failed\n", communicator.rank(), communicator.size());
    held->print();
  }
  std::vector<std::int32_t> any_failed{has_failed ? 1 : 0};
  communicator.all_reduce(comm::buffer(any_failed), comm::ReduceOp::kMax).wait();
  return any_failed.front() == 0;
}

}  // namespace

comm::Communicator& mpi_world() { return world->communicator(); }

}  // namespace ballast::support

int main(int argc, char** argv) {
  namespace comm = ballast::comm;
  namespace support = ballast::support;
  ::testing::InitGoogleTest(&argc, argv);
  try {
    // Small pieces, so that the messages above 64 KiB of the contract suite travel in more than one.
    const std::unique_ptr<comm::World> world = comm::open_mpi_world({.max_message_bytes = 50'000});
    support::world = world.get();
    world->communicator().set_deadline(std::chrono::minutes(1));
    const bool has_passed = support::run_tests();
    world->finish();
    return has_passed ? 0 : 1;
  } catch (const std::exception& error) {
    std::fputs(fmt::format("mpi test: {}\n", error.what()).c_str(), stderr);
    comm::abort_job(1);
  }
}
