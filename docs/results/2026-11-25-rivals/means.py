"""Takes rows of `ballast bench planner --out` into means.csv, and prints the tables of the page.

    python means.py [rows.jsonl ...] > tables.md

A cell of means.csv is replaced when a file has rows of it. Its means are those of all seeds; where one has no plan, or none that
is simulated, or one took longer than the limit and the others were left out, the cell has that reason and no figures.
"""
import csv
import json
import pathlib
import sys

CSV = pathlib.Path(__file__).with_name("means.csv")
NUM_SEEDS = 5
MOST_SECONDS = 60  # CPU time of a batch; after a slower one no other of its table is tried
POLICIES = ["sequential", "dp_balanced", "te_cp", "llama_cp", "ulysses", "hybrid_dp", "megatron_dcp", "megatron_dcp_main",
            "zeppelin", "distca", "chunk_heap", "flexsp", "wlb", "ballast"]
LENGTHS = ["wikipedia", "pile", "prolong64k", "prolong512k", "prolong_distca", "wlb_pretrain"]
KEY = ["cluster", "lengths", "gpus", "token_cap", "policy"]
FIGURES = {  # column: field of a row
    "makespan": "makespan_over_strict_bound",
    "makespan_attention_overlap_only": "makespan_over_strict_bound_attention_overlap_only",
    "imbalance": "imbalance_full",
    "attention_imbalance": "imbalance_attention",
    "tokens": "tokens_max_over_budget",
    "exposed": "exposed_communication_fraction",
    "planning_ms": "planning_ms",
}
COLUMNS = [*KEY, "seeds", *FIGURES, "reason"]
HEAD = ("# means over seeds 0, 1, ...; makespan over all work divided evenly, simulated; empty, with a reason: some seed has no "
        "plan, or none that is simulated, or takes too long\n")


def cells_of(paths):
    """Rows of each cell, by its key."""
    cells = {}
    for path in paths:
        for line in open(path):
            row = json.loads(line)
            lengths = row["lengths"].removesuffix("_quantiles")
            key = (row["cluster"], lengths, str(row["gpus"]), str(row["token_cap"]), row["policy"])
            cells.setdefault(key, {})[row["seed"]] = row
    return cells


def mean_of(key, rows):
    """A line of means.csv."""
    untried = rows.pop(-1, None)  # why there are no more batches, or none
    line = {**dict(zip(KEY, key)), "seeds": len(rows), "reason": ""}
    if not rows:
        return {**line, "reason": untried["refusal"]}
    slow = max(row["seconds"] for row in rows.values())
    reasons = [row["refusal"] for _, row in sorted(rows.items()) if "refusal" in row]
    if reasons:
        line["reason"] = reasons[0]
    elif slow > MOST_SECONDS and len(rows) < NUM_SEEDS:
        line["reason"] = f"{slow:.0f} s of CPU time for a batch; at most {MOST_SECONDS} are given"
    else:
        for column, field in FIGURES.items():
            line[column] = f"{sum(row[field] for row in rows.values()) / len(rows):.5g}"
    return line


def text_of(line):
    """A cell of a table."""
    if line is None:
        return "-"
    if line["makespan"]:
        value = float(line["makespan"])
        return f"{value:.0f}" if value >= 100 else f"{value:.2f}"
    return "60 s" if "are given" in line["reason"] else "steps" if "not simulated" in line["reason"] else "cap"


def print_tables(lines):
    for letter in "ac":
        print(f"## Cluster {letter.upper()}")
        for gpus in (16, 64, 128, 512, 2048, 8192):
            print(f"| {gpus:,} GPUs | " + " | ".join(LENGTHS) + " |\n|" + "---|" * (1 + len(LENGTHS)))
            for policy in POLICIES:
                row = []
                for lengths in LENGTHS:
                    both = [text_of(lines.get((f"cluster_{letter}", lengths, str(gpus), cap, policy))) for cap in ("1.1", "1.5")]
                    row.append(both[0] if both[0] == both[1] else " / ".join(both))
                print(f"| {policy} | " + " | ".join(row) + " |")
            print()


def main():
    with open(CSV) as file:
        next(file)
        lines = {tuple(line[column] for column in KEY): line for line in csv.DictReader(file)}
    for key, rows in cells_of(sys.argv[1:]).items():
        lines[key] = mean_of(key, rows)
    place = lambda key: (key[0], LENGTHS.index(key[1]), int(key[2]), key[3], POLICIES.index(key[4]))
    with open(CSV, "w", newline="") as file:
        file.write(HEAD)
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n", restval="")
        writer.writeheader()
        for key in sorted(lines, key=place):
            writer.writerow(lines[key])
    print_tables({key: {column: line.get(column, "") for column in COLUMNS} for key, line in lines.items()})


main()
