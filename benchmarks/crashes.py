"""Kills a run at random moments, runs it again, and counts what was lost or bought twice.

A sandbox in a process of its own plays the API, so that its counts outlive the killed runs. With `--processes N` the
run has children that fetch and write the images, from a server that answers at once; every fourth time one of them
is killed first. Loopback only; it ends by itself.

    python benchmarks/crashes.py --kills 50
    python benchmarks/crashes.py --kills 50 --processes 2 --jobs 20000
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = [sys.executable, "-m", "venice_batch"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was left after the last run.

    `bought` counts images that the sandbox handed out, `orphans` files without a record (their run was killed between
    the image and its record), `killed_children` the children that were killed before their run.
    """

    jobs: int
    kills: int
    killed_children: int
    recorded: int
    broken: int
    litter: int
    orphans: int
    bought: int
    in_flight_at_kills: int

    @property
    def bought_twice(self) -> int:
        return self.bought - self.jobs

    @property
    def is_sound(self) -> bool:
        """Nothing lost, nothing broken, nothing bought twice but what was under way when a run was killed."""
        whole = self.recorded == self.jobs and not self.broken and not self.litter
        return whole and self.bought_twice <= self.in_flight_at_kills


@contextlib.contextmanager
def sandbox(*options: str) -> Iterator[str]:
    """The base URL of a sandbox in a process of its own, for as long as the block lasts."""
    with subprocess.Popen(
        [COMMAND[0], "-u", *COMMAND[1:], "sandbox", "--port", "0", *options], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield next(word for word in process.stdout.readline().split() if word.startswith("http://"))
        finally:
            process.terminate()


@contextlib.contextmanager
def fast_server() -> Iterator[str]:
    """The base URL of a server that has every image ready."""
    server = [sys.executable, str(Path(__file__).with_name("fixed_server.py")), "--bytes", "30000"]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/api/v1"
        finally:
            process.terminate()


def stats(base_url: str) -> dict[str, Any]:
    """The sandbox's own counts."""
    with urllib.request.urlopen(base_url.removesuffix("/api/v1") + "/sandbox/stats") as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def crash(folder: Path, *, jobs: int, kills: int, concurrency: int, seed: int, processes: int = 1) -> Finding:
    """Kill a run of `jobs` jobs `kills` times at random moments, let it end, and look at what is left."""
    rng, fast = random.Random(seed), processes > 1
    path = folder / "jobs.jsonl"
    with path.open("w") as file:
        for number in range(jobs):
            job = {"id": f"j{number}", "model": "venice-sd35", "prompt": f"p{number}", "width": 128, "height": 128}
            file.write(json.dumps({**job, "return_binary": True} if fast else job) + "\n")
    options = ("--rpm", "0", "--latency", "0.05", "--draw", "plain", "--set", "failure_limit=0")
    in_flight = killed = killed_children = 0
    with fast_server() if fast else sandbox(*options) as base_url:
        run = [*COMMAND, str(path), "--base-url", base_url, "-o", str(folder / "out"), "-q"]
        run += ["-c", str(concurrency), "--processes", str(processes)]
        environment = {**os.environ, "VENICE_API_KEY": "crash"}
        for _ in range(kills):
            before = stats(base_url)["requests"]
            with subprocess.Popen(run, env=environment) as process:
                _wait_for_request(base_url, before, process)
                # From the first request on: anywhere in the run, or at its very end.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(rng.uniform(0.0, 1.0 if fast else 0.4))
                if process.poll() is None:
                    lost, children = 0, _children(process)
                    if children and rng.random() < 0.25:
                        os.kill(children[0], signal.SIGKILL)  # the run goes on with the others
                        killed_children, lost = killed_children + 1, concurrency
                        with contextlib.suppress(subprocess.TimeoutExpired):
                            assert process.wait(rng.uniform(0.0, 0.3)) == 0, process.returncode
                    process.kill()
                    process.wait()
                    _wait_for_end(children)
                    killed += 1
                    # Asked for and not recorded, beyond what earlier kills left: this is what may be bought again.
                    seen = stats(base_url)
                    recorded = len((folder / "out" / "manifest.jsonl").read_bytes().splitlines())
                    under_way = seen["images"] + seen["in_flight"] - recorded - in_flight
                    assert under_way <= 2 * concurrency + lost, under_way
                    in_flight += under_way
        subprocess.run(run, env=environment, check=True)
        bought = stats(base_url)["images"]
    return _look(folder / "out", jobs=jobs, kills=(killed, killed_children), bought=bought, in_flight=in_flight)


def _children(run: subprocess.Popen[bytes]) -> list[int]:
    """The processes that fetch images for `run`."""
    found: list[str] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{run.pid}/task").iterdir():
            found += (thread / "children").read_text().split()
        return [int(pid) for pid in found if b"venice_batch.run.fetching" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return []


def _wait_for_end(processes: list[int]) -> None:
    """Wait until processes whose parent was killed have noticed; until then they may still send requests."""
    until = time.monotonic() + 20
    while any(Path(f"/proc/{process}/exe").exists() for process in processes) and time.monotonic() < until:
        time.sleep(0.01)


def _wait_for_request(base_url: str, before: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    while stats(base_url)["requests"] == before and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)


def _look(out: Path, *, jobs: int, kills: tuple[int, int], bought: int, in_flight: int) -> Finding:
    records = {}
    for line in (out / "manifest.jsonl").read_bytes().splitlines():
        record = json.loads(line)
        records[record["id"]] = record
    files = [file for record in records.values() for file in record["files"]]
    broken = sum(hashlib.sha256((out / file["path"]).read_bytes()).hexdigest() != file["sha256"] for file in files)
    names = os.listdir(out / "images")
    litter = sum(name.startswith(".") for name in names)
    return Finding(
        jobs=jobs,
        kills=kills[0],
        killed_children=kills[1],
        recorded=sum(record["status"] == "succeeded" for record in records.values()),
        broken=broken,
        litter=litter,
        orphans=len(names) - litter - len(files),
        bought=bought,
        in_flight_at_kills=in_flight,
    )


def main() -> int:
    """Print what was found; 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1, help="processes that fetch; above 1 the server is fast")
    given = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores; {' '.join(sys.argv)}")
    with tempfile.TemporaryDirectory() as folder:
        found = crash(Path(folder), **vars(given))
    killed = f"killed {found.kills} times (and {found.killed_children} children before)"
    print(f"{found.jobs} jobs, {killed}: {found.recorded} recorded, {found.broken} broken,")
    print(f"{found.litter} temporary files left, {found.orphans} images without a record,")
    print(f"{found.bought_twice} images bought twice, of at most {found.in_flight_at_kills} under way at the kills")
    return 0 if found.is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
