#pragma once
// What happens or can run in a simulated step, as one number that also orders it.
#include <cstdint>

namespace ballast::scheduler {

/// What can run on a compute stream, first things first.
enum class ItemClass : std::uint64_t { kOverdueWeights, kLateSegment, kClusterTask, kTask, kReadySegment, kWeights };

/// Kinds of events; those of one time happen in this order.
enum class EventKind : std::uint64_t {
  kRelayed,    ///< a message is at its next proxy
  kExchanged,  ///< the last message of an exchange is there
  kComputed,
};

/// One thing of a layer of an instance: an exchange, a relayed message, a task, or a token group. Packed, those of one kind are
/// ordered by instance, layer, index.
struct EngineKey {
  static constexpr int kIndexBits = 33, kLayerBits = 14, kInstanceBits = 14;

  std::uint64_t kind = 0;
  int instance = 0;
  int layer = 0;
  std::int64_t index = 0;

  std::uint64_t packed() const {
    return ((kind << kInstanceBits | static_cast<std::uint64_t>(instance)) << kLayerBits | static_cast<std::uint64_t>(layer))
               << kIndexBits |
           static_cast<std::uint64_t>(index);
  }
  static EngineKey unpacked(std::uint64_t bits) {
    const auto low = [](std::uint64_t value, int count) { return value & ((std::uint64_t{1} << count) - 1); };
    return {bits >> (kIndexBits + kLayerBits + kInstanceBits),
            static_cast<int>(low(bits >> (kIndexBits + kLayerBits), kInstanceBits)),
            static_cast<int>(low(bits >> kIndexBits, kLayerBits)), static_cast<std::int64_t>(low(bits, kIndexBits))};
  }

  // Of items alone.
  bool is_weights() const {
    const auto item = static_cast<ItemClass>(kind);
    return item == ItemClass::kOverdueWeights || item == ItemClass::kWeights;
  }
  bool is_segment() const {
    const auto item = static_cast<ItemClass>(kind);
    return item == ItemClass::kLateSegment || item == ItemClass::kReadySegment;
  }
};

}  // namespace ballast::scheduler
