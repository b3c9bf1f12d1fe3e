#pragma once
// The one door through which ranks talk to each other.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace ballast::comm {

enum class Dtype { kUint8, kInt32, kInt64, kBfloat16, kFloat32, kFloat64 };
enum class Device { kHost, kCuda };
enum class ReduceOp { kSum, kMax, kMin };

/// Bytes of one element.
std::int64_t size_in_bytes(Dtype dtype);
/// The field's name of the type: "float32", "int64", ...
const char* name(Dtype dtype);
/// "sum", "max" or "min".
const char* name(ReduceOp op);

/// Memory that a call reads: `count` elements of `dtype` at `data`. Does not own.
struct ConstBuffer {
  const void* data = nullptr;
  std::int64_t count = 0;
  Dtype dtype = Dtype::kUint8;
  Device device = Device::kHost;
  std::int64_t num_bytes() const { return count * size_in_bytes(dtype); }
};
/// Memory that a call writes.
struct Buffer {
  void* data = nullptr;
  std::int64_t count = 0;
  Dtype dtype = Dtype::kUint8;
  Device device = Device::kHost;
  std::int64_t num_bytes() const { return count * size_in_bytes(dtype); }
  operator ConstBuffer() const { return {data, count, dtype, device}; }
};

/// The Dtype of a C++ type. bfloat16 has no C++ type here: build its Buffer by hand.
template <class T>
constexpr Dtype dtype_of() {
  if constexpr (std::is_same_v<T, std::uint8_t>) {
    return Dtype::kUint8;
  } else if constexpr (std::is_same_v<T, std::int32_t>) {
    return Dtype::kInt32;
  } else if constexpr (std::is_same_v<T, std::int64_t>) {
    return Dtype::kInt64;
  } else if constexpr (std::is_same_v<T, float>) {
    return Dtype::kFloat32;
  } else {
    static_assert(std::is_same_v<T, double>, "no Dtype for this type");
    return Dtype::kFloat64;
  }
}

/// The buffer of a vector, array or span: a Buffer when its elements can be written, a ConstBuffer when they cannot.
template <std::ranges::contiguous_range Range>
auto buffer(Range&& range) {
  using Element = std::remove_reference_t<std::ranges::range_reference_t<Range>>;
  using Result = std::conditional_t<std::is_const_v<Element>, ConstBuffer, Buffer>;
  return Result{std::ranges::data(range), static_cast<std::int64_t>(std::ranges::size(range)),
                dtype_of<std::remove_const_t<Element>>(), Device::kHost};
}

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

/// A wait has passed its deadline. The text names the ranks that have not answered.
class DeadlineError : public CommError {
 public:
  using CommError::CommError;
};

/// Handle of a started operation. The buffers of the call and the communicator live until it is finished.
/// Destroying an unfinished one waits for it; when an exception is unwinding it is abandoned instead, and the communicator
/// refuses every later call.
class Pending {
 public:
  using Clock = std::chrono::steady_clock;
  /// The destructor of an unfinished operation abandons it.
  class Operation {
   public:
    virtual ~Operation() = default;
    /// Makes progress; true when finished.
    virtual bool poll() = 0;
    /// Blocks until finished. Throws DeadlineError when the communicator's deadline, counted from `since`, passes first.
    virtual void wait(Clock::time_point since) = 0;
  };
  Pending() = default;
  explicit Pending(std::unique_ptr<Operation> operation) : operation_(std::move(operation)) {}
  Pending(Pending&& other) noexcept = default;
  Pending& operator=(Pending&& other) noexcept {
    if (this != &other) {
      finish();
      operation_ = std::move(other.operation_);
      num_exceptions_ = other.num_exceptions_;
    }
    return *this;
  }
  ~Pending() { finish(); }

  /// Makes progress; true when finished.
  bool poll() { return !operation_ || operation_->poll(); }
  /// Blocks until finished. Throws: DeadlineError when the communicator's deadline passes first, counted from `since`.
  void wait(Clock::time_point since = Clock::now()) {
    const std::unique_ptr<Operation> operation = std::move(operation_);
    if (operation) operation->wait(since);
  }

