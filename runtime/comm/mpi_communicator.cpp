#include "runtime/comm/mpi_communicator.h"

#define OMPI_SKIP_MPICXX 1  // the C interface only
#define MPICH_SKIP_MPICXX 1
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <mpi.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <mutex>
#include <numeric>
#include <optional>

#include "runtime/comm/backoff.h"
#include "runtime/comm/deadline.h"
#include "runtime/comm/reduction.h"

namespace ballast::comm {
namespace {

std::string error_string(int code) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  return {text.data(), static_cast<std::size_t>(length)};
}

void check_mpi(int code, const char* call, const char* file, int line) {
  if (code != MPI_SUCCESS) throw CommError(fmt::format("{} at {}:{}: {}", call, file, line, error_string(code)));
}
// Every MPI call goes through this.
#define BALLAST_CHECK_MPI(call) check_mpi((call), #call, __FILE__, __LINE__)

// A tag says which communicator, which of its collectives (modulo the window) and which stage of it. Stage 0 of call 0 is
// exchange, whose transfers match in order.
constexpr int kNumStages = 4;
constexpr int kWindow = 1024;  // collectives of one communicator that may be in flight
constexpr int kTagsPerCommunicator = kNumStages * kWindow;
constexpr int kExchangeStage = 0;

class MpiOperation;

// What all communicators of the process share.
class Process {
 public:
  explicit Process(const MpiOptions& options) : options_(options) {
    int* upper_bound = nullptr;
    int is_set = 0;
    BALLAST_CHECK_MPI(MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &upper_bound, &is_set));
    num_communicators_ = is_set != 0 ? *upper_bound / kTagsPerCommunicator : 0;
    if (num_communicators_ < 16) {
      throw CommError(fmt::format("MPI offers tags up to {}; at least {} are needed: choose another pml or mtl component",
                                  is_set != 0 ? *upper_bound : 0, 16 * kTagsPerCommunicator));
    }
  }

  const MpiOptions& options() const { return options_; }

  // The tags of communicator `number`. All members agree on a number that none of them has used.
  int tag_base(int number) const {
    if (number >= num_communicators_) {
      throw CommError(
          fmt::format("split: this MPI's tags tell {} communicators apart, and all are used; split once and keep the "
                      "result",
                      num_communicators_));
    }
    return number * kTagsPerCommunicator;
  }
  int next_number() {
    const std::lock_guard lock(mutex_);
    return next_number_;
  }
  void use_number(int number) {
    const std::lock_guard lock(mutex_);
    next_number_ = std::max(next_number_, number + 1);
  }

  // Whoever polls advances all operations in flight: a stage of one that is not waited for now may be what a peer waits for.
  void start(MpiOperation& operation);
  void advance_all();
  void forget(MpiOperation& operation);

  // After the first failure MPI is not called any more.
  void fail(const std::string& text) {
    const std::lock_guard lock(mutex_);
    fail_locked(text);
  }
  void require_healthy() {
    const std::lock_guard lock(mutex_);
    require_healthy_locked();
  }

 private:
  void advance_locked(MpiOperation& operation);
  void fail_locked(const std::string& text) {
    if (failure_.empty()) failure_ = text;
  }
  void require_healthy_locked() const {
    if (!failure_.empty()) throw CommError(fmt::format("communication has ended in this process: {}", failure_));
  }

  const MpiOptions options_;
  int num_communicators_ = 0;
  std::mutex mutex_;  // communicators may belong to different threads
  int next_number_ = 0;
  std::string failure_;
  std::vector<MpiOperation*> in_flight_;
};

// What the operations of one communicator share with it.
struct Group {
  std::shared_ptr<Process> process;
  std::vector<int> world_ranks;  // by rank
  int rank = 0;
  int tag_base = 0;
  std::int64_t num_started = 0;              // collectives
  std::array<bool, kWindow> in_flight = {};  // by number modulo the window

  int size() const { return static_cast<int>(world_ranks.size()); }
  bool is_world() const {
    for (std::size_t r = 0; r < world_ranks.size(); ++r) {
      if (world_ranks[r] != static_cast<int>(r)) return false;
    }
    return true;
  }
};

// Messages in flight of one operation, all with tags of the same call.
class Messages {
 public:
  Messages(Group& group, int tag) : group_(group), tag_(tag) {}

