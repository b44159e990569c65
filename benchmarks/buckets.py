"""Kills runs whose output folder is a bucket, adds faults or stops them, and counts what was lost or bought twice.

The object stores are those of `bucket_servers.py`, on loopback; a sandbox in a process of its own plays the API.
Everything ends by itself.

    python benchmarks/buckets.py kills --store azurite --kills 50
    python benchmarks/buckets.py faults
    python benchmarks/buckets.py displaced
    python benchmarks/buckets.py contenders --rounds 25
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bucket_servers import Faults, Server, azurite, fault_proxy, seaweedfs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from venice_batch.bucket.store import Bucket

STORES = {"seaweedfs": seaweedfs, "azurite": azurite}
COMMAND = [sys.executable, "-m", "venice_batch"]
SHORT_TTL_S = 4.0
"""The TTL of leases where runs are killed, so that fifty kills do not take an hour."""
WITH_SHORT_TTL = """
import sys
from venice_batch.bucket import lease
lease.Contender.__init__.__kwdefaults__.update(ttl_s={ttl_s}, beat_s={ttl_s} / 4)
lease.POLL_S = 0.5
from venice_batch.__main__ import main
sys.exit(main())
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was in the bucket after the last run.

    `lost` counts records of those `acknowledged` before a kill that are gone, `bought` the images that the sandbox
    handed out, `orphans` images without a record (their run was killed between the two).
    """

    jobs: int
    kills: int
    concurrency: int
    acknowledged: int
    recorded: int
    bad: int
    lost: int
    orphans: int
    bought: int

    @property
    def bought_twice(self) -> int:
        return self.bought - self.jobs

    @property
    def is_sound(self) -> bool:
        """Nothing lost or bad, nothing bought twice but what was under way when a run was killed."""
        whole = self.recorded == self.jobs and not self.bad and not self.lost
        return whole and self.bought_twice <= self.concurrency * self.kills


def command(*, ttl_s: float | None = None) -> list[str]:
    """Return the command; with `ttl_s` its leases die that soon."""
    return COMMAND if ttl_s is None else [sys.executable, "-c", WITH_SHORT_TTL.format(ttl_s=ttl_s)]


def environment(server: Server) -> dict[str, str]:
    """Return the environment of a run with a bucket of `server`."""
    return {**os.environ, **server.environ, "VENICE_API_KEY": "bucket"}


def write_jobs(path: Path, jobs: int) -> None:
    """Write a file of jobs for small images."""
    with path.open("w") as file:
        for number in range(jobs):
            job = {"id": f"j{number}", "model": "venice-sd35", "prompt": f"p{number}", "width": 128, "height": 128}
            file.write(json.dumps({**job, "return_binary": True}) + "\n")


@contextlib.contextmanager
def sandbox(*options: str) -> Iterator[str]:
    """The base URL of a sandbox in a process of its own, for as long as the block lasts."""
    given = ("--port", "0", "--rpm", "0", "--draw", "plain", "--set", "failure_limit=0", *options)
    with started([COMMAND[0], "-u", *COMMAND[1:], "sandbox", *given]) as line:
        yield next(word for word in line.split() if word.startswith("http://"))


@contextlib.contextmanager
def started(server: list[str]) -> Iterator[str]:
    """The first line that a server prints; it ends with the block."""
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline()
        finally:
            process.terminate()


def stats(base_url: str) -> dict[str, Any]:
    """Return the sandbox's own counts."""
    with urllib.request.urlopen(base_url.removesuffix("/api/v1") + "/sandbox/stats") as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def bucket_at(server: Server, prefix: str) -> Bucket:
    """Return the bucket as readers see it, past any proxy."""
    from venice_batch.bucket.store import Bucket

    return Bucket(server.address(prefix), server.environ)


def records_in(bucket: Bucket) -> dict[str, dict[str, Any]]:
    """Return the last record of each id in the journal."""
    from venice_batch.bucket.journal import read

    records = {}
    for line in read(bucket):
        record = json.loads(line)
        records[record["id"]] = record
    return records


