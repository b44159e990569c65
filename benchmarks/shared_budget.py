"""Runs ten runs at once against one monthly cap, kills two of them, and compares what was spent with the cap.

Each run is a process of its own with a folder of its own; all share a budget file and a sandbox in this process, which
counts what it charges. Beginnings, jobs, prices, caps, faults and kills are random. Loopback only; it ends by itself.

    python benchmarks/shared_budget.py --rounds 100
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from venice_batch import run_jobs
from venice_batch.output.ledger import day_of, read_books
from venice_batch.sandbox import SandboxSettings, serve

if TYPE_CHECKING:
    from collections.abc import Sequence

PRICES_USD = {"venice-sd35": 0.01, "qwen-image-2": 0.05, "flux-2-pro": 0.04}
RUNS = 10
KILLED = 2


@dataclass(frozen=True, slots=True)
class Round:
    """How one round ended, in USD; `left_usd` is the price of the dearest job that a living run had left, if any."""

    cap_usd: float
    committed_usd: float
    charged_usd: float
    left_usd: float
    codes: tuple[int, ...]

    @property
    def is_sound(self) -> bool:
        """Never over the cap, and at most one job's price under it while jobs were left."""
        is_within = self.charged_usd - 1e-9 <= self.committed_usd <= self.cap_usd + 1e-9
        return is_within and not 0 < self.left_usd <= self.cap_usd - self.committed_usd - 1e-9


def one_run(folder: Path, number: int, base_url: str, jobs: Sequence[dict[str, Any]], budget: dict[str, Any]) -> int:
    """Run the jobs in this process, which was forked for it; return the exit code."""
    time.sleep(random.Random(number).uniform(0, 0.3))
    options = {"api_key": "k", "base_url": base_url, "check_models": True, "max_attempts": 3, **budget}
    summary = asyncio.run(run_jobs(jobs, folder / f"out-{number}", **options))
    return summary.exit_code


def forked(folder: Path, number: int, base_url: str, jobs: Sequence[dict[str, Any]], budget: dict[str, Any]) -> int:
    """Start a run in a child process; return the child's number."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        code = one_run(folder, number, base_url, jobs, budget)
    finally:
        os._exit(code)


async def one_round(rng: random.Random, folder: Path) -> Round:
    """Run ten runs at once, kill two, and return what came of it."""
    models = rng.sample(list(PRICES_USD), rng.randint(1, 2))
    jobs = [
        [{"id": f"j{run}-{number}", "model": rng.choice(models), "prompt": "p"} for number in range(rng.randint(3, 12))]
        for run in range(RUNS)
    ]
    total_usd = sum(PRICES_USD[job["model"]] for own in jobs for job in own)
    cap_usd = round(total_usd * rng.uniform(0.1, 1.1), 3)
    settings = SandboxSettings(
        rpm=0,
        latency_s=rng.uniform(0, 0.1),
        fault_rate=rng.choice((0.0, 0.2)),
        fault_kinds=("500", "502", "no-images", "reset-mid"),
        fault_seed=rng.randrange(10**6),
        draw="plain",
        failure_limit=0,
        balance_usd=1e6,
    )
    budget = {"budget_file": folder / "budget.jsonl", "max_cost_per_usd": {"month": cap_usd}}
    async with serve(settings) as sandbox:
        children = [forked(folder, number, sandbox.base_url, own, budget) for number, own in enumerate(jobs)]
        killed = rng.sample(range(RUNS), KILLED)
        handles = [os.pidfd_open(children[number]) for number in killed]
        # Runs that were killed are waited for at once: the others look whether their process is still there.
        pool, loop = ThreadPoolExecutor(RUNS), asyncio.get_running_loop()
        ended = asyncio.gather(*(loop.run_in_executor(pool, os.waitpid, child, 0) for child in children))
        for handle in handles:
            await asyncio.sleep(rng.uniform(0, 0.6))
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)
        codes = tuple(os.waitstatus_to_exitcode(status) for _, status in await ended)
        charged_usd = sandbox.stats()["charged_usd"]
    now = time.time()
    committed = read_books(folder / "budget.jsonl", now_unix_s=now).committed(day_of(now) - 31, sandbox=True)
    left = [
        PRICES_USD[job["model"]]
        for number, own in enumerate(jobs)
        if number not in killed and codes[number] == 4
        for job in own
        if job["id"] not in recorded(folder / f"out-{number}")
    ]
    return Round(cap_usd, committed / 1e6, charged_usd, max(left, default=0.0), codes)


def recorded(folder: Path) -> set[str]:
    """Return the ids of the jobs that have a record in a folder."""
    manifest = folder / "manifest.jsonl"
    lines = manifest.read_text().splitlines() if manifest.exists() else []
    return {json.loads(line)["id"] for line in lines}


def main(argv: list[str] | None = None) -> int:
    """Print every unsound round, and the figures of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(argv)
    rng = random.Random(asked.seed)
    rounds = []
    began = time.monotonic()
    for number in range(asked.rounds):
        with tempfile.TemporaryDirectory(prefix="venice-batch-budget-") as folder:
            rounds.append(asyncio.run(one_round(rng, Path(folder))))
        if not rounds[-1].is_sound:
            print(f"round {number}: {rounds[-1]}")
    used_up = [one for one in rounds if one.left_usd]
    over = [one for one in rounds if one.committed_usd > one.cap_usd + 1e-9]
    print(f"rounds                        {len(rounds)}, of {RUNS} runs each, {KILLED} of them killed")
    print(f"killed before they had ended  {sum(code < 0 for one in rounds for code in one.codes)} runs")
    print(f"exit codes of the others      {sorted({code for one in rounds for code in one.codes if code >= 0})}")
    print(f"over the cap                  {len(over)}")
    print(f"ended with jobs left          {len(used_up)}")
    print(
        f"  furthest below the cap      {max((one.cap_usd - one.committed_usd for one in used_up), default=0):.3f} USD"
    )
    print(f"charged, but not written down {sum(one.charged_usd > one.committed_usd + 1e-9 for one in rounds)}")
    print(f"unsound                       {sum(not one.is_sound for one in rounds)}")
    print(f"seconds                       {time.monotonic() - began:.0f}")
    return int(any(not one.is_sound for one in rounds))


if __name__ == "__main__":
    sys.exit(main())
