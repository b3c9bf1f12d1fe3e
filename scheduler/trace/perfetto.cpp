#include "scheduler/trace/perfetto.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>

namespace ballast::scheduler {

namespace {

const char* name(Lane lane) {
  switch (lane) {
    case Lane::kCompute:
      return "compute";
    case Lane::kNodeSend:
      return "send in node";
    case Lane::kNodeReceive:
      return "receive in node";
    case Lane::kNicSend:
      return "send";
    case Lane::kNicReceive:
      return "receive";
  }
  return "?";
}

bool is_nic(Lane lane) { return lane == Lane::kNicSend || lane == Lane::kNicReceive; }

/// Text within quotes.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out;
}

class Writer {
 public:
  /// Returns the first process id that is free afterwards.
  int write(const Timeline& timeline, int first_process) {
    const int num_ranks = static_cast<int>(timeline.node_of_rank.size());
    const std::string prefix = timeline.name.empty() ? "" : escaped(timeline.name) + ": ";
    std::set<std::pair<int, Lane>> threads;
    for (const Span& span : timeline.spans) {
      threads.emplace(first_process + (is_nic(span.lane) ? num_ranks : 0) + span.owner, span.lane);
    }
    int last = -1;
    for (const auto& [process, lane] : threads) {
      if (process != last) {
        const int index = process - first_process;
        const std::string title =
            index < num_ranks
                ? fmt::format("{}rank {} (node {})", prefix, index, timeline.node_of_rank[index])
                : fmt::format("{}cards {} (node {})", prefix, index - num_ranks, timeline.node_of_nic_group[index - num_ranks]);
        event(R"({{"ph":"M","name":"process_name","pid":{},"args":{{"name":"{}"}}}})", process, title);
        event(R"({{"ph":"M","name":"process_sort_index","pid":{},"args":{{"sort_index":{}}}}})", process, process);
        last = process;
      }
      event(R"({{"ph":"M","name":"thread_name","pid":{},"tid":{},"args":{{"name":"{}"}}}})", process, static_cast<int>(lane),
            name(lane));
    }
    for (const Span& span : timeline.spans) {
      const int process = first_process + (is_nic(span.lane) ? num_ranks : 0) + span.owner;
      std::string arguments = fmt::format(R"("micro_batch":{},"layer":{})", span.micro_batch, span.layer);
      const auto argument = [&](const char* key, std::int64_t value) {
        fmt::format_to(std::back_inserter(arguments), R"(,"{}":{})", key, value);
      };
      if (span.work >= Work::kAttention) {
        argument("queue", span.queue);
        argument("round", span.round);
      }
      if (span.lane == Lane::kCompute) {
        if (span.sequence >= 0) argument("sequence", span.sequence);
      } else {
        argument("rank", span.rank);
        argument("peer", span.peer);
        argument("bytes", span.bytes);
      }
      event(R"({{"ph":"X","name":"{}","cat":"{}","pid":{},"tid":{},"ts":{:.3f},"dur":{:.3f},"args":{{{}}}}})",
            scheduler::name(span.work), span.pass == Pass::kForward ? "forward" : "backward", process,
            static_cast<int>(span.lane), 1e6 * span.begin_seconds, 1e6 * (span.end_seconds - span.begin_seconds), arguments);
    }
    return first_process + num_ranks + static_cast<int>(timeline.node_of_nic_group.size());
  }

  std::string finish() { return "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[" + events_ + "\n]}\n"; }

 private:
  template <typename... Arguments>
  void event(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
    events_ += events_.empty() ? "\n" : ",\n";
    fmt::format_to(std::back_inserter(events_), text, std::forward<Arguments>(arguments)...);
  }

  std::string events_;
};

}  // namespace

const char* name(Work work) {
  switch (work) {
    case Work::kProjections:
      return "projections";
    case Work::kFeedForward:
      return "feed-forward";
    case Work::kHead:
      return "head";
    case Work::kWeightGradients:
      return "weight gradients";
    case Work::kAttention:
      return "attention";
    case Work::kDispatch:
      return "dispatch";
    case Work::kRotate:
      return "rotate keys";
    case Work::kRotateGradients:
      return "rotate gradients";
    case Work::kReturn:
      return "return";
  }
  return "?";
}

std::string perfetto_json(std::span<const Timeline> timelines) {
  Writer writer;
  int process = 0;
  for (const Timeline& timeline : timelines) process = writer.write(timeline, process);
  return writer.finish();
}

}  // namespace ballast::scheduler