  void send(const std::byte* data, std::int64_t num_bytes, int peer, int stage) {
    in_pieces(num_bytes, [&](std::int64_t begin, int piece_bytes) {
      MPI_Request request = MPI_REQUEST_NULL;
      BALLAST_CHECK_MPI(MPI_Isend(data + begin, piece_bytes, MPI_BYTE, world_rank(peer), tag_ + stage, MPI_COMM_WORLD, &request));
      add(request, peer, piece_bytes, true);
    });
  }
  void receive(std::byte* data, std::int64_t num_bytes, int peer, int stage) {
    in_pieces(num_bytes, [&](std::int64_t begin, int piece_bytes) {
      MPI_Request request = MPI_REQUEST_NULL;
      BALLAST_CHECK_MPI(MPI_Irecv(data + begin, piece_bytes, MPI_BYTE, world_rank(peer), tag_ + stage, MPI_COMM_WORLD, &request));
      add(request, peer, piece_bytes, false);
    });
  }

  // True when all have been completed.
  bool test() {
    if (num_open_ == 0) return true;
    completed_.resize(requests_.size());
    statuses_.resize(requests_.size());
    int num_completed = 0;
    const int code =
        MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &num_completed, completed_.data(), statuses_.data());
    if (code != MPI_ERR_IN_STATUS) BALLAST_CHECK_MPI(code);
    for (int i = 0; i < num_completed; ++i) {
      const Message& message = messages_[static_cast<std::size_t>(completed_[static_cast<std::size_t>(i)])];
      MPI_Status& status = statuses_[static_cast<std::size_t>(i)];
      if (code == MPI_ERR_IN_STATUS && status.MPI_ERROR != MPI_SUCCESS) {
        throw CommError(fmt::format("a message of {} bytes {} rank {}: {}", message.num_bytes, message.is_send ? "to" : "from",
                                    message.peer, error_string(status.MPI_ERROR)));
      }
      int num_bytes = message.num_bytes;
      if (!message.is_send) BALLAST_CHECK_MPI(MPI_Get_count(&status, MPI_BYTE, &num_bytes));
      if (num_bytes != message.num_bytes) {
        throw CommError(fmt::format("rank {} sent {} bytes where {} were expected; both sides must call with equal sizes",
                                    message.peer, num_bytes, message.num_bytes));
      }
    }
    num_open_ -= num_completed;
    if (num_open_ > 0) return false;
    requests_.clear();
    messages_.clear();
    return true;
  }

  // Ranks that have not answered: not sent what is expected or, when nothing is, not taken what is sent.
  std::vector<int> missing() const {
    std::vector<int> ranks;
    for (const bool is_send : {false, true}) {
      if (!ranks.empty()) break;
      for (std::size_t i = 0; i < requests_.size(); ++i) {
        if (requests_[i] != MPI_REQUEST_NULL && messages_[i].is_send == is_send) ranks.push_back(messages_[i].peer);
      }
    }
    std::ranges::sort(ranks);
    ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
    return ranks;
  }

 private:
  struct Message {
    int peer;
    int num_bytes;
    bool is_send;
  };

  int world_rank(int peer) const { return group_.world_ranks[static_cast<std::size_t>(peer)]; }
  void add(MPI_Request request, int peer, int num_bytes, bool is_send) {
    requests_.push_back(request);
    messages_.push_back({peer, num_bytes, is_send});
    ++num_open_;
  }
  template <class Start>
  void in_pieces(std::int64_t num_bytes, const Start& start) {
    const std::int64_t largest = group_.process->options().max_message_bytes;
    for (std::int64_t begin = 0; begin < num_bytes; begin += largest) {
      start(begin, static_cast<int>(std::min(largest, num_bytes - begin)));
    }
  }

  Group& group_;
  const int tag_;
  int num_open_ = 0;
  std::vector<MPI_Request> requests_;
  std::vector<Message> messages_;
  std::vector<int> completed_;
  std::vector<MPI_Status> statuses_;
};

// An operation is a list of stages; a stage computes and posts messages, and the next one starts when they are completed.
class MpiOperation : public Pending::Operation {
 public:
  using Stage = std::function<void(Messages&)>;

