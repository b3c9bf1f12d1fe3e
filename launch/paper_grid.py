#!/usr/bin/env python3
"""The evaluation grid of arXiv 2509.21841 (Zeppelin), simulated: how much faster than te_cp are zeppelin, step by step, and ballast.

Usage: launch/paper_grid.py [--clusters a,b,c] [--models ...] [--gpus 16,...] [--seeds N] [--json FILE]
Prints a line for each cell and the means; with --json also every cell as one JSON object per line. Lengths of ArXiv and GitHub are
stand-ins: the published histograms are not available.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODELS = {"3b": ("llama_3b", 1), "7b": ("llama_7b", 1), "13b": ("llama_13b", 2), "30b": ("llama_30b", 4), "8x550m": ("moe_8x550m", 1)}
LENGTHS = {"arxiv-like": "arxiv_like_quantiles", "github-like": "github_like_quantiles", "prolong64k": "prolong64k"}
VARIANTS = {  # name: policy, routing, remap
    "te_cp": ("te_cp", "off", "off"),
    "partition": ("zeppelin", "off", "off"),
    "+routing": ("zeppelin", "on", "off"),
    "+remapping": ("zeppelin", "on", "cluster"),
    "ballast": ("ballast", "policy", "off"),
}
TOKENS_PER_GPU = 4096
GPUS_PER_NODE = 8
SMALLEST_CONTEXT = 65536


def step_seconds(cluster, model, lengths, gpus, context, seed, variant):
    policy, routing, remap = VARIANTS[variant]
    name, tensor_parallel = MODELS[model]
    settings = {
        "cluster.uniform.num_nodes": gpus // GPUS_PER_NODE,
        "parallel.tp": tensor_parallel,
        "scheduler.tokens_per_step": context,
        "scheduler.routing": routing,
        "scheduler.remap": remap,
        "data.seed": seed,
    }
    command = [
        ROOT / "build/cpu/ballast", "simulate", "--json", "--policy", policy,
        "--world", str(gpus),
        "--cluster", ROOT / f"configs/clusters/cluster_{cluster}.textproto",
        "--model", ROOT / f"configs/models/{name}.textproto",
        "--lengths", ROOT / f"configs/workloads/{LENGTHS[lengths]}.csv",
    ]
    for path, value in settings.items():
        command += ["--set", f"{path}={value}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return json.loads(done.stdout)["makespan_seconds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clusters", default="a,b,c")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--lengths", default=",".join(LENGTHS))
    parser.add_argument("--gpus", default="16,32,64,128")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", type=pathlib.Path, help="append one object per cell to this file")
    arguments = parser.parse_args()

    cells = []
    print(f"{'cluster':8}{'model':8}{'lengths':13}{'GPUs':>5}{'tokens':>8}" + "".join(f"{v:>12}" for v in VARIANTS if v != "te_cp"))
    for cluster in arguments.clusters.split(","):
        for model in arguments.models.split(","):
            for lengths in arguments.lengths.split(","):
                for gpus in map(int, arguments.gpus.split(",")):
                    for context in sorted({SMALLEST_CONTEXT, gpus * TOKENS_PER_GPU}):
                        seconds = {
                            variant: statistics.fmean(
                                step_seconds(cluster, model, lengths, gpus, context, seed, variant) for seed in range(arguments.seeds))
                            for variant in VARIANTS
                        }
                        faster = {variant: seconds["te_cp"] / seconds[variant] for variant in VARIANTS if variant != "te_cp"}
                        cell = dict(cluster=cluster, model=model, lengths=lengths, gpus=gpus, tokens=context,
                                    te_cp_seconds=seconds["te_cp"], **faster)
                        cells.append(cell)
                        print(f"{cluster:8}{model:8}{lengths:13}{gpus:5}{context:8}"
                              + "".join(f"{value:11.2f}x" for value in faster.values()), flush=True)
                        if arguments.json:
                            with arguments.json.open("a") as file:
                                file.write(json.dumps(cell) + "\n")
    print(f"\n{len(cells)} cells; times faster than te_cp")
    for variant in ("partition", "+routing", "+remapping", "ballast"):
        values = [cell[variant] for cell in cells]
        print(f"{variant:12} mean {statistics.fmean(values):5.2f}x  geometric mean {statistics.geometric_mean(values):5.2f}x"
              f"  largest {max(values):5.2f}x  smallest {min(values):5.2f}x")


if __name__ == "__main__":
    main()
