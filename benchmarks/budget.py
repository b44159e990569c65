"""Random runs with a cap on their cost, against the sandbox: whether any of them spends more than it may.

Models, prices, variants, enhancement of prompts, web search, edits of uploaded pictures, content violations, faults
(some charged, some not), timeouts, stops, caps and the currencies of the account are drawn at random; what is spent is
counted by the sandbox. Every third run has neither faults nor violations, and a cap that is its plan's sum: it has to
cost exactly that. Loopback only.

    python benchmarks/budget.py --runs 200
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from PIL import Image

from venice_batch.api.client import ApiSettings
from venice_batch.api.key import ApiKey
from venice_batch.catalogue import Preflight, snapshot
from venice_batch.errors import ExitCode
from venice_batch.jobfile import JobIndex, open_source
from venice_batch.money import micro_usd
from venice_batch.pacing.backoff import Backoff
from venice_batch.pacing.limiter import SendingRules
from venice_batch.run.plan import plan
from venice_batch.run.retry import AttemptRules
from venice_batch.run.run import run_batch
from venice_batch.run.settings import RunOptions, RunSettings
from venice_batch.sandbox import SandboxSettings, serve
from venice_batch.sandbox.settings import FAULT_KINDS

CATALOGUE = snapshot().catalogue(0.0)
PICTURE = "picture.png"
FAULTS = tuple(kind for kind in FAULT_KINDS if kind not in ("redirect", "gzip-bomb", "endless"))


@dataclass(frozen=True, slots=True)
class Finding:
    """One run: its cap and what the sandbox has charged for it in millionths of a USD, its requests and its end.

    `planned` is its plan's sum, None where something may come in between; `told` is what the run itself says that it
    has spent, None if it was cut off and has said nothing.
    """

    cap: int
    charged: int
    planned: int | None
    told: int | None
    requests: int
    exit_code: int | None


def any_job(rng: random.Random, number: int, *, plain: bool) -> dict[str, Any]:
    """A job for any model, at any of its prices; a `plain` one is charged for all that it asks for."""
    job: dict[str, Any] = {"id": f"j{number}"}
    kind = rng.choice(("image", "image", "image", "inpaint", "other"))
    if kind == "other":
        endpoint = rng.choice(("/image/upscale", "/image/background-remove"))
        job |= {"endpoint": endpoint, "image": PICTURE}
        return job | ({"scale": rng.choice((2, 2.5, 3, 4))} if endpoint == "/image/upscale" else {})
    model = rng.choice(CATALOGUE.of_kind("image" if kind == "image" else "inpaint"))
    words = [f"p{number}"] if plain else [f"p{number}", rng.choice(("", "", "", "violation", "verbatim"))]
    job |= {"model": model.id, "prompt": " ".join(words).strip()}
    if rng.random() < 0.3:
        job["enhance_prompt"] = True
    if kind == "inpaint":
        several = rng.random() < 0.5
        job["endpoint"] = "/image/multi-edit" if several else "/image/edit"
        pictures = {"images": [PICTURE] * rng.randint(1, model.max_inputs or 1)} if several else {"image": PICTURE}
        job |= {"output_format": "jpeg", **pictures}
    else:
        job["format"] = "jpeg"
        if not model.by_ratio and not model.id.startswith("qwen-image"):
            job |= {"width": 64, "height": 64}
        if rng.random() < 0.3:
            job["variants"] = rng.randint(1, 4)
        if rng.random() < 0.2:
            job["enable_web_search"] = True
    tiers = [tier for tier in model.resolutions if tier.upper() in model.pricing.tiers]
    if tiers and rng.random() < 0.7:
        job["resolution"] = rng.choice(tiers[:2])
    if model.qualities and job.get("endpoint") != "/image/edit" and rng.random() < 0.7:
        job["quality"] = rng.choice(model.qualities)
    return job


async def any_run(rng: random.Random, folder: Path, *, concurrency: int, plain: bool) -> Finding:
    """Run jobs that cost about twice their cap, with faults and perhaps a stop, and see what was charged.

    A `plain` run has neither, and a cap of what its plan comes to.
    """
    path = folder / "jobs.jsonl"
    Image.new("RGB", (256, 256), "teal").save(folder / PICTURE)
    count = rng.randint(5, 60)
    path.write_text("".join(json.dumps(any_job(rng, number, plain=plain)) + "\n" for number in range(count)))
    preflight = Preflight(CATALOGUE)
    with open_source(path) as source:
        planned = plan(JobIndex.build(source, examine=preflight.examine), folder / "out", preflight=preflight).usd
    cap_usd = planned if plain else round(rng.uniform(0.05, 0.1 * count), rng.randint(2, 6))
    server = SandboxSettings(
        rpm=0, latency_s=rng.choice((0.0, 0.02, 0.1)), draw="plain", failure_limit=0, balance_usd=1e4, stall_s=1.0,
        diem=rng.choice((0.0, 0.5, 3.0)), bundled_usd=rng.choice((0.0, 0.5, 3.0)),
        fault_rate=0.0 if plain else rng.choice((0.0, 0.15, 0.5)), fault_kinds=FAULTS,
        fault_seed=rng.randrange(10**6),
    )  # fmt: skip
    async with serve(server) as sandbox:
        settings = RunSettings(
            output=folder / "out",
            catalogue=CATALOGUE,
            api=ApiSettings(
                base_url=sandbox.base_url,
                timeout_s=60.0 if plain else rng.choice((0.1, 0.5, 5.0)),
                concurrency=concurrency,
            ),
            sending=SendingRules(concurrency=concurrency, errors=None),
            attempts=AttemptRules(max_attempts=4, backoff=Backoff(0.005, 0.02)),
            options=RunOptions(
                max_cost_usd=cap_usd,
                max_time_s=60.0 if plain else rng.choice((60.0, 60.0, 0.3)),
                grace_s=rng.choice((0.05, 5.0)),
            ),
        )
        summary = None
        with anyio.move_on_after(60.0 if plain else rng.choice((60.0, 60.0, 60.0, 0.2))), open_source(path) as source:
            summary = await run_batch(JobIndex.build(source), ApiKey("k"), settings, rng=rng)
        with anyio.fail_after(30):
            while sandbox.stats()["in_flight"]:  # what a client has left is served, and charged, all the same
                await anyio.sleep(0.01)
        stats = sandbox.stats()
    return Finding(
        cap=micro_usd(cap_usd),
        charged=micro_usd(stats["charged_usd"]),
        planned=micro_usd(planned) if plain else None,
        told=None if summary is None else micro_usd(summary.cost_usd or 0),
        requests=stats["requests"],
        exit_code=None if summary is None else summary.exit_code,
    )


def find(runs: int, *, seed: int, concurrency: int = 32) -> list[Finding]:
    """Make so many runs, one after the other."""
    rng = random.Random(seed)

    async def go() -> list[Finding]:
        found = []
        for number in range(runs):
            with tempfile.TemporaryDirectory() as folder:
                found.append(await any_run(rng, Path(folder), concurrency=concurrency, plain=number % 3 == 2))
        return found

    return anyio.run(go)


def main() -> int:
    """Print what was found; 1 if a cap was exceeded, a run has spent more than it says, or other than its plan."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores; {' '.join(sys.argv)}")
    found = find(given.runs, seed=given.seed, concurrency=given.concurrency)
    ends = [run.exit_code for run in found]
    most = max(run.charged / run.cap for run in found)
    secret = sum(run.told is not None and run.charged > run.told for run in found)
    print(f"{len(found)} runs with {sum(run.requests for run in found)} requests at concurrency {given.concurrency}:")
    print(f"{ends.count(ExitCode.OUT_OF_MONEY)} ended by the cap, {ends.count(None)} were cut off")
    print(f"the most that was charged is {most:.6f} of the cap; {secret} runs were charged more than they say")
    plain = [run for run in found if run.planned is not None]
    other = sum(not run.planned == run.charged == run.told for run in plain)
    print(f"of {len(plain)} runs without faults and violations {other} were charged other than planned")
    return 1 if most > 1 or secret or other else 0


if __name__ == "__main__":
    sys.exit(main())