  MpiOperation(std::shared_ptr<Group> group, std::string call, std::chrono::duration<double> deadline,
               std::optional<std::int64_t> number, std::vector<Stage> stages)
      : group_(std::move(group)),
        call_(std::move(call)),
        deadline_(deadline),
        number_(number),
        stages_(std::move(stages)),
        messages_(*group_, group_->tag_base + (number ? window_index() * kNumStages : 0)) {
    if (number_) group_->in_flight[static_cast<std::size_t>(window_index())] = true;
    group_->process->start(*this);
  }

  ~MpiOperation() override {
    group_->process->forget(*this);
    if (number_) group_->in_flight[static_cast<std::size_t>(window_index())] = false;
    if (!is_done_) group_->process->fail(fmt::format("rank {} abandoned its {}", group_->rank, call_));
  }

  bool poll() override {
    if (!is_done_) group_->process->advance_all();
    return is_done_;
  }

  void wait(Pending::Clock::time_point since) override {
    Backoff backoff;
    while (!poll()) {
      if (Pending::Clock::now() - since > deadline_) {
        const std::string text = timeout_text();
        group_->process->fail(text);
        throw DeadlineError(text);
      }
      backoff.pause();
    }
  }

  // For Process, which calls it under its mutex. True when done.
  bool advance() {
    try {
      while (!is_done_ && messages_.test()) {
        if (next_stage_ == stages_.size()) {
          is_done_ = true;
        } else {
          stages_[next_stage_++](messages_);
        }
      }
    } catch (const CommError& error) {
      throw CommError(fmt::format("{} on rank {} of {}: {}", call_, group_->rank, group_->size(), error.what()));
    }
    return is_done_;
  }

 private:
  int window_index() const { return static_cast<int>(*number_ % kWindow); }

  std::string timeout_text() const {
    std::vector<int> missing = messages_.missing();
    std::string text = deadline_text(call_, group_->rank, group_->size(), deadline_, missing);
    if (group_->is_world()) return text;
    for (int& rank : missing) rank = group_->world_ranks[static_cast<std::size_t>(rank)];
    return fmt::format("{} (in the world: rank {}, waiting for {})", text,
                       group_->world_ranks[static_cast<std::size_t>(group_->rank)], fmt::join(missing, ", "));
  }

  std::shared_ptr<Group> group_;
  std::string call_;
  std::chrono::duration<double> deadline_;
  std::optional<std::int64_t> number_;  // of a collective
  std::vector<Stage> stages_;
  Messages messages_;
  std::size_t next_stage_ = 0;
  std::atomic<bool> is_done_ = false;  // another thread's poll may finish it
};

void Process::start(MpiOperation& operation) {
  const std::lock_guard lock(mutex_);
  require_healthy_locked();
  in_flight_.push_back(&operation);
  advance_locked(operation);
}

void Process::advance_all() {
  const std::lock_guard lock(mutex_);
  require_healthy_locked();
  const auto all = in_flight_;
  for (MpiOperation* const operation : all) advance_locked(*operation);
}

void Process::advance_locked(MpiOperation& operation) {
  try {
    if (operation.advance()) std::erase(in_flight_, &operation);
  } catch (const std::exception& error) {
    fail_locked(error.what());
    std::erase(in_flight_, &operation);
    throw;
  }
}

void Process::forget(MpiOperation& operation) {
  const std::lock_guard lock(mutex_);
  std::erase(in_flight_, &operation);
}

const std::byte* bytes(const ConstBuffer& buffer) { return static_cast<const std::byte*>(buffer.data); }
std::byte* bytes(const Buffer& buffer) { return static_cast<std::byte*>(buffer.data); }

void copy(const std::byte* from, std::byte* to, std::int64_t num_bytes) {
  if (num_bytes > 0 && from != to) std::memcpy(to, from, static_cast<std::size_t>(num_bytes));
}

// Memory of an operation in flight. Not initialised: a page is first touched by what is received into it.
using Scratch = std::shared_ptr<std::byte[]>;
Scratch make_scratch(std::int64_t num_bytes) {
  return std::make_shared_for_overwrite<std::byte[]>(static_cast<std::size_t>(num_bytes));
}

