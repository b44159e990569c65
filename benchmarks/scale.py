"""Time and memory of very long jobs files: a check, the start of a run, a long run, a resume.

Each measurement runs the command in a process of its own and watches its resident memory; the server is
`fixed_server.py` on loopback. Everything it makes lies in a temporary folder and is removed.

    python benchmarks/scale.py --lines 1000000 --jobs 100000
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughput import resident_kb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SERVER = Path(__file__).with_name("fixed_server.py")
BATCH = [sys.executable, "-m", "venice_batch"]
OFFLINE = ["--offline", "--allow-unknown"]


@dataclass(frozen=True, slots=True)
class Sample:
    """Resident memory in MB, children and all, so many seconds after the start, with the records written by then."""

    at_s: float
    rss_mb: float
    records: int


@contextlib.contextmanager
def server(size_bytes: int) -> Iterator[str]:
    """The base URL of a fixed-answer server, for as long as the block lasts."""
    command = [sys.executable, str(SERVER), "--bytes", str(size_bytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/api/v1"
        finally:
            process.terminate()


def job_id(number: int) -> str | None:
    """An id for every job."""
    return f"job-{number:07}"


def no_id(_: int) -> None:
    """No id for any job."""


def write_jobs(path: Path, count: int, name: Callable[[int], str | None] = job_id) -> None:
    """A jobs file of `count` lines for four models; `name` gives the ids."""
    with path.open("w") as file:
        for number in range(count):
            prompt = f"A cinematic photo of scene number {number} at blue hour, warm light on the water"
            job = {"id": name(number), "model": f"m{number % 4}", "prompt": prompt, "width": 512, "height": 512}
            file.write(json.dumps({field: value for field, value in job.items() if value is not None}) + "\n")


def watch(command: list[str], manifest: Path) -> tuple[list[Sample], float | None, int]:
    """Run `command`; returns memory samples, seconds to the first record (None: none came), and the exit code."""
    began_s = time.monotonic()
    samples: list[Sample] = []
    first_s = None
    lines, size = 0, 0
    environment = {**os.environ, "VENICE_API_KEY": "scale"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
            at_s = time.monotonic() - began_s
            if manifest.exists():
                with manifest.open("rb") as file:
                    file.seek(size)
                    new = file.read()
                size += len(new)
                lines += new.count(b"\n")
            if lines and first_s is None:
                first_s = at_s
            if rss_kb := resident_kb(process.pid):
                samples.append(Sample(at_s, rss_kb / 1024, lines))
        return samples, first_s, process.returncode


def check(folder: Path, lines: int) -> None:
    """Whether the time and memory of a check follow the number of lines, whatever their ids."""
    jobs = folder / "checked.jsonl"
    command = [*BATCH, "check", str(jobs), "-o", str(folder / "none"), *OFFLINE, "--json"]
    for count in (lines // 10, lines):
        earlier = {count // 3: 1, count // 2: count // 4, count - 1: count // 3 + 1}
        twice = [
            (number + 1, f"{job_id(first)!r} is used on line {first + 1} already") for number, first in earlier.items()
        ]
        for kind, name, wrong in (
            ("an id each", job_id, []),
            ("no ids", no_id, []),
            ("three ids used twice", lambda number, of=earlier: job_id(of.get(number, number)), twice),
        ):
            write_jobs(jobs, count, name)
            began_s = time.monotonic()
            told, code, peak_mb = finish(command)
            elapsed_s = time.monotonic() - began_s
            assert code == (2 if wrong else 0)
            if wrong:
                assert [(problem["line"], problem["what"]) for problem in told["problems"]["shown"]] == wrong
            else:
                assert told["jobs"] == count
                assert [lane["requests"] for lane in told["lanes"].values()] == [count // 4] * 4
            print(f"check, {count:,} lines, {kind}: {count / elapsed_s:,.0f} a second, peak RSS {peak_mb:.1f} MB")


def finish(command: list[str]) -> tuple[dict[str, Any], int, float]:
    """Run `command`; returns the object that it prints, its exit code, and its peak resident memory in MB."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return json.loads(printed), process.returncode, used.ru_maxrss / 1024


def start_of_a_long_file(folder: Path, lines: int) -> None:
    """How soon a run of `lines` jobs sends, and what memory that takes."""
    jobs, out = folder / "long.jsonl", folder / "long"
    write_jobs(jobs, lines)
    with server(500) as url:
        command = [*BATCH, str(jobs), "--base-url", url, "-o", str(out), "-q"]
        samples, first_s, code = watch([*command, "--max-time", "5"], out / "manifest.jsonl")
    assert code == 75
    assert first_s is not None
    peak = max(sample.rss_mb for sample in samples)
    print(f"{lines:,} lines: first record after {first_s:.1f} s, peak RSS {peak:.0f} MB")