 private:
  void finish() noexcept {
    try {
      if (std::uncaught_exceptions() == num_exceptions_) wait();
    } catch (const std::exception&) {
      // The communicator refuses its next call with the reason.
    }
    operation_.reset();
  }

  std::unique_ptr<Operation> operation_;
  int num_exceptions_ = std::uncaught_exceptions();
};

/// Ranks that can talk to each other. Collectives are called by all ranks in the same order; any number may be in flight.
/// Public calls check their arguments once and then call a private virtual; a backend holds library calls and nothing else.
/// A communicator of size one is the identity: nothing reaches the backend. One thread at a time uses a communicator.
/// Input: host memory; what a call writes overlaps nothing else that it reads or writes, except where in-place is named.
/// Throws: std::invalid_argument for wrong arguments, CommError when the world fails or a deadline passes.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// Longest time that a wait may take; communicators split off later inherit it. Units: seconds.
  void set_deadline(std::chrono::duration<double> deadline);
  std::chrono::duration<double> deadline() const { return deadline_; }

  /// Elementwise reduction over ranks, in rank order, result on every rank. Integers wrap; bfloat16 is summed in float32 and
  /// rounded once; a NaN anywhere makes the element NaN, under max and min too.
  /// Deterministic: the same values give the same bits, whatever the timing.
  Pending all_reduce(Buffer values, ReduceOp op);
  /// Concatenates the ranks' `send` in rank order into `receive`; `counts[r]` elements come from rank r.
  /// In-place: `send` may be this rank's run of `receive`.
  Pending all_gather(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts);
  /// Reduces `send` over ranks; rank r gets its run of `counts[r]` elements in `receive`.
  /// In-place: `receive` may be this rank's run of `send`.
  /// Deterministic as all_reduce.
  Pending reduce_scatter(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts, ReduceOp op);
  /// Sends run j of `send` (`send_counts[j]` elements) to rank j; run i of `receive` comes from rank i.
  Pending all_to_all(ConstBuffer send, std::span<const std::int64_t> send_counts, Buffer receive,
                     std::span<const std::int64_t> receive_counts);
  /// Copies the root's `values` to every rank.
  Pending broadcast(Buffer values, int root);
  /// A group of point-to-point transfers with sizes known on both sides. Transfers of one pair match in order.
  /// A transfer of a rank to itself is a copy. Empty transfers are legal and not sent.
  Pending exchange(std::span<const Send> sends, std::span<const Receive> receives);
  /// Returns when every rank has called it.
  void barrier();
  /// Splits into communicators of equal `color`, ranked by (key, rank). A negative color gives nullptr.
  std::unique_ptr<Communicator> split(int color, int key);

 protected:
  Communicator(int rank, int size) : rank_(rank), size_(size) {}

 private:
  // Arguments are checked. Buffers live until the operation is finished, spans only during the call. Sizes are above one,
  // except in do_split. Exchanges hold no empty transfers and none of the rank to itself.
  virtual Pending start_all_reduce(Buffer values, ReduceOp op) = 0;
  virtual Pending start_all_gather(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts) = 0;
  virtual Pending start_reduce_scatter(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts, ReduceOp op) = 0;
  virtual Pending start_all_to_all(ConstBuffer send, std::span<const std::int64_t> send_counts, Buffer receive,
                                   std::span<const std::int64_t> receive_counts) = 0;
  virtual Pending start_broadcast(Buffer values, int root) = 0;
  virtual Pending start_exchange(std::span<const Send> sends, std::span<const Receive> receives) = 0;
  virtual Pending start_barrier() = 0;
  virtual std::unique_ptr<Communicator> do_split(int color, int key) = 0;

  int rank_;
  int size_;
  std::chrono::duration<double> deadline_{300.0};
};

}  // namespace ballast::comm