// Byte runs of a buffer, one per rank.
class Runs {
 public:
  Runs(std::span<const std::int64_t> counts, Dtype dtype) : begin_{0} {
    for (const std::int64_t count : counts) begin_.push_back(begin_.back() + count * size_in_bytes(dtype));
  }
  std::int64_t begin(int rank) const { return begin_[static_cast<std::size_t>(rank)]; }
  std::int64_t num_bytes(int rank) const { return begin(rank + 1) - begin(rank); }

 private:
  std::vector<std::int64_t> begin_;
};

// As equal as can be, longer ones first.
std::vector<std::int64_t> even_counts(std::int64_t count, int num_ranks) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(num_ranks), count / num_ranks);
  for (std::int64_t r = 0; r < count % num_ranks; ++r) ++counts[static_cast<std::size_t>(r)];
  return counts;
}

class MpiCommunicator : public Communicator {
 public:
  explicit MpiCommunicator(std::shared_ptr<Group> group) : Communicator(group->rank, group->size()), group_(std::move(group)) {}

 private:
  using Stage = MpiOperation::Stage;

  Pending collective(std::string call, std::vector<Stage> stages) {
    const std::int64_t number = group_->num_started;
    if (group_->in_flight[static_cast<std::size_t>(number % kWindow)]) {
      throw CommError(
          fmt::format("{} on rank {} of {}: collective number {} is still in flight; wait for it before starting "
                      "another {}",
                      call, rank(), size(), number - kWindow, kWindow));
    }
    ++group_->num_started;
    return Pending(std::make_unique<MpiOperation>(group_, std::move(call), deadline(), number, std::move(stages)));
  }

  // Peers in an order in which ranks do not all write to the same one first.
  template <class Body>
  void for_each_peer(const Body& body) const {
    for (int step = 1; step < size(); ++step) body((rank() + step) % size());
  }

  // Stage 1 brings the peers' pieces of this rank's run, stage 2 reduces them in rank order.
  std::vector<Stage> reduce_scatter_stages(ConstBuffer send, Buffer receive, const Runs& runs, ReduceOp op) const {
    const std::int64_t own_bytes = runs.num_bytes(rank());
    const Scratch scratch = make_scratch(own_bytes * (size() - 1));
    // The peers' pieces lie in rank order; this rank's own piece stays where it is.
    const auto piece_of = [=, this](int peer) { return scratch.get() + own_bytes * (peer - (peer > rank() ? 1 : 0)); };
    return {[=, this](Messages& messages) {
              for_each_peer([&](int peer) { messages.receive(piece_of(peer), own_bytes, peer, 1); });
              for_each_peer([&](int peer) { messages.send(bytes(send) + runs.begin(peer), runs.num_bytes(peer), peer, 1); });
            },
            [=, this](Messages&) {
              std::vector<const void*> sources;
              for (int peer = 0; peer < size(); ++peer) {
                sources.push_back(peer == rank() ? bytes(send) + runs.begin(rank()) : piece_of(peer));
              }
              reduce_in_rank_order(sources, receive.data, receive.count, receive.dtype, op);
            }};
  }

  Stage all_gather_stage(const std::byte* own, std::byte* receive, const Runs& runs, int stage) const {
    return [=, this](Messages& messages) {
      for_each_peer([&](int peer) { messages.receive(receive + runs.begin(peer), runs.num_bytes(peer), peer, stage); });
      for_each_peer([&](int peer) { messages.send(own, runs.num_bytes(rank()), peer, stage); });
      copy(own, receive + runs.begin(rank()), runs.num_bytes(rank()));
    };
  }

  Pending start_all_reduce(Buffer values, ReduceOp op) override {
    const std::int64_t num_bytes = values.num_bytes();
    std::string call = fmt::format("all_reduce {} of {} bytes ({} {})", name(op), num_bytes, values.count, name(values.dtype));
    if (num_bytes <= group_->process->options().max_gathered_bytes) {
      const Scratch scratch = make_scratch(num_bytes * size());
      const std::vector<std::int64_t> counts(static_cast<std::size_t>(size()), values.count);
      return collective(std::move(call),
                        {all_gather_stage(bytes(values), scratch.get(), Runs(counts, values.dtype), 1), [=, this](Messages&) {
                           std::vector<const void*> sources;
                           for (int r = 0; r < size(); ++r) sources.push_back(scratch.get() + r * num_bytes);
                           reduce_in_rank_order(sources, values.data, values.count, values.dtype, op);
                         }});
    }
    const std::vector<std::int64_t> counts = even_counts(values.count, size());
    const Runs runs(counts, values.dtype);
    std::byte* const own = bytes(values) + runs.begin(rank());
    std::vector<Stage> stages =
        reduce_scatter_stages(values, {own, counts[static_cast<std::size_t>(rank())], values.dtype, values.device}, runs, op);
    stages.push_back(all_gather_stage(own, bytes(values), runs, 2));
    return collective(std::move(call), std::move(stages));
  }

