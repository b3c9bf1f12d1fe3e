#pragma once
// Vectorised loops without a fixed instruction set: the compiler makes one copy per x86-64 level and the loader picks.
#include <bit>
#include <cmath>
#include <cstdint>

/// On a loop over raw pointers: compiled for baseline x86-64, AVX2+FMA and AVX-512, chosen when the program starts.
/// Sums inside need `#pragma omp simd reduction(+ : ...)`; helpers called inside must be [[gnu::always_inline]].
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define BALLAST_SIMD_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define BALLAST_SIMD_CLONES
#endif

namespace ballast::kernels {

/// exp(x) that vectorises: 2^n * p(r) with n = round(x / ln 2), |r| <= ln 2 / 2 and p the Taylor polynomial of degree 7
/// (its remainder is below 1e-8); relative error below 2e-7. NaN stays NaN; below -87.3 the result is 0, above 88.3 it is
/// infinite.
[[gnu::always_inline]] inline float simd_exp(float x) {
  constexpr float kRoundToInteger = 12582912.0f;  // 1.5 * 2^23: adding it leaves the rounded integer in the low mantissa bits
  const float biased = x * 1.44269504f + kRoundToInteger;
  const float n = biased - kRoundToInteger;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts, the first exact in few bits
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const float power = std::bit_cast<float>((std::bit_cast<std::uint32_t>(biased) << 23) + 0x3f800000u);
  const float y = p * power;
  const float above = x > 88.3f ? INFINITY : y;
  return x < -87.3f ? 0.0f : above;
}

/// The library's exp: double is for tests and exactness, not for speed.
[[gnu::always_inline]] inline double simd_exp(double x) { return std::exp(x); }

}  // namespace ballast::kernels
