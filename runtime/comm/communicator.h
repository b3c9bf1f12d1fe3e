#pragma once
// The one door through which ranks talk to each other.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace ballast::comm {

enum class Dtype { kUint8, kInt32, kInt64, kBfloat16, kFloat32, kFloat64 };
enum class Device { kHost, kCuda };
enum class ReduceOp { kSum, kMax, kMin };

/// Bytes of one element.
std::int64_t size_in_bytes(Dtype dtype);
/// The field's name of the type: "float32", "int64", ...
const char* name(Dtype dtype);

/// Memory that a call reads: `count` elements of `dtype` at `data`. Does not own.
struct ConstBuffer {
  const void* data = nullptr;
  std::int64_t count = 0;
  Dtype dtype = Dtype::kUint8;
  Device device = Device::kHost;
};
/// Memory that a call writes.
struct Buffer {
  void* data = nullptr;
  std::int64_t count = 0;
  Dtype dtype = Dtype::kUint8;
  Device device = Device::kHost;
  operator ConstBuffer() const { return {data, count, dtype, device}; }
};

/// One half of a point-to-point transfer inside an exchange: what this rank sends to, or receives from, `peer`.
struct Send {
  int peer;
  ConstBuffer buffer;
};
struct Receive {
  int peer;
  Buffer buffer;
};

/// The world is wrong: a peer did not answer, a library call failed. The text names operation, bytes and peer.
class CommError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Handle of a started operation. Destroying an unfinished one waits for it.
class Pending {
 public:
  class Operation {
   public:
    virtual ~Operation() = default;
    /// Makes progress; true when finished.
    virtual bool poll() = 0;
    /// Blocks until finished. Throws CommError when the communicator's deadline passes first.
    virtual void wait() = 0;
  };
  Pending() = default;
  explicit Pending(std::unique_ptr<Operation> operation) : operation_(std::move(operation)) {}
  bool poll() { return !operation_ || operation_->poll(); }
  void wait() {
    if (operation_) operation_->wait();
    operation_.reset();
  }

 private:
  std::unique_ptr<Operation> operation_;
};

/// Ranks that can talk to each other. Collectives are called by all ranks in the same order.
/// Public calls check their arguments once and then call a private virtual; a backend holds library calls and nothing else.
/// Throws: std::invalid_argument for wrong arguments, CommError when the world fails or a deadline passes.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// Longest time that a wait may take. Units: seconds.
  void set_deadline(std::chrono::duration<double> deadline) { deadline_ = deadline; }
  std::chrono::duration<double> deadline() const { return deadline_; }

  /// Elementwise reduction over ranks, in rank order, result on every rank.
  /// Deterministic: the same values give the same bits, whatever the timing.
  Pending all_reduce(Buffer values, ReduceOp op);
  /// Concatenates the ranks' `send` in rank order into `receive`; `counts[r]` elements come from rank r.
  Pending all_gather(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts);
  /// Reduces `send` over ranks; rank r gets its run of `counts[r]` elements in `receive`.
  /// Deterministic as all_reduce.
  Pending reduce_scatter(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts, ReduceOp op);
  /// Sends run j of `send` (`send_counts[j]` elements) to rank j; run i of `receive` comes from rank i.
  Pending all_to_all(ConstBuffer send, std::span<const std::int64_t> send_counts, Buffer receive,
                     std::span<const std::int64_t> receive_counts);
  Pending broadcast(Buffer values, int root);
  /// A group of point-to-point transfers with sizes known on both sides. Transfers of one pair match in order.
  /// A transfer of a rank to itself is a copy. Empty transfers are legal and not sent.
  Pending exchange(std::span<const Send> sends, std::span<const Receive> receives);
  void barrier();
  /// Splits into communicators of equal `color`, ranked by (key, rank). A negative color gives nullptr.
  std::unique_ptr<Communicator> split(int color, int key);

 protected:
  Communicator(int rank, int size) : rank_(rank), size_(size) {}

 private:
  virtual Pending start_all_reduce(Buffer values, ReduceOp op) = 0;
  virtual Pending start_all_gather(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts) = 0;
  virtual Pending start_reduce_scatter(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts, ReduceOp op) = 0;
  virtual Pending start_all_to_all(ConstBuffer send, std::span<const std::int64_t> send_counts, Buffer receive,
                                   std::span<const std::int64_t> receive_counts) = 0;
  virtual Pending start_broadcast(Buffer values, int root) = 0;
  virtual Pending start_exchange(std::span<const Send> sends, std::span<const Receive> receives) = 0;
  virtual void do_barrier() = 0;
  virtual std::unique_ptr<Communicator> do_split(int color, int key) = 0;

  int rank_;
  int size_;
  std::chrono::duration<double> deadline_{300.0};
};

}  // namespace ballast::comm