  Pending start_all_gather(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts) override {
    return collective(fmt::format("all_gather of {} bytes ({} {})", receive.num_bytes(), receive.count, name(receive.dtype)),
                      {all_gather_stage(bytes(send), bytes(receive), Runs(counts, send.dtype), 1)});
  }

  Pending start_reduce_scatter(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts, ReduceOp op) override {
    return collective(
        fmt::format("reduce_scatter {} of {} bytes ({} {})", name(op), send.num_bytes(), send.count, name(send.dtype)),
        reduce_scatter_stages(send, receive, Runs(counts, send.dtype), op));
  }

  Pending start_all_to_all(ConstBuffer send, std::span<const std::int64_t> send_counts, Buffer receive,
                           std::span<const std::int64_t> receive_counts) override {
    const Runs sent(send_counts, send.dtype);
    const Runs received(receive_counts, send.dtype);
    return collective(
        fmt::format("all_to_all of {} ({} bytes sent, {} received)", name(send.dtype), send.num_bytes(), receive.num_bytes()),
        {[=, this](Messages& messages) {
          for_each_peer(
              [&](int peer) { messages.receive(bytes(receive) + received.begin(peer), received.num_bytes(peer), peer, 1); });
          for_each_peer([&](int peer) { messages.send(bytes(send) + sent.begin(peer), sent.num_bytes(peer), peer, 1); });
          copy(bytes(send) + sent.begin(rank()), bytes(receive) + received.begin(rank()), sent.num_bytes(rank()));
        }});
  }

  // A binomial tree: a rank receives from the rank without its lowest bit (counted from the root) and then serves those below.
  Pending start_broadcast(Buffer values, int root) override {
    const int place = (rank() - root + size()) % size();
    const auto rank_at = [=, this](int other) { return (other + root) % size(); };
    int bit = 1;
    while (bit < size() && (place & bit) == 0) bit <<= 1;
    return collective(
        fmt::format("broadcast of {} bytes ({} {}) from rank {}", values.num_bytes(), values.count, name(values.dtype), root),
        {[=](Messages& messages) {
           if (place != 0) messages.receive(bytes(values), values.num_bytes(), rank_at(place - bit), 1);
         },
         [=, this](Messages& messages) {
           for (int below = bit >> 1; below > 0; below >>= 1) {
             if (place + below < size()) messages.send(bytes(values), values.num_bytes(), rank_at(place + below), 1);
           }
         }});
  }

  Pending start_exchange(std::span<const Send> sends, std::span<const Receive> receives) override {
    std::int64_t num_sent_bytes = 0;
    std::int64_t num_received_bytes = 0;
    for (const Send& send : sends) num_sent_bytes += send.buffer.num_bytes();
    for (const Receive& receive : receives) num_received_bytes += receive.buffer.num_bytes();
    // The stage runs in the constructor, while the spans are valid.
    return Pending(std::make_unique<MpiOperation>(
        group_, fmt::format("exchange of {} bytes sent and {} received", num_sent_bytes, num_received_bytes), deadline(),
        std::nullopt, std::vector<Stage>{[=](Messages& messages) {
          for (const auto& [peer, buffer] : receives) messages.receive(bytes(buffer), buffer.num_bytes(), peer, kExchangeStage);
          for (const auto& [peer, buffer] : sends) messages.send(bytes(buffer), buffer.num_bytes(), peer, kExchangeStage);
        }}));
  }

