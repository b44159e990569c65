"""Measures what shards cost that do not know of each other, and what `--share` saves: N runs at once, one account.

Each run is a process of its own with a folder of its own; all send to one sandbox with the API's limits and compressed
time. Loopback only; it ends by itself.

    python benchmarks/shards.py --shards 3 --jobs 180
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from sandbox_process import TOOL, sandbox

SPEED = 10.0


def measure(
    folder: Path, *, shards: int, jobs: int, bad: int, share: int, quota: int, pace: tuple[str, ...]
) -> dict[str, Any]:
    """Run all shards of `jobs` jobs, `bad` of them invalid for the server, at once; return what the sandbox saw."""
    file = folder / "jobs.jsonl"
    with file.open("w", encoding="utf-8") as lines:
        for number in range(jobs):
            job: dict[str, Any] = {"id": f"j{number}", "model": "venice-sd35", "prompt": f"p {number}", "seed": number}
            if (number + 1) * bad // jobs > number * bad // jobs:
                job["steps"] = 9000
            lines.write(json.dumps(job) + "\n")
    settings = {"rpm": quota, "speed": SPEED, "latency_s": 2.0, "draw": "plain"}
    with sandbox(settings) as server:
        began_s = time.monotonic()
        environment = {"VENICE_API_KEY": "any", "PATH": "/usr/bin:/bin", "HOME": str(folder)}
        options = f"-q --json --allow-unknown --max-time 10m --api-minute {60 / SPEED} --share {share}".split()
        options += ["--base-url", server.base_url, *pace]
        runs = [
            subprocess.Popen(
                [*TOOL, str(file), *options, "--shard", f"{number}/{shards}", "-o", str(folder / f"shard-{number}")],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for number in range(1, shards + 1)
        ]
        summaries = [json.loads(run.communicate(timeout=900)[0]) for run in runs]
        took_s = time.monotonic() - began_s
        stats = server.stats()
    return {"took_s": took_s * SPEED, "stats": stats, "summaries": summaries}


def main() -> None:
    """Print a line for each way of pacing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=180)
    parser.add_argument("--bad", type=int, default=0, help="jobs that the server rejects")
    parser.add_argument("--quota", type=int, default=20, help="images a minute; 0: no limit")
    chosen = parser.parse_args()
    n = chosen.shards
    ways: dict[str, tuple[int, tuple[str, ...]]] = {
        "nothing": (1, ()),
        f"--share {n}": (n, ()),
    }
    if chosen.quota:
        ways[f"--rpm {chosen.quota // n}"] = (1, ("--rpm", str(chosen.quota // n)))
    for name, (share, pace) in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            found = measure(
                Path(folder), shards=n, jobs=chosen.jobs, bad=chosen.bad, share=share, quota=chosen.quota, pace=pace
            )
        print(f"{name}: {found['took_s']:.0f} s of the API's time; {json.dumps(found['stats'])}", flush=True)
        print("  exit codes", [summary["exit_code"] for summary in found["summaries"]])


if __name__ == "__main__":
    main()
