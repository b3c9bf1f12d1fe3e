#pragma once
// Linear work as kernels: what can be interrupted between them.
#include <cmath>
#include <cstdint>

#include "scheduler/sim/clock.h"
#include "scheduler/sim/segment.h"
#include "scheduler/sim/step_program.h"

namespace ballast::scheduler {

/// The tokens of a rank at home in a micro-batch, as groups that go through segments in kernels.
class LinearKernels {
 public:
  /// `tokens_per_kernel` as in SimulationOptions. Without overlap all tokens are one group and a piece is one kernel.
  LinearKernels(bool overlaps_linear, std::int64_t tokens_per_kernel)
      : num_groups_(overlaps_linear ? kNumTokenGroups : 1), tokens_per_kernel_(overlaps_linear ? tokens_per_kernel : 0) {}

  int num_groups() const { return num_groups_; }

  /// Kernels in which a group's tokens go through each piece of a segment.
  int count(const MicroBatchProgram& program, int rank, int group) const {
    if (tokens_per_kernel_ <= 0) return 1;
    const double kernels = tokens(program, rank, group) / static_cast<double>(tokens_per_kernel_);
    return kernels <= 1 ? 1 : static_cast<int>(std::ceil(kernels));
  }
  Ticks piece_ticks(const MicroBatchProgram& program, const SegmentPiece& piece, int rank, int group) const {
    return to_ticks(tokens(program, rank, group) * piece.token_seconds);
  }
  /// All pieces and groups of a segment, without its deferred gradients of weights.
  Ticks segment_ticks(const MicroBatchProgram& program, const Segment& segment, int rank) const {
    Ticks result = 0;
    for (int g = 0; g < num_groups_; ++g) {
      for (const SegmentPiece& piece : segment.pieces) result = later(result, piece_ticks(program, piece, rank, g));
    }
    return result;
  }
  /// From the start of a segment to that of one of a group's kernels, if nothing is between them.
  Ticks begin(const MicroBatchProgram& program, const Segment& segment, int kernel, int rank, int group) const {
    const int each = count(program, rank, group);
    Ticks result = 0;
    for (int p = 0; p < kernel / each; ++p) result = later(result, piece_ticks(program, segment.pieces[p], rank, group));
    if (kernel % each == 0) return result;
    return later(result, part_of(piece_ticks(program, segment.pieces[kernel / each], rank, group), kernel % each, each));
  }
  /// The kernel where what is started with `kernel` has to stop: at the barrier, or at the end of the segment.
  int last(const MicroBatchProgram& program, const Segment& segment, int kernel, int rank, int group) const {
    const int each = count(program, rank, group), barrier = segment.barrier * each;
    return kernel < barrier ? barrier : static_cast<int>(segment.pieces.size()) * each;
  }

  /// Deferred gradients of the weights of a segment.
  Ticks weight_ticks(const MicroBatchProgram& program, const Segment& segment, int rank) const {
    const auto& tokens = program.tokens[rank];
    return to_ticks((tokens[0] + tokens[1]) * segment.weight_seconds);
  }
  /// Kernels in which a rank computes those: as many as its inputs take.
  int num_weight_kernels(const MicroBatchProgram& program, const Segment& segment, int rank) const {
    return static_cast<int>(segment.pieces.size()) * (count(program, rank, 0) + count(program, rank, 1));
  }

 private:
  double tokens(const MicroBatchProgram& program, int rank, int group) const {
    const auto& tokens = program.tokens[rank];
    return num_groups_ == 1 ? tokens[0] + tokens[1] : tokens[group];
  }

  int num_groups_;
  std::int64_t tokens_per_kernel_;
};

}  // namespace ballast::scheduler