  // Everybody tells everybody, so that a wait knows who has not come.
  Pending start_barrier() override {
    const Scratch scratch = make_scratch(size());
    const std::vector<std::int64_t> counts(static_cast<std::size_t>(size()), 1);
    scratch[rank()] = std::byte{1};
    return collective("barrier", {all_gather_stage(scratch.get() + rank(), scratch.get(), Runs(counts, Dtype::kUint8), 1),
                                  [scratch](Messages&) { /* holds the memory until here */ }});
  }

  std::unique_ptr<Communicator> do_split(int color, int key) override {
    struct Choice {
      std::int64_t color, key, next_number, rank;
    };
    const std::int64_t choice_elements = 4;
    const Choice own{color, key, group_->process->next_number(), rank()};
    std::vector<Choice> all(static_cast<std::size_t>(size()));
    const std::vector<std::int64_t> counts(all.size(), choice_elements);
    all_gather({&own, choice_elements, Dtype::kInt64, Device::kHost},
               {all.data(), choice_elements * size(), Dtype::kInt64, Device::kHost}, counts)
        .wait();

    const int number = static_cast<int>(std::ranges::max(all, {}, &Choice::next_number).next_number);
    const int tag_base = group_->process->tag_base(number);
    group_->process->use_number(number);
    if (color < 0) return nullptr;
    std::erase_if(all, [color](const Choice& choice) { return choice.color != color; });
    std::ranges::stable_sort(all, {}, &Choice::key);
    auto part = std::make_shared<Group>();
    part->process = group_->process;
    part->tag_base = tag_base;
    for (std::size_t i = 0; i < all.size(); ++i) {
      part->world_ranks.push_back(group_->world_ranks[static_cast<std::size_t>(all[i].rank)]);
      if (all[i].rank == rank()) part->rank = static_cast<int>(i);
    }
    return std::make_unique<MpiCommunicator>(part);
  }

  std::shared_ptr<Group> group_;
};

class MpiWorld : public World {
 public:
  explicit MpiWorld(const MpiOptions& options) {
    int is_initialized = 0;
    BALLAST_CHECK_MPI(MPI_Initialized(&is_initialized));
    if (is_initialized != 0) throw CommError("open_mpi_world: MPI can be entered once in a process, and it has been");
    int provided = MPI_THREAD_SINGLE;
    BALLAST_CHECK_MPI(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided));
    BALLAST_CHECK_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    if (provided != MPI_THREAD_MULTIPLE) {
      throw CommError(fmt::format("MPI_Init_thread grants thread level {}; MPI_THREAD_MULTIPLE ({}) is needed", provided,
                                  MPI_THREAD_MULTIPLE));
    }
    process_ = std::make_shared<Process>(options);
    auto group = std::make_shared<Group>();
    group->process = process_;
    int size = 0;
    BALLAST_CHECK_MPI(MPI_Comm_size(MPI_COMM_WORLD, &size));
    BALLAST_CHECK_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &group->rank));
    group->world_ranks.resize(static_cast<std::size_t>(size));
    std::iota(group->world_ranks.begin(), group->world_ranks.end(), 0);
    group->tag_base = process_->tag_base(0);
    process_->use_number(0);
    communicator_ = std::make_unique<MpiCommunicator>(std::move(group));
  }

  Communicator& communicator() override { return *communicator_; }

  void finish() override {
    process_->require_healthy();
    communicator_->barrier();  // MPI_Finalize has no deadline
    process_->fail("the world has been left");
    BALLAST_CHECK_MPI(MPI_Finalize());
  }

 private:
  std::shared_ptr<Process> process_;
  std::unique_ptr<MpiCommunicator> communicator_;
};

}  // namespace

std::unique_ptr<World> open_mpi_world(const MpiOptions& options) { return std::make_unique<MpiWorld>(options); }

std::string mpi_library_version() {
  std::string version(MPI_MAX_LIBRARY_VERSION_STRING, '\0');
  int length = 0;
  MPI_Get_library_version(version.data(), &length);
  version.resize(std::char_traits<char>::length(version.c_str()));
  return version;
}

void abort_mpi_job(int exit_code) {
  int is_initialized = 0;
  int is_finalized = 0;
  MPI_Initialized(&is_initialized);
  MPI_Finalized(&is_finalized);
  if (is_initialized != 0 && is_finalized == 0) MPI_Abort(MPI_COMM_WORLD, exit_code);
}

}  // namespace ballast::comm
