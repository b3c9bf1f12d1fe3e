#include "scheduler/sim/segment.h"

namespace ballast::scheduler {

std::vector<Segment> segments(Pass pass, const std::vector<int>& layers, const std::vector<LayerKind>& kinds,
                              const TokenSeconds& seconds, bool defers_weight_gradients) {
  const bool is_forward = pass == Pass::kForward;
  const bool defers = !is_forward && defers_weight_gradients;
  std::vector<Segment> result(layers.size() + 1);
  for (std::size_t i = 0; i <= layers.size(); ++i) {
    Segment& segment = result[i];
    const auto add = [&](double token_seconds, Work work) {
      segment.pieces.push_back({is_forward || defers ? token_seconds : 2 * token_seconds, work});
      if (defers) segment.weight_seconds += token_seconds;
    };
    // Gate and up, then down: two kernels of which the first is twice as long.
    const auto add_feed_forward = [&](const LayerKind& kind) {
      const double third = (kind.has_experts ? seconds.moe_feed_forward : seconds.dense_feed_forward) / 3;
      add(is_forward ? 2 * third : third, Work::kFeedForward);
      add(is_forward ? third : 2 * third, Work::kFeedForward);
    };
    const auto add_output = [&](const LayerKind& kind) {
      add(seconds.output + (kind.has_experts ? seconds.router : 0), Work::kFeedForward);
    };
    const auto add_projections = [&](const LayerKind& kind) {
      add(seconds.query + (kind.reads_foreign_keys ? 0 : seconds.key_value), Work::kProjections);
    };
    if (is_forward) {
      if (i > 0) {
        const LayerKind& kind = kinds[layers[i - 1]];
        add_output(kind);
        if (kind.has_experts) segment.barrier = static_cast<int>(segment.pieces.size());
        add_feed_forward(kind);
      }
      if (i < layers.size()) {
        add_projections(kinds[layers[i]]);
      } else {
        add(seconds.head, Work::kHead);
      }
    } else {
      if (i == 0) {
        segment.pieces.push_back({2 * seconds.head, Work::kHead});  // with the loss, both at once
      } else {
        add_projections(kinds[layers[i - 1]]);
      }
      if (i < layers.size()) {
        add_feed_forward(kinds[layers[i]]);
        add_output(kinds[layers[i]]);
      }
    }
    segment.layer = layers.empty() ? 0 : layers[i < layers.size() ? i : i - 1];
  }
  return result;
}

}  // namespace ballast::scheduler
