#include "runtime/comm/reduction.h"

#include <algorithm>
#include <array>
#include <bit>
#include <type_traits>

namespace ballast::comm {
namespace {

// How an element is stored, and the type it is accumulated in.
template <class T>
struct Plain {
  using Stored = T;
  using Accumulated = T;
  static T load(T value) { return value; }
  static T store(T value) { return value; }
};

struct Bfloat16 {
  using Stored = std::uint16_t;
  using Accumulated = float;
  static float load(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
  static std::uint16_t store(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if (value != value) return static_cast<std::uint16_t>((bits >> 16) | 0x40);  // rounding could turn a NaN into infinity
    return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  }
};

struct Sum {
  template <class T>
  static T combine(T a, T b) {
    if constexpr (std::is_integral_v<T>) {
      using Unsigned = std::make_unsigned_t<T>;  // wraps where signed overflow would be undefined
      return static_cast<T>(static_cast<Unsigned>(static_cast<Unsigned>(a) + static_cast<Unsigned>(b)));
    } else {
      return a + b;
    }
  }
};
// Written so that a NaN on either side wins.
struct Max {
  template <class T>
  static T combine(T a, T b) {
    return (a >= b || a != a) ? a : b;
  }
};
struct Min {
  template <class T>
  static T combine(T a, T b) {
    return (a <= b || a != a) ? a : b;
  }
};

template <class Element, class Op>
void reduce(std::span<const void* const> sources, void* result, std::int64_t count) {
  using Stored = typename Element::Stored;
  constexpr std::int64_t kBlock = 512;  // accumulators stay in the first-level cache
  std::array<typename Element::Accumulated, kBlock> accumulator;
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    const std::int64_t num = std::min(kBlock, count - begin);
    const auto* first = static_cast<const Stored*>(sources[0]) + begin;
    for (std::int64_t i = 0; i < num; ++i) accumulator[i] = Element::load(first[i]);
    for (const void* source : sources.subspan(1)) {
      const auto* next = static_cast<const Stored*>(source) + begin;
      for (std::int64_t i = 0; i < num; ++i) accumulator[i] = Op::combine(accumulator[i], Element::load(next[i]));
    }
    auto* out = static_cast<Stored*>(result) + begin;
    for (std::int64_t i = 0; i < num; ++i) out[i] = Element::store(accumulator[i]);
  }
}

template <class Op>
void reduce_as(std::span<const void* const> sources, void* result, std::int64_t count, Dtype dtype) {
  switch (dtype) {
    case Dtype::kUint8:
      return reduce<Plain<std::uint8_t>, Op>(sources, result, count);
    case Dtype::kInt32:
      return reduce<Plain<std::int32_t>, Op>(sources, result, count);
    case Dtype::kInt64:
      return reduce<Plain<std::int64_t>, Op>(sources, result, count);
    case Dtype::kBfloat16:
      return reduce<Bfloat16, Op>(sources, result, count);
    case Dtype::kFloat32:
      return reduce<Plain<float>, Op>(sources, result, count);
    case Dtype::kFloat64:
      return reduce<Plain<double>, Op>(sources, result, count);
  }
}

}  // namespace

void reduce_in_rank_order(std::span<const void* const> sources, void* result, std::int64_t count, Dtype dtype, ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return reduce_as<Sum>(sources, result, count, dtype);
    case ReduceOp::kMax:
      return reduce_as<Max>(sources, result, count, dtype);
    case ReduceOp::kMin:
      return reduce_as<Min>(sources, result, count, dtype);
  }
}

}  // namespace ballast::comm
