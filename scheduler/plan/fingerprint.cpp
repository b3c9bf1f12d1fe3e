#include "scheduler/plan/fingerprint.h"

#include <type_traits>

namespace ballast::scheduler {

namespace {

/// Sequential 64-bit mixing: add, multiply by an odd constant, fold the high half down.
class Mixer {
 public:
  template <typename T>
  requires std::is_integral_v<T>
  void add(T value) {
    state_ += static_cast<std::uint64_t>(static_cast<std::int64_t>(value)) + 0x9e3779b97f4a7c15u;
    state_ *= 0xd6e8feb86659fd93u;
    state_ ^= state_ >> 32;
  }
  void add(const std::string& text) {
    add(text.size());
    for (const char c : text) add(static_cast<unsigned char>(c));
  }
  template <typename T>
  void add(const std::vector<T>& values) {
    add(values.size());
    for (const T& value : values) add(value);
  }
  void add(const Chunk& chunk) {
    add(chunk.sequence);
    add(chunk.begin);
    add(chunk.end);
  }
  void add(const Ring& ring) {
    add(ring.sequence);
    add(ring.ranks);
    add(ring.shares);
  }
  void add(const HeadPart& part) {
    add(part.head_begin);
    add(part.head_end);
    add(part.query_block_begin);
    add(part.query_block_end);
    add(part.num_query_blocks);
    add(part.ranks);
    add(part.shares);
  }
  void add(const HeadRing& ring) {
    add(ring.sequence);
    add(ring.parts);
  }
  void add(const AllGather& gather) {
    add(gather.sequences);
    add(gather.ranks);
    add(gather.queries);
  }
  void add(const HeadAllToAll& all_to_all) {
    add(all_to_all.sequences);
    add(all_to_all.ranks);
    add(all_to_all.num_heads);
    add(all_to_all.tokens);
  }
  void add(const AttentionTask& task) {
    add(task.sequence);
    add(task.rank);
    add(task.queries);
  }
  void add(const TaskSet& set) { add(set.tasks); }
  void add(const Forward& op) { add(op.micro_batch); }
  void add(const Backward& op) { add(op.micro_batch); }
  void add(const ReduceGradients&) {}
  void add(const UpdateParameters&) {}
  void add(const GatherParameters&) {}
  template <typename... Alternatives>
  void add(const std::variant<Alternatives...>& value) {
    add(value.index());
    std::visit([this](const auto& alternative) { add(alternative); }, value);
  }
  void add(const Instruction& instruction) {
    add(instruction.op);
    add(instruction.after);
  }
  void add(const MicroBatch& micro_batch) {
    add(micro_batch.sequences);
    add(micro_batch.work);
    add(micro_batch.homes);
    add(micro_batch.kv_source_layer);
  }
  std::uint64_t state() const { return state_; }

 private:
  std::uint64_t state_ = 0;
};

}  // namespace

std::uint64_t fingerprint(const Plan& plan) {
  Mixer mixer;
  mixer.add(plan.step);
  mixer.add(plan.policy);
  mixer.add(plan.lengths);
  mixer.add(plan.micro_batches);
  mixer.add(plan.ranks);
  mixer.add(plan.is_routed);
  mixer.add(plan.charged_tokens);
  return mixer.state();
}

}  // namespace ballast::scheduler