def kill(
    server: Server, folder: Path, *, jobs: int, kills: int, concurrency: int, seed: int, shares: Mapping[str, float]
) -> Finding:
    """Kill a run of `jobs` jobs `kills` times at random moments, let it end, and look at what is in the bucket.

    With `shares` the PUTs of all runs meet these faults (see `Faults`).
    """
    rng, faults = random.Random(seed), Faults(shares, seed)
    write_jobs(folder / "jobs.jsonl", jobs)
    prefix = f"kills-{seed}-{time.time_ns()}"
    bucket = bucket_at(server, prefix)
    acknowledged: set[str] = set()
    killed = 0
    with sandbox("--latency", "0.05") as base_url, fault_proxy(server.port, faults) as port:
        seen = server.behind(port) if shares else server
        run = [*command(ttl_s=SHORT_TTL_S), str(folder / "jobs.jsonl"), "--base-url", base_url, "-q"]
        run += ["-o", server.address(prefix), "-c", str(concurrency), "--lock-wait", "120"]
        for number in range(kills):
            before = stats(base_url)["requests"]
            scratch = folder / f"scratch-{number}"
            with subprocess.Popen([*run, "--scratch", str(scratch)], env=environment(seen)) as process:
                wait_for_request(base_url, before, process)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(rng.uniform(0.0, 0.6))
                if process.poll() is None:
                    process.kill()
                    process.wait()
                    killed += 1
            acknowledged |= _ids(scratch)
            shutil.rmtree(scratch, ignore_errors=True)
        subprocess.run(run, env=environment(seen), check=True)
        bought = stats(base_url)["images"]
    if shares:
        print(f"{faults.puts} PUTs, {dict(faults.struck)}")
    return _look(bucket, jobs, killed, concurrency, acknowledged, bought)


def _ids(scratch: Path) -> set[str]:
    """The ids of whole records of scratch manifests, each acknowledged by the bucket before it was written there."""
    found = set()
    for manifest in scratch.rglob("manifest.jsonl"):
        whole = manifest.read_bytes().rpartition(b"\n")[0]
        found |= {json.loads(line)["id"] for line in whole.splitlines()}
    return found


