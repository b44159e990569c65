"""Where a run's output goes unless it is said."""

from __future__ import annotations

from pathlib import Path


def default_output(jobs: str) -> Path:
    """`output/<stem>`, the stem without any of the endings that a jobs file may have."""
    name = "stdin" if jobs == "-" else Path(jobs).name
    for ending in (".gz", ".zst", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt"):
        name = name.removesuffix(ending) or name
    return Path("output") / name