def many_small_jobs(folder: Path, count: int) -> None:
    """Whether memory grows with the number of jobs done."""
    jobs, out = folder / "many.jsonl", folder / "many"
    write_jobs(jobs, count)
    began_s = time.monotonic()
    with server(500) as url:
        command = [*BATCH, str(jobs), "--base-url", url, "-o", str(out), "-q"]
        samples, _, code = watch(command, out / "manifest.jsonl")
    assert code == 0
    elapsed_s = time.monotonic() - began_s
    early = next((sample.rss_mb for sample in samples if sample.records >= min(5000, count // 2)), 0.0)
    late = max(sample.rss_mb for sample in samples if sample.records >= min(5000, count // 2))
    print(
        f"{count:,} jobs in {elapsed_s:.0f} s ({count / elapsed_s:.0f} a second): RSS {early:.0f} MB after 5,000,"
        f" at most {late:.0f} MB later ({(late / early - 1) * 100:+.1f} %)"
    )


def resume(folder: Path, count: int) -> None:
    """How long a run takes that finds everything done, beyond a check of the same file; three times, in turns."""
    jobs, out = folder / "done.jsonl", folder / "done"
    write_jobs(jobs, count)
    (out / "images").mkdir(parents=True)
    _write_manifest(jobs, out)
    command = [*BATCH, str(jobs), "-o", str(out), "--base-url", "http://127.0.0.1:9/api/v1", "--json"]
    check_alone = [*BATCH, "check", str(jobs), "-o", str(folder / "none"), *OFFLINE]
    os.sync()  # a million new files are no part of a re-run
    beyond_s, peak = [], 0.0
    for _ in range(3):
        began_s = time.monotonic()
        samples, _, code = watch(command, out / "nothing")
        elapsed_s = time.monotonic() - began_s
        assert code == 0
        began_s = time.monotonic()
        subprocess.run(check_alone, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        beyond_s.append(elapsed_s - (time.monotonic() - began_s))
        peak = max(peak, *(sample.rss_mb for sample in samples))
    print(
        f"{count:,} records, each with its file: nothing to do after {statistics.median(beyond_s):.1f} s beyond what"
        f" checking the jobs file takes ({min(beyond_s):.1f}-{max(beyond_s):.1f}); peak RSS {peak:.0f} MB"
    )


def _write_manifest(jobs: Path, out: Path) -> None:
    """Records as a run writes them, with files of one byte."""
    from venice_batch.jobfile import JobIndex, open_source

    with open_source(jobs) as source, (out / "manifest.jsonl").open("w") as manifest:
        for job in JobIndex.build(source).jobs_in_order():
            path = f"images/{job.id}.png"
            with open(out / path, "wb", buffering=0) as image:
                image.write(b"x")
            file = {"path": path, "bytes": 1, "sha256": "0" * 64, "format": "png", "width": 512, "height": 512}
            attempt = {
                "status": 200,
                "error": None,
                "wait_s": 0.0,
                "retry_after_s": None,
                "ray": None,
                "duration_s": 2.0,
            }
            record = {
                "schema": 1, "run_id": "r", "id": job.id, "request_hash": job.request_hash, "status": "succeeded",
                "lane": job.model, "files": [file], "endpoint": job.endpoint, "request": job.request, "metadata": None,
                "attempts": [attempt], "error": None, "flags": {"blurred": False}, "cost_usd": None,
                "timing": {"enqueued_at": "2026-11-22T12:00:00.000Z", "queued_s": 0.1, "rate_wait_s": 0, "total_s": 2},
            }  # fmt: skip
            manifest.write(json.dumps(record) + "\n")


def main() -> None:
    """Run the four measurements."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--only", choices=("check", "start", "many", "resume"))
    given = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores; {' '.join(sys.argv)}")
    with tempfile.TemporaryDirectory() as folder:
        # First: a process that is started counts its parent's memory as its own until it is the command.
        if given.only in (None, "check"):
            check(Path(folder), given.lines)
        if given.only in (None, "start"):
            start_of_a_long_file(Path(folder), given.lines)
        if given.only in (None, "many"):
            many_small_jobs(Path(folder), given.jobs)
        if given.only in (None, "resume"):
            resume(Path(folder), given.lines)


if __name__ == "__main__":
    main()
