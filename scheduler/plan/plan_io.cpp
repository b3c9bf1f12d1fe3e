#include "scheduler/plan/plan_io.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <stdexcept>

#include "scheduler/plan/plan.pb.h"

namespace ballast::scheduler {

namespace {

template <typename Values, typename Field>
void copy(const Values& values, Field* field) {
  field->Assign(values.begin(), values.end());
}

void write(const Chunk& chunk, schema::PlannedChunk& message) {
  message.set_sequence(chunk.sequence);
  message.set_begin(chunk.begin);
  message.set_end(chunk.end);
}
Chunk read(const schema::PlannedChunk& message) { return {message.sequence(), message.begin(), message.end()}; }

template <typename List>
void write(const std::vector<std::vector<Chunk>>& lists, List* messages) {
  for (const std::vector<Chunk>& chunks : lists) {
    schema::PlannedChunks& message = *messages->Add();
    for (const Chunk& chunk : chunks) write(chunk, *message.add_chunks());
  }
}
template <typename List>
std::vector<std::vector<Chunk>> read_lists(const List& messages) {
  std::vector<std::vector<Chunk>> lists;
  for (const schema::PlannedChunks& message : messages) {
    std::vector<Chunk>& chunks = lists.emplace_back();
    for (const schema::PlannedChunk& chunk : message.chunks()) chunks.push_back(read(chunk));
  }
  return lists;
}

struct WorkWriter {
  schema::PlannedWork& work;
  void operator()(const Ring& ring) const {
    schema::PlannedRing& message = *work.mutable_ring();
    message.set_sequence(ring.sequence);
    copy(ring.ranks, message.mutable_ranks());
    copy(ring.shares, message.mutable_shares());
  }
  void operator()(const HeadRing& ring) const {
    schema::PlannedHeadRing& message = *work.mutable_head_ring();
    message.set_sequence(ring.sequence);
    for (const HeadPart& part : ring.parts) {
      schema::PlannedHeadPart& out = *message.add_parts();
      out.set_head_begin(part.head_begin);
      out.set_head_end(part.head_end);
      out.set_query_block_begin(part.query_block_begin);
      out.set_query_block_end(part.query_block_end);
      out.set_num_query_blocks(part.num_query_blocks);
      copy(part.ranks, out.mutable_ranks());
      copy(part.shares, out.mutable_shares());
    }
  }
  void operator()(const AllGather& gather) const {
    schema::PlannedAllGather& message = *work.mutable_all_gather();
    copy(gather.sequences, message.mutable_sequences());
    copy(gather.ranks, message.mutable_ranks());
    write(gather.queries, message.mutable_queries());
  }
  void operator()(const HeadAllToAll& all_to_all) const {
    schema::PlannedHeadAllToAll& message = *work.mutable_head_all_to_all();
    copy(all_to_all.sequences, message.mutable_sequences());
    copy(all_to_all.ranks, message.mutable_ranks());
    copy(all_to_all.num_heads, message.mutable_num_heads());
    write(all_to_all.tokens, message.mutable_tokens());
  }
  void operator()(const TaskSet& set) const {
    schema::PlannedTaskSet& message = *work.mutable_task_set();
    for (const AttentionTask& task : set.tasks) {
      schema::PlannedTask& out = *message.add_tasks();
      out.set_sequence(task.sequence);
      out.set_rank(task.rank);
      for (const Chunk& chunk : task.queries) write(chunk, *out.add_queries());
    }
  }
};

template <typename T, typename Field>
std::vector<T> values(const Field& field) {
  return {field.begin(), field.end()};
}

AttentionWork read_work(const schema::PlannedWork& message, int micro_batch) {
  using Work = schema::PlannedWork;
  switch (message.kind_case()) {
    case Work::kRing:
      return Ring{message.ring().sequence(), values<int>(message.ring().ranks()), values<std::int64_t>(message.ring().shares())};
    case Work::kHeadRing: {
      HeadRing ring{message.head_ring().sequence(), {}};
      for (const schema::PlannedHeadPart& part : message.head_ring().parts()) {
        ring.parts.push_back({part.head_begin(), part.head_end(), part.query_block_begin(), part.query_block_end(),
                              part.num_query_blocks(), values<int>(part.ranks()), values<std::int64_t>(part.shares())});
      }
      return ring;
    }
    case Work::kAllGather:
      return AllGather{values<std::int64_t>(message.all_gather().sequences()), values<int>(message.all_gather().ranks()),
                       read_lists(message.all_gather().queries())};
    case Work::kHeadAllToAll:
      return HeadAllToAll{values<std::int64_t>(message.head_all_to_all().sequences()),
                          values<int>(message.head_all_to_all().ranks()), values<int>(message.head_all_to_all().num_heads()),
                          read_lists(message.head_all_to_all().tokens())};
    case Work::kTaskSet: {
      TaskSet set;
      for (const schema::PlannedTask& task : message.task_set().tasks()) {
        AttentionTask& out = set.tasks.emplace_back(AttentionTask{task.sequence(), task.rank(), {}});
        for (const schema::PlannedChunk& chunk : task.queries()) out.queries.push_back(read(chunk));
      }
      return set;
    }
    case Work::KIND_NOT_SET:
      break;
  }
  throw std::invalid_argument(fmt::format("plan: micro-batch {} has a piece of work without a kind", micro_batch));
}

struct OpWriter {
  schema::PlannedInstruction& message;
  void operator()(const Forward& op) const { message.set_forward(op.micro_batch); }
  void operator()(const Backward& op) const { message.set_backward(op.micro_batch); }
  void operator()(const ReduceGradients&) const { message.set_reduce_gradients(true); }
  void operator()(const UpdateParameters&) const { message.set_update_parameters(true); }
  void operator()(const GatherParameters&) const { message.set_gather_parameters(true); }
};

Op read_op(const schema::PlannedInstruction& message) {
  using Message = schema::PlannedInstruction;
  switch (message.op_case()) {
    case Message::kForward:
      return Forward{message.forward()};
    case Message::kBackward:
      return Backward{message.backward()};
    case Message::kReduceGradients:
      return ReduceGradients{};
    case Message::kUpdateParameters:
      return UpdateParameters{};
    case Message::kGatherParameters:
      return GatherParameters{};
    case Message::OP_NOT_SET:
      break;
  }
  throw std::invalid_argument("plan: an instruction without an operation");
}

}  // namespace

void to_message(const Plan& plan, schema::Plan& message) {
  message.Clear();
  message.set_step(plan.step);
  message.set_policy(plan.policy);
  copy(plan.lengths, message.mutable_lengths());
  for (const MicroBatch& micro_batch : plan.micro_batches) {
    schema::PlannedMicroBatch& out = *message.add_micro_batches();
    copy(micro_batch.sequences, out.mutable_sequences());
    for (const AttentionWork& work : micro_batch.work) std::visit(WorkWriter{*out.add_work()}, work);
    write(micro_batch.homes, out.mutable_homes());
    copy(micro_batch.kv_source_layer, out.mutable_kv_source_layer());
  }
  for (const RankProgram& program : plan.ranks) {
    schema::RankProgram& out = *message.add_ranks();
    for (const Instruction& instruction : program) {
      schema::PlannedInstruction& item = *out.add_instructions();
      std::visit(OpWriter{item}, instruction.op);
      copy(instruction.after, item.mutable_after());
    }
  }
  message.set_is_routed(plan.is_routed);
  copy(plan.charged_tokens, message.mutable_charged_tokens());
}

Plan plan_from(const schema::Plan& message) {
  Plan plan;
  plan.step = message.step();
  plan.policy = message.policy();
  plan.lengths = values<std::int64_t>(message.lengths());
  for (const schema::PlannedMicroBatch& in : message.micro_batches()) {
    MicroBatch micro_batch;
    micro_batch.sequences = values<std::int64_t>(in.sequences());
    for (const schema::PlannedWork& work : in.work()) {
      micro_batch.work.push_back(read_work(work, static_cast<int>(plan.micro_batches.size())));
    }
    micro_batch.homes = read_lists(in.homes());
    micro_batch.kv_source_layer = values<int>(in.kv_source_layer());
    plan.micro_batches.push_back(std::move(micro_batch));
  }
  for (const schema::RankProgram& in : message.ranks()) {
    RankProgram& program = plan.ranks.emplace_back();
    for (const schema::PlannedInstruction& item : in.instructions())
      program.push_back({read_op(item), values<int>(item.after())});
  }
  plan.is_routed = message.is_routed();
  plan.charged_tokens = values<std::int64_t>(message.charged_tokens());
  return plan;
}

std::string plan_to_json(const Plan& plan) {
  schema::Plan message;
  to_message(plan, message);
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) throw std::runtime_error(fmt::format("plan: cannot be written as JSON: {}", status.ToString()));
  return json;
}

}  // namespace ballast::scheduler
