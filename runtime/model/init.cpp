#include "runtime/model/init.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <numbers>

namespace ballast::model {
namespace {

/// One round of SplitMix64: a bijection of 64-bit words whose outputs pass as random.
std::uint64_t mix(std::uint64_t word) {
  word += 0x9e3779b97f4a7c15ULL;
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ULL;
  word = (word ^ (word >> 27)) * 0x94d049bb133111ebULL;
  return word ^ (word >> 31);
}

std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;  // FNV-1a
  for (const unsigned char character : text) hash = (hash ^ character) * 0x100000001b3ULL;
  return hash;
}

/// Uniform in (0, 1].
double uniform(std::uint64_t word) { return static_cast<double>((word >> 11) + 1) * 0x1.0p-53; }

/// Box-Muller on two words that depend on the index alone.
double normal(std::uint64_t key, std::uint64_t index) {
  const double radius = std::sqrt(-2.0 * std::log(uniform(mix(key ^ mix(2 * index)))));
  return radius * std::cos(2.0 * std::numbers::pi * uniform(mix(key ^ mix(2 * index + 1))));
}

}  // namespace

void fill_normal(const at::Tensor& values, double standard_deviation, std::uint64_t seed, std::string_view name,
                 std::int64_t global_begin) {
  TORCH_CHECK(values.is_contiguous(), "fill_normal: ", name, " must be contiguous");
  const std::uint64_t key = mix(seed ^ hash_of(name));
  AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "fill_normal", [&] {
    scalar_t* const out = values.data_ptr<scalar_t>();
    at::parallel_for(0, values.numel(), 4096, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        out[i] = static_cast<scalar_t>(standard_deviation * normal(key, static_cast<std::uint64_t>(global_begin + i)));
      }
    });
  });
}

}  // namespace ballast::model