def wait_for_request(base_url: str, before: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a run has sent its first request, or has ended."""
    until = time.monotonic() + 120
    while stats(base_url)["requests"] == before and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)


def _look(bucket: Bucket, jobs: int, kills: int, concurrency: int, acknowledged: set[str], bought: int) -> Finding:
    records = records_in(bucket)
    files = [file for record in records.values() for file in record["files"]]
    bad = 0
    for file in files:
        body = bucket.get(file["path"])
        bad += body is None or hashlib.sha256(body).hexdigest() != file["sha256"]
    names = {entry.path for entry in bucket.list("images/")}
    return Finding(
        jobs=jobs,
        kills=kills,
        concurrency=concurrency,
        acknowledged=len(acknowledged),
        recorded=sum(record["status"] == "succeeded" for record in records.values()),
        bad=bad,
        lost=len(acknowledged - set(records)),
        orphans=len(names - {file["path"] for file in files}),
        bought=bought,
    )


@dataclass(frozen=True, slots=True)
class Displacement:
    """How a run ended whose lease another run took while it was stopped.

    `lost` counts its records that are gone, `missing` the jobs that the other run left without a record.
    """

    code: int
    woke_for_s: float
    lost: int
    missing: int
    message: str

    @property
    def is_sound(self) -> bool:
        return self.code == 5 and self.woke_for_s <= 15 and not self.lost and not self.missing


def displace(server: Server, folder: Path, *, jobs: int, ttl_s: float | None) -> Displacement:
    """Stop a run beyond its TTL, let another one take the bucket over, and wake the first; None: the real TTL."""
    write_jobs(folder / "jobs.jsonl", jobs)
    prefix = f"displaced-{time.time_ns()}"
    with sandbox("--latency", "0.2") as base_url:
        run = [*command(ttl_s=ttl_s), str(folder / "jobs.jsonl"), "--base-url", base_url, "-c", "4", "-q"]
        run += ["-o", server.address(prefix), "--lock-wait", "180"]
        pipe = subprocess.PIPE
        first = subprocess.Popen([*run, "--scratch", str(folder / "a")], env=environment(server), stderr=pipe)
        try:
            until = time.monotonic() + 60
            while len(_ids(folder / "a")) < 8 and time.monotonic() < until and first.poll() is None:
                time.sleep(0.05)
            first.send_signal(signal.SIGSTOP)
            acknowledged = _ids(folder / "a")
            requests = stats(base_url)["requests"]
            second = subprocess.Popen([*run, "--scratch", str(folder / "b")], env=environment(server))
            try:
                wait_for_request(base_url, requests, second)
                first.send_signal(signal.SIGCONT)
                woke_s = time.monotonic()
                error = first.communicate(timeout=60)[1]
                woke_for_s = time.monotonic() - woke_s
                second.wait(300)
            finally:
                second.kill()
                second.wait()
        finally:
            first.kill()
            first.wait()
    records = records_in(bucket_at(server, prefix))
    return Displacement(
        code=first.returncode,
        woke_for_s=woke_for_s,
        lost=len(acknowledged - records.keys()),
        missing=jobs - len(records) if second.returncode == 0 else jobs,
        message=error.decode().strip(),
    )


CONTEND = """
import os, sys
from venice_batch.bucket.lease import Contender
from venice_batch.bucket.store import Bucket
from venice_batch.errors import FolderHeldError

for line in sys.stdin:
    try:
        with Contender(Bucket(line.strip(), os.environ), f"run-{os.getpid()}").attempt():
            print("held", flush=True)
            sys.stdin.readline()
    except FolderHeldError:
        print("refused", flush=True)
        sys.stdin.readline()
    print("over", flush=True)
"""
"""Takes the lock of each address that comes, if it can, and gives it back at the next line."""


def contend(server: Server, *, contenders: int, rounds: int) -> list[int]:
    """Return how many of the processes that want a lock at the same time had it, round by round.

    Every other round the lock is there, given back by the one that had it before.
    """
    held = []
    pipe = subprocess.PIPE
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(contenders):
            command = [sys.executable, "-c", CONTEND]
            process = subprocess.Popen(command, env=environment(server), stdin=pipe, stdout=pipe, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        began = time.time_ns()
        for number in range(rounds):
            _tell(processes, server.address(f"contenders-{began}-{number // 2}"))
            held.append(_said(processes).count("held"))
            _tell(processes, "")
            assert _said(processes) == ["over"] * contenders
    return held


def _tell(processes: list[subprocess.Popen[str]], line: str) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{line}\n")
        process.stdin.flush()


def _said(processes: list[subprocess.Popen[str]]) -> list[str]:
    said = []
    for process in processes:
        assert process.stdout is not None
        said.append(process.stdout.readline().strip())
    return said


FAULTS = {"lost": 0.04, "503": 0.03, "409": 0.03, "cut": 0.03, "hang": 0.02}
"""15 % of PUTs, of every kind that was seen."""


@contextlib.contextmanager
def announced(store: str) -> Iterator[tuple[Server, Path]]:
    """Print the circumstances; yields a running store and a temporary folder."""
    load = ", ".join(f"{part:.1f}" for part in os.getloadavg())
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load}; {' '.join(sys.argv)}", flush=True)
    with STORES[store]() as server, tempfile.TemporaryDirectory() as name:
        yield server, Path(name)


def main() -> int:
    """Print what was found; 1 if anything falls short."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("kills", "faults", "displaced", "contenders"))
    parser.add_argument("--store", choices=sorted(STORES), default="seaweedfs")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--jobs", type=int, help="default: 2000; 200 for displaced, where the API is slow")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ttl", type=float, help="seconds after which a displaced run's lease is dead; default: real")
    parser.add_argument("--contenders", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=25)
    given = parser.parse_args()
    with announced(given.store) as (server, folder):
        if given.what == "contenders":
            held = contend(server, contenders=given.contenders, rounds=given.rounds)
            print(f"{given.contenders} contenders, holders in each of {len(held)} rounds: {held}")
            return 0 if set(held) == {1} else 1
        if given.what == "displaced":
            displaced = displace(server, folder, jobs=given.jobs or 200, ttl_s=given.ttl)
            print(displaced)
            return 0 if displaced.is_sound else 1
        shares, kills = (FAULTS, 0) if given.what == "faults" else ({}, given.kills)
        how = {"concurrency": given.concurrency, "seed": given.seed}
        found = kill(server, folder, jobs=given.jobs or 2000, kills=kills, shares=shares, **how)
        print(f"{found}, {found.bought_twice} bought twice, {found.concurrency * found.kills} allowed")
        return 0 if found.is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
