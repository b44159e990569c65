"""What a bucket as output folder costs: time, memory, the reading of its journal; and how processes with one end.

The object stores are those of `bucket_servers.py`, on loopback; the API is a sandbox in a process of its own, or a
server of fixed images. Everything ends by itself.

    python benchmarks/bucket_costs.py ends --count 200
    python benchmarks/bucket_costs.py journal --records 10000
    python benchmarks/bucket_costs.py pace
    python benchmarks/bucket_costs.py memory
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buckets import (
    COMMAND,
    STORES,
    announced,
    bucket_at,
    environment,
    sandbox,
    started,
    stats,
    wait_for_request,
    write_jobs,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bucket_servers import Server

    from venice_batch.bucket.store import Bucket


@contextlib.contextmanager
def fixed_server(size_bytes: int) -> Iterator[str]:
    """The base URL of a server that has one image of `size_bytes` ready."""
    program = str(Path(__file__).with_name("fixed_server.py"))
    with started([sys.executable, program, "--bytes", str(size_bytes)]) as line:
        yield f"http://127.0.0.1:{int(line)}/api/v1"


USE_BUCKET = """
import os, sys
from functools import partial
import anyio
from venice_batch.bucket.store import Bucket

bucket = Bucket(sys.argv[1], os.environ)

async def main():
    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(anyio.to_thread.run_sync, partial(bucket.put, f"images/{number}", b"x" * 1000))

