#include "runtime/data/split.h"

#include <fmt/core.h>

#include <cmath>
#include <stdexcept>

namespace ballast::data {

Split split_documents(std::span<const std::uint64_t> hashes, double held_out_fraction) {
  if (!(held_out_fraction >= 0 && held_out_fraction < 1)) {
    throw std::invalid_argument(fmt::format("data.held_out_fraction is {}; it must be in [0, 1)", held_out_fraction));
  }
  const auto border = static_cast<std::uint64_t>(std::ldexp(held_out_fraction, 64));
  Split split;
  for (std::size_t document = 0; document < hashes.size(); ++document) {
    (hashes[document] < border ? split.held_out : split.train).push_back(static_cast<std::int64_t>(document));
  }
  if (split.train.empty()) {
    throw std::invalid_argument(
        fmt::format("no document is left for training: data.held_out_fraction = {} holds out all {}; lower it or give more "
                    "documents",
                    held_out_fraction, hashes.size()));
  }
  if (held_out_fraction > 0 && split.held_out.empty()) {
    throw std::invalid_argument(
        fmt::format("no document is held out: data.held_out_fraction = {} chose 0 of {}; raise it, give more documents, or "
                    "set it to 0 to hold nothing out",
                    held_out_fraction, hashes.size()));
  }
  return split;
}

}  // namespace ballast::data
