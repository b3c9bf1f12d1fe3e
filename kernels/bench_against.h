#pragma once
// A benchmark of a kernel that also says how much faster it is than the LibTorch composition, measured in the same run.
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace ballast::kernels {

/// Times kernel() and composition() in turn, one call each, so that a noisy neighbour hits both. Reports time of the kernel,
/// bytes_per_second or flops of `work` (bytes or flops per call), and `speedup` = median composition / median kernel.
template <typename Kernel, typename Composition>
void bench_against(benchmark::State& state, const char* unit, double work, const Kernel& kernel, const Composition& composition) {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  std::vector<double> ours, theirs;
  kernel();
  composition();
  for (auto _ : state) {
    const auto start = Clock::now();
    kernel();
    const auto middle = Clock::now();
    composition();
    theirs.push_back(seconds(Clock::now() - middle));
    ours.push_back(seconds(middle - start));
    state.SetIterationTime(ours.back());
  }
  const auto median = [](std::vector<double>& times) {
    std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
    return times[times.size() / 2];
  };
  const double time = median(ours);
  state.counters["median_us"] = time * 1e6;
  state.counters["speedup"] = median(theirs) / time;
  state.counters[unit] = work / time;
}

}  // namespace ballast::kernels
