"""What Megatron-LM's own BalancedCPScheduler makes of the micro-batches that megatron_published_test.cpp draws.

From the root of the repository:

    pip download --no-deps megatron-core==0.16.1 -d build/megatron
    unzip -o build/megatron/*.whl 'megatron/core/pipeline_parallel/*' -d build/megatron
    python docs/results/2026-11-25-rivals/megatron_main.py build/megatron [round lengths up to this many tokens]
"""

import bisect
import csv
import importlib.util
import pathlib
import random
import statistics
import sys
import types

TOKENS_PER_RANK = 4096
CONTEXT = 131072
SQUARE, TOKEN = 5.128e-6, 0.1839576  # FlexSP's milliseconds for 7B
SEEDS = 40
# Table, ranks, and the mean of three seeds on record: largest over mean work, most tokens of a rank over 4096.
CELLS = [
    ("wikipedia", 16, 1.43, 1.53), ("prolong64k", 16, 1.23, 1.22), ("pile", 16, 1.43, 1.44), ("wlb_pretrain", 16, 1.20, 0.78),
    ("wikipedia", 64, 1.71, 1.89), ("prolong64k", 64, 1.37, 1.73), ("pile", 64, 1.45, 1.52), ("wlb_pretrain", 64, 4.16, 4.60),
    ("wikipedia", 128, 1.68, 1.89), ("prolong64k", 128, 1.59, 1.92), ("pile", 128, 1.48, 1.47), ("wlb_pretrain", 128, 4.11, 4.32),
    ("wikipedia", 512, 1.97, 2.05), ("prolong64k", 512, 1.66, 1.95), ("pile", 512, 2.12, 2.04), ("wlb_pretrain", 512, 9.10, 11.59),
]
WORD = (1 << 64) - 1


def load_scheduler(folder):
    """The upstream module; it imports torch and two modules of Megatron for its types alone."""
    for name in ("torch", "megatron", "megatron.core", "megatron.core.parallel_state", "megatron.core.rerun_state_machine"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["torch"].distributed = types.SimpleNamespace(ProcessGroup=object)
    sys.modules["megatron.core"].parallel_state = sys.modules["megatron.core.parallel_state"]
    sys.modules["megatron.core.rerun_state_machine"].RerunDataIterator = object
    file = pathlib.Path(folder) / "megatron/core/pipeline_parallel/hybrid_cp_schedule.py"
    spec = importlib.util.spec_from_file_location("hybrid_cp_schedule", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.BalancedCPScheduler


class Random:
    """As in scheduler/workload/length_table.cpp."""

    def __init__(self, seed):
        self.state = self.mixed((seed + 0x632BE59BD9B4E019) & WORD)

    @staticmethod
    def mixed(x):
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & WORD
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & WORD
        return x ^ (x >> 31)

    def uniform(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & WORD
        return (self.mixed(self.state) >> 11) * 2.0**-53


def rows(name):
    with open(f"configs/workloads/{name}.csv") as file:
        return list(csv.reader(line for line in file if not line.startswith("#")))[1:]


def load_table(name):
    """A function from a Random to a length."""
    if name in ("wikipedia", "wlb_pretrain"):
        body = [float(row[1]) for row in rows(name + "_quantiles")]
        tail = [float(row[1]) for row in rows(name + "_tail_quantiles")]

        def interpolate(values, position):
            index = position * (len(values) - 1)
            below = min(int(index), len(values) - 2)
            return values[below] + (index - below) * (values[below + 1] - values[below])

        def from_quantiles(stream):
            u = stream.uniform()
            return int((interpolate(tail, (u - 0.999) / (1 - 0.999)) if u > 0.999 else interpolate(body, u)) + 0.5)

        return from_quantiles
    bins, upto, total = [], [], 0
    for begin, end, weight in ((max(1, int(row[0])), int(row[1]), float(row[2])) for row in rows(name)):
        if begin < CONTEXT:
            total += weight
            bins.append((begin, min(end, CONTEXT)))
            upto.append(total)

    def from_bins(stream):
        begin, end = bins[min(bisect.bisect_right(upto, stream.uniform() * upto[-1]), len(bins) - 1)]
        return begin + int(stream.uniform() * (end - begin))

    return from_bins


def draw(length_of, num_ranks, seed, multiple):
    """Lengths in order until the next one would pass the micro-batch."""
    stream = Random(seed)
    room = num_ranks * TOKENS_PER_RANK
    longest = room
    lengths = []
    while True:
        length = -(-length_of(stream) // multiple) * multiple
        if length > longest:
            continue
        # One that fills the micro-batch to the token is left out too, as in the test.
        if length >= room:
            return lengths
        lengths.append(length)
        room -= length


def loads(micro_batch, lengths, work):
    """By rank: its even part of the work of every sequence that it holds."""
    degree = {}
    for held in micro_batch:
        for s in held:
            degree[s] = degree.get(s, 0) + 1
    return [sum(work(lengths[s]) / degree[s] for s in held) for held in micro_batch]


def balance(scheduler, lengths, num_ranks):
    """Largest over mean work, most tokens of a rank over 4096, micro-batches."""
    group = types.SimpleNamespace(size=lambda: num_ranks)
    _, micro_batches = scheduler(TOKENS_PER_RANK, group).get_groups_and_subsamples(list(enumerate(lengths)), None)
    full = [loads(m, lengths, lambda s: (SQUARE * s + TOKEN) * s) for m in micro_batches]
    tokens = max(max(loads(m, lengths, lambda s: s)) for m in micro_batches)
    return sum(map(max, full)) / (sum(map(sum, full)) / num_ranks), tokens / TOKENS_PER_RANK, len(micro_batches)


def main():
    scheduler = load_scheduler(sys.argv[1])
    multiple = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    print("table,ranks,full,deviation,min,max,tokens,micro_batches,recorded_full,recorded_tokens,as_far_out")
    for name, num_ranks, recorded_full, recorded_tokens in CELLS:
        length_of = load_table(name)
        found = [balance(scheduler, draw(length_of, num_ranks, seed, multiple), num_ranks) for seed in range(SEEDS)]
        full = [one[0] for one in found]
        mean = statistics.mean(full)
        # Means of three of these seeds that lie at least as far out as the one on record, on its side.
        chooser = random.Random(1)
        threes = [statistics.mean(chooser.sample(full, 3)) for _ in range(100_000)]
        side = 1 if recorded_full > mean else -1
        as_far_out = sum(side * three >= side * recorded_full for three in threes) / len(threes)
        print(f"{name},{num_ranks},{mean:.4f},{statistics.stdev(full):.2f},{min(full):.2f},{max(full):.2f},"
              f"{statistics.mean(one[1] for one in found):.4f},{statistics.mean(one[2] for one in found):.4f},"
              f"{recorded_full:.2f},{recorded_tokens:.2f},{as_far_out:.4f}", flush=True)


if __name__ == "__main__":
    main()
