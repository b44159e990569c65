"""Clients compared under the API's documented limits, on a local sandbox with time compressed.

    python benchmarks/quota.py [--speed 10] [--only TEXT]

Needs `pip install openai requests` beside the package. Sends nothing beyond the loopback address.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from rival_clients import CLIENTS, CONCURRENCY
from sandbox_process import TOOL, sandbox

MODELS = ("venice-sd35", "qwen-image-2", "chroma", "z-image-turbo")
MODEL, OTHER_MODEL = MODELS[:2]
RPM = 20
LATENCY_S = 2.0
LEAST_LATENCY_S = LATENCY_S * 0.7
"""The sandbox varies its latency by 30 % either way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run of this tool. `settings` are the sandbox's; `optimum_s` is uncompressed, None where none is known.

    `concurrency` None: the option is left out. `told`: the client gets the compressed minute's length as an option.
    """

    name: str
    jobs: list[dict[str, Any]]
    settings: dict[str, object] = field(default_factory=dict)
    concurrency: int | None = CONCURRENCY
    told: bool = True
    good: int | None = None
    optimum_s: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What one client's run came to."""

    name: str
    jobs: int
    images: int
    took_s: float
    optimum_s: float | None
    stats: dict[str, Any]

    def __str__(self) -> str:
        stats = self.stats
        makespan_s = stats["last_response_s"] - stats["first_request_s"]
        # A client that gives jobs up may be early, but has used only a part of the quota.
        share = self.images / self.jobs * min(1.0, self.optimum_s / makespan_s) if self.optimum_s else math.nan
        return (
            f"{self.name:44} {self.jobs:5} {self.images:6} {stats['requests']:8} {stats['refused']:7} "
            f"{stats['blocked']:7} {stats['blocks']:6} {stats['at_capacity']:5} {makespan_s:9.2f} "
            f"{self.optimum_s or math.nan:8.2f} {100 * share:7.1f} {self.took_s:6.1f}"
        )


HEAD = (
    f"{'client or case':44} {'jobs':>5} {'images':>6} {'requests':>8} {'refused':>7} {'blocked':>7} {'blocks':>6} "
    f"{'503':>5} {'makespan':>9} {'optimum':>8} {'quota %':>7} {'wall':>6}"
)


def jobs_of(model: str, count: int, prompt: str = "a red sailing boat") -> list[dict[str, Any]]:
    """That many requests; their prompts differ."""
    return [{"model": model, "prompt": f"{prompt} number {number}", "seed": number + 1} for number in range(count)]


def quota_s(count: int, rpm: int = RPM) -> float:
    """The least time from the first request to the last answer that windows of `rpm` requests allow."""
    return (math.ceil(count / rpm) - 1) * 60.0 + LEAST_LATENCY_S


def cases() -> list[Case]:
    """The runs of this tool, the documented rules first."""
    eighty = jobs_of(MODEL, 80)
    ask_nobody: dict[str, object] = {"rate_limits_endpoint": "forbidden"}
    mixed = [
        {**job, "prompt": f"{job['prompt']} forbidden"} if number % 5 < 3 else job
        for number, job in enumerate(jobs_of(MODEL, 500))
    ]
    mixed_by_thirds = [
        {**job, "prompt": f"{job['prompt']} forbidden"} if number % 3 else job
        for number, job in enumerate(jobs_of(MODEL, 240))
    ]
    no_limit: dict[str, object] = {"rpm": 0, "capacity": 4}
    return [
        Case(name="venice-batch", jobs=eighty, optimum_s=quota_s(80)),
        Case(name="venice-batch, listing forbidden", jobs=eighty, settings=ask_nobody, optimum_s=quota_s(80)),
        Case(name="venice-batch, listing names twice the limit", jobs=eighty,
             settings={"rate_limits_endpoint": "wrong"}, optimum_s=quota_s(80)),
        Case(name="venice-batch, Retry-After only", jobs=eighty, settings={**ask_nobody, "rate_headers": "none"},
             optimum_s=quota_s(80)),
        Case(name="venice-batch, no hint at all", jobs=eighty,
             settings={**ask_nobody, "rate_headers": "none", "retry_after": "none"}, optimum_s=quota_s(80)),
        *(
            Case(name=f"venice-batch, {kind} window", jobs=eighty, settings={"window": kind}, optimum_s=quota_s(80))
            for kind in ("sliding", "token-bucket")
        ),
        Case(name="venice-batch, 40 jobs of one model", jobs=jobs_of(MODEL, 40), optimum_s=quota_s(40)),
        Case(name="venice-batch, 40, then 40 of another model", jobs=[*jobs_of(MODEL, 40), *jobs_of(OTHER_MODEL, 40)],
             optimum_s=quota_s(40)),
        Case(name="venice-batch, capacity 4, ceiling 32", jobs=jobs_of(MODEL, 160), settings=no_limit,
             optimum_s=160 / 4 * LATENCY_S),
        Case(name="venice-batch, capacity 4, fixed at 4", jobs=jobs_of(MODEL, 160), settings=no_limit, concurrency=4,
             optimum_s=160 / 4 * LATENCY_S),
        Case(name="venice-batch, 300 of 500 refused, 60 rpm", jobs=mixed, settings={"rpm": 60}, good=200,
             optimum_s=quota_s(500, 60)),
        Case(name="venice-batch, 160 of 240 refused, no window", jobs=mixed_by_thirds, settings={"rpm": 0}, good=80,
             concurrency=None, optimum_s=3 * 30.0 + LEAST_LATENCY_S),
        Case(name="venice-batch, 160 of 240 refused, 4 models, 20 rpm", good=80, concurrency=None,
             jobs=[{**job, "model": MODELS[number % 4]} for number, job in enumerate(mixed_by_thirds)],
             optimum_s=quota_s(60)),
        *(
            Case(name=f"venice-batch, {len(models)} models x 60 jobs of {latency_s} s", concurrency=None,
                 jobs=[job for model in models for job in jobs_of(model, 60)],
                 settings={"latency_s": latency_s, "latency_jitter": 0}, optimum_s=120.0 + latency_s)
            for models, latency_s in ((MODELS, 30), (MODELS[:1], 30), (MODELS, 15))
        ),
        Case(name="venice-batch, told nothing of the minute's length", jobs=eighty, told=False,
             settings={"latency_s": 5}, optimum_s=180.0 + 5 * 0.7),
        Case(name="venice-batch, told nothing, 4 models x 80 of 30 s", concurrency=None, told=False,
             jobs=[job for model in MODELS for job in jobs_of(model, 80)],
             settings={"latency_s": 30}, optimum_s=180.0 + 30 * 0.7),
        Case(name="venice-batch, 15 jobs of 4 images", jobs=[{**job, "variants": 4} for job in jobs_of(MODEL, 15)],
             optimum_s=120.0 + LEAST_LATENCY_S),
        Case(name="venice-batch, older server, 80 jobs", jobs=eighty, settings={"era": "2026-08"},
             optimum_s=quota_s(80)),
        Case(name="venice-batch, older server, 300 of 500 refused", jobs=mixed, good=200,
             settings={"era": "2026-08", "rpm": 60}, optimum_s=quota_s(500, 60)),
    ]  # fmt: skip


