#pragma once
// Random sequences in the form that pack() wants.
#include "runtime/model/packed_batch.h"
#include "tests/support/random_sequences.h"

namespace ballast::support {

/// `sequences` must outlive the result.
inline std::vector<model::SequenceTokens> views(const std::vector<RandomSequence>& sequences) {
  std::vector<model::SequenceTokens> result;
  for (const RandomSequence& sequence : sequences) result.push_back({sequence.inputs(), sequence.targets()});
  return result;
}

}  // namespace ballast::support
