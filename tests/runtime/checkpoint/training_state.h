#pragma once
// A small training state whose every element is known, cut over ranks in any way; and a folder that goes away with the test.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <list>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/publish.h"

namespace ballast::checkpoint {

class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "ballast-checkpoint-XXXXXX").string();
    if (!mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp failed: " + pattern);
    path_ = pattern;
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

inline void write_file(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::remove(path);  // ext4 flushes a file that is cut short and written again
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.flush();
  EXPECT_TRUE(out.good()) << path;
}

inline void flip_bit(const std::filesystem::path& path, std::uintmax_t byte) {
  std::string text = read_file(path);
  text.at(byte) = static_cast<char>(text.at(byte) ^ 0x10);
  write_file(path, text);
}

/// What a global tensor is, and a value for each of its elements that no other element of the state has.
struct GlobalTensor {
  std::string name;
  TensorKind kind;
  comm::Dtype dtype;
  std::vector<std::int64_t> shape;
  std::int64_t salt;

  std::int64_t count() const {
    std::int64_t product = 1;
    for (const std::int64_t dim : shape) product *= dim;
    return product;
  }
};

inline std::vector<GlobalTensor> small_model() {
  return {{"embedding", TensorKind::kWeight, comm::Dtype::kFloat32, {16, 6}, 1},
          {"layers.0.experts.gate_up", TensorKind::kWeight, comm::Dtype::kFloat32, {5, 3, 7}, 2},
          {"embedding.m", TensorKind::kOptimizer, comm::Dtype::kFloat64, {16, 6}, 3},
          {"layers.0.router.bias", TensorKind::kRouter, comm::Dtype::kFloat64, {5}, 4},
          {"rng", TensorKind::kState, comm::Dtype::kInt64, {2}, 5},
          {"flags", TensorKind::kState, comm::Dtype::kUint8, {13}, 6},
          {"halves", TensorKind::kWeight, comm::Dtype::kBfloat16, {9}, 7},
          {"scalar", TensorKind::kState, comm::Dtype::kInt32, {}, 8},
          {"nothing", TensorKind::kWeight, comm::Dtype::kFloat32, {0, 4}, 9}};
}

inline int element_size(comm::Dtype dtype) { return static_cast<int>(comm::size_in_bytes(dtype)); }

/// Bytes of elements [begin, end): byte k of element i is a hash of (salt, i, k).
inline std::vector<std::uint8_t> expected_bytes(const GlobalTensor& tensor, std::int64_t begin, std::int64_t end) {
  std::vector<std::uint8_t> bytes;
  for (std::int64_t i = begin; i < end; ++i) {
    for (int k = 0; k < element_size(tensor.dtype); ++k) {
      std::uint64_t mix = static_cast<std::uint64_t>(tensor.salt * 1000003 + i * 8 + k) * 0x9E3779B97F4A7C15ull;
      bytes.push_back(static_cast<std::uint8_t>(mix >> 56));
    }
  }
  return bytes;
}

/// Sorted borders 0 = b[0] <= ... <= b[ranks] = count.
using Borders = std::vector<std::int64_t>;
inline Borders random_borders(std::int64_t count, int ranks, std::mt19937_64& random) {
  Borders borders = {0, count};
  for (int i = 1; i < ranks; ++i) borders.push_back(std::uniform_int_distribution<std::int64_t>(0, count)(random));
  std::ranges::sort(borders);
  return borders;
}

/// Pieces of one rank together with the memory that they point to.
struct RankPieces {
  std::list<std::vector<std::uint8_t>> memory;
  std::vector<Piece> pieces;

  void add(const GlobalTensor& tensor, std::int64_t begin, std::int64_t end, bool is_replicated = false) {
    memory.push_back(expected_bytes(tensor, begin, end));
    pieces.push_back(
        {tensor.name, tensor.kind, tensor.shape, begin, {memory.back().data(), end - begin, tensor.dtype}, is_replicated});
  }
};

/// The whole model, tensor t cut at borders[t], run r to rank r.
inline RankPieces share_of(int rank, const std::vector<GlobalTensor>& model, const std::vector<Borders>& borders) {
  RankPieces own;
  for (std::size_t t = 0; t < model.size(); ++t)
    own.add(model[t], borders[t][static_cast<std::size_t>(rank)], borders[t][static_cast<std::size_t>(rank) + 1]);
  return own;
}

inline std::vector<Borders> random_layout(const std::vector<GlobalTensor>& model, int ranks, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Borders> layout;
  for (const GlobalTensor& tensor : model) layout.push_back(random_borders(tensor.count(), ranks, random));
  return layout;
}

inline TrainingPoint point_at(std::int64_t step) {
  return {.run_id = "run-1",
          .step = step,
          .consumed_samples = 32 * step,
          .config_hash = 77,
          .config_text = "train { seed: 1 }\n",
          .libraries = {{"torch", "2.11.0"}},
          .mesh = {{"dp", 2}, {"ep", 2}},
          .parent = "",
          .state = {{"tokens", std::int64_t{1} << 40}, {"loss_scale", 0.1}, {"window", std::string("\0\x01\xff", 3)}}};
}

/// Reads the model as cut by `layout` and compares every byte.
inline void expect_reads(comm::Communicator& world, const Checkpoint& checkpoint, const std::vector<GlobalTensor>& model,
                         const std::vector<Borders>& layout) {
  std::list<std::vector<std::uint8_t>> memory;
  std::vector<Wanted> wanted;
  const auto rank = static_cast<std::size_t>(world.rank());
  for (std::size_t t = 0; t < model.size(); ++t) {
    const std::int64_t begin = layout[t][rank];
    const std::int64_t count = layout[t][rank + 1] - begin;
    memory.emplace_back(static_cast<std::size_t>(count * element_size(model[t].dtype)), std::uint8_t{0xAA});
    wanted.push_back({model[t].name, begin, {memory.back().data(), count, model[t].dtype}});
  }
  const std::vector<TensorKind> complete = {TensorKind::kWeight, TensorKind::kOptimizer, TensorKind::kRouter, TensorKind::kState};
  checkpoint.read(world, wanted, complete);
  std::size_t t = 0;
  for (const auto& bytes : memory) {
    EXPECT_EQ(bytes, expected_bytes(model[t], layout[t][rank], layout[t][rank + 1])) << model[t].name << " on rank " << rank;
    ++t;
  }
}

}  // namespace ballast::checkpoint