def measure_tool(case: Case, speed: float) -> Row:
    """Run `venice-batch` in a process of its own; its images must be those that the server makes."""
    with tempfile.TemporaryDirectory() as folder, sandbox(_settings(case.settings, speed)) as server:
        path, output = Path(folder, "jobs.jsonl"), Path(folder, "out")
        lines = [json.dumps({"id": f"job-{number:03}", **job}) for number, job in enumerate(case.jobs)]
        path.write_text("\n".join(lines))
        command = [
            *TOOL, "run", str(path), "-o", str(output), "-q", "--json", "--base-url", server.base_url,
            *(["-c", str(case.concurrency)] if case.concurrency else []),
            *(["--api-minute", str(60 / speed)] if case.told else []),
        ]  # fmt: skip
        began_s = time.perf_counter()
        done = subprocess.run(
            command, env={**os.environ, "VENICE_API_KEY": "sandbox"}, capture_output=True, text=True, timeout=300
        )
        took_s = time.perf_counter() - began_s
        if done.returncode not in (0, 1) or not done.stdout:
            raise RuntimeError(f"{case.name}: exit {done.returncode}: {done.stderr[-500:]}")
        summary = json.loads(done.stdout)
        good = len(case.jobs) if case.good is None else case.good
        assert summary["succeeded"] == good, summary
        images = sum(job.get("variants", 1) for job in case.jobs) if case.good is None else good
        assert len(list((output / "images").iterdir())) == images
        _assert_identical(output)
        optimum_s = None if case.optimum_s is None else case.optimum_s / speed
        # Jobs refused for good need no image.
        return Row(case.name, images, summary["images"], took_s, optimum_s, server.stats())


def _assert_identical(output: Path) -> None:
    """Some of the files are, byte for byte, what a server without limits makes of the recorded requests."""
    records = [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]
    sample = [record for record in records if record["status"] == "succeeded"][::20]
    with sandbox({"rpm": 0, "latency_s": 0, "draw": "plain"}) as server:
        for record in sample:
            request = Request(
                f"{server.base_url}/image/generate",
                data=json.dumps(record["request"]).encode(),
                headers={"Authorization": "Bearer sandbox", "Content-Type": "application/json"},
            )
            with urlopen(request, timeout=20) as response:
                if len(record["files"]) > 1:  # only the first of several goes by the seed
                    made = base64.b64decode(json.load(response)["images"][0])
                else:
                    made = response.read()
                assert (output / record["files"][0]["path"]).read_bytes() == made, record["id"]


def measure_rival(name: str, speed: float) -> Row:
    """Run another client on the first case's jobs and rules."""
    jobs = jobs_of(MODEL, 80)
    with sandbox(_settings({}, speed)) as server:
        began_s = time.perf_counter()
        images = CLIENTS[name](server.base_url, jobs, speed)
        took_s = time.perf_counter() - began_s
        return Row(name, len(jobs), images, took_s, quota_s(len(jobs)) / speed, server.stats())


def _settings(settings: dict[str, object], speed: float) -> dict[str, object]:
    return {"rpm": RPM, "latency_s": LATENCY_S, "speed": speed, "draw": "plain", **settings}


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speed", type=float, default=10.0, help="time compression (default 10)")
    parser.add_argument("--only", default="", help="rows whose name has this")
    given = parser.parse_args(argv)
    print(f"$ python {' '.join(['benchmarks/quota.py', *(sys.argv[1:] if argv is None else argv)])}")
    names = ("venice-batch", "openai", "tenacity", "aiohttp", "requests")
    print(f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    print(", ".join(f"{name} {version(name)}" for name in names))
    print(f"{RPM} requests a minute, latency {LATENCY_S:g} s ± 30 %, error budget of 50 in 30 s; "
          f"all times divided by {given.speed:g}; {CONCURRENCY} at a time")  # fmt: skip
    print(HEAD)
    for case in cases():
        if given.only in case.name:
            print(measure_tool(case, given.speed), flush=True)
        if case.name == "venice-batch":
            for name in CLIENTS:
                if given.only in name:
                    print(measure_rival(name, given.speed), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