anyio.run(main)
"""


def ends(server: Server, *, count: int) -> Counter[int]:
    """Return how often processes that used a bucket ended with each status; 134 and 139 are crashes."""
    codes: Counter[int] = Counter()
    address = server.address(f"ends-{time.time_ns()}")
    for _ in range(-(-count // 4)):
        four = [
            subprocess.Popen([sys.executable, "-c", USE_BUCKET, address], env=environment(server))
            for _ in range(min(4, count - codes.total()))
        ]
        for process in four:
            codes[process.wait(60)] += 1
    return codes


def run_ends(server: Server, folder: Path, *, count: int) -> Counter[int]:
    """Return the same of whole runs, every third of them interrupted."""
    write_jobs(folder / "jobs.jsonl", 6)
    codes: Counter[int] = Counter()
    rng = random.Random(1)
    with sandbox("--latency", "0.1") as base_url:
        for number in range(count):
            address = server.address(f"ends-{time.time_ns()}")
            run = [*COMMAND, str(folder / "jobs.jsonl"), "--base-url", base_url, "-q", "-o", address]
            before = stats(base_url)["requests"]
            errors = subprocess.DEVNULL  # an interrupted run says so
            with subprocess.Popen(run, env=environment(server), stderr=errors) as process:
                if number % 3 == 0:
                    wait_for_request(base_url, before, process)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(rng.uniform(0.0, 0.3))
                    process.send_signal(signal.SIGINT)
                codes[process.wait(120)] += 1
    return codes


@dataclass(frozen=True, slots=True)
class Timing:
    """How long it took to read records from a journal.

    `killed_s`: as a killed run leaves it, `segments_s`: with a segment for each record, as if no run had ever joined
    some, `compacted_s`: as a run leaves it that has ended, which took `compact_s`.
    """

    records: int
    killed_s: float
    segments_s: float
    compact_s: float
    compacted_s: float

    @property
    def is_sound(self) -> bool:
        return self.killed_s < 15 and self.segments_s < 15 and self.compacted_s < 2


def journal(server: Server, *, records: int, record_bytes: int = 1500, threads: int = 16) -> Timing:
    """Write `records` records, four at a time as a run does, then each as a segment of its own, and read them back."""
    from concurrent.futures import ThreadPoolExecutor

    from venice_batch.bucket.journal import Journal, read

    began = time.time_ns()
    padding = "x" * (record_bytes - 40)

    def line(number: int) -> bytes:
        return json.dumps({"id": f"j{number}", "padding": padding}).encode() + b"\n"

    def resume(bucket: Bucket) -> float:
        began_s = time.monotonic()
        found = [json.loads(one)["id"] for one in read(bucket)]
        assert sorted(found) == sorted(f"j{number}" for number in range(records)), len(found)
        return time.monotonic() - began_s

    killed = bucket_at(server, f"journal-{began}-killed")
    written = Journal(killed, "run")
    for number in range(0, records, 4):
        written.write(b"".join(map(line, range(number, min(number + 4, records)))))
    bucket = bucket_at(server, f"journal-{began}")
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(
            lambda number: bucket.put(f"journal/000001-run/{number:08d}.jsonl", line(number)), range(records)
        ):
            pass
    killed_s, segments_s = resume(killed), resume(bucket)
    began_s = time.monotonic()
    Journal(bucket, "run").compact()
    compact_s = time.monotonic() - began_s
    return Timing(records, killed_s, segments_s, compact_s, resume(bucket))


def pace(server: Server, folder: Path, *, jobs: int, pairs: int) -> list[tuple[float, float]]:
    """Return how long runs took with a local folder and with a bucket, at 200 ms a request and 16 at a time."""
    write_jobs(folder / "jobs.jsonl", jobs)
    found = []
    with sandbox("--latency", "0.2") as base_url:
        run = [*COMMAND, str(folder / "jobs.jsonl"), "--base-url", base_url, "-q", "-c", "16", "-o"]
        for number in range(pairs):
            outputs = [str(folder / f"out-{number}"), server.address(f"pace-{number}-{time.time_ns()}")]
            times_s = []
            for output in outputs if number % 2 == 0 else reversed(outputs):
                began_s = time.monotonic()
                subprocess.run([*run, output], env=environment(server), check=True)
                times_s.append(time.monotonic() - began_s)
            local_s, bucket_s = times_s if number % 2 == 0 else reversed(times_s)
            found.append((local_s, bucket_s))
    return found


def memory(server: Server, folder: Path, *, jobs: int) -> tuple[float, float]:
    """Return the peak resident memory in MB with a local folder and with a bucket, at 16 images of 8 MB at a time."""
    write_jobs(folder / "jobs.jsonl", jobs)
    peaks = []
    with fixed_server(8_000_000) as base_url:
        run = [*COMMAND, str(folder / "jobs.jsonl"), "--base-url", base_url, "-q", "-c", "16", "-o"]
        for output in (str(folder / "out"), server.address(f"memory-{time.time_ns()}")):
            with subprocess.Popen([*run, output], env=environment(server)) as process:
                peak_kb = 0
                while process.poll() is None:
                    peak_kb = max(peak_kb, _peak_kb(process.pid))
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(0.05)
                assert process.returncode == 0, process.returncode
            peaks.append(peak_kb / 1024)
    return peaks[0], peaks[1]


def _peak_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


def main() -> int:
    """Print what was found; 1 if anything falls short."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("ends", "journal", "pace", "memory"))
    parser.add_argument("--store", choices=sorted(STORES), default="seaweedfs")
    parser.add_argument("--jobs", type=int, help="default: 800; 100 for memory")
    parser.add_argument("--count", type=int, default=200, help="processes that end, of each kind")
    parser.add_argument("--records", type=int, default=10_000)
    given = parser.parse_args()
    with announced(given.store) as (server, folder):
        match given.what:
            case "ends":
                codes = ends(server, count=given.count), run_ends(server, folder, count=given.count)
                print(f"processes: {dict(codes[0])}, runs: {dict(codes[1])}")
                return 1 if {134, 139, -signal.SIGABRT, -signal.SIGSEGV} & (codes[0] + codes[1]).keys() else 0
            case "journal":
                timing = journal(server, records=given.records)
                print(timing)
                return 0 if timing.is_sound else 1
            case "pace":
                times_s = pace(server, folder, jobs=given.jobs or 800, pairs=3)
                ratio = statistics.median(bucket_s / local_s for local_s, bucket_s in times_s)
                print(f"local and bucket: {times_s}, median ratio {ratio:.3f}")
                return 0 if ratio <= 1.05 else 1
            case _:
                local_mb, bucket_mb = memory(server, folder, jobs=given.jobs or 100)
                print(f"local {local_mb:.0f} MB, bucket {bucket_mb:.0f} MB")
                return 0 if bucket_mb <= local_mb + 30 else 1


if __name__ == "__main__":
    sys.exit(main())
