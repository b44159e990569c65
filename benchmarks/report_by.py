"""Time and memory of `report --by` and `report A B` on many records, each image with three annotations.

    python benchmarks/report_by.py [--records 100000]

Each measurement runs the command in a process of its own; on a busy machine, look at its processor time. Everything it
makes lies in a temporary folder and is removed.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from venice_batch.model import (
    SCHEMA,
    Attempt,
    Endpoint,
    Flags,
    ImageFile,
    Outcome,
    Status,
    Timing,
)
from venice_batch.output.annotations import Annotation, AnnotationsFile, Value

AT = "2026-01-01T00:00:00.000Z"


def main() -> None:
    """Make two folders, and print what each table of them takes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    count = parser.parse_args().records
    with tempfile.TemporaryDirectory(prefix="venice-batch-report-") as name:
        folders = [Path(name) / one for one in "ab"]
        for seed, folder in enumerate(folders):
            make_folder(folder, count, seed)
        a, b = map(str, folders)
        for text, arguments in (
            ("30 groups", [a, "--by", "model,metadata.tag"]),
            (f"{count // 200:,} groups of 200 images", [a, "--by", "metadata.set", "--format", "csv"]),
            (f"{count:,} groups of one image", [a, "--by", "id", "--format", "csv"]),
            ("two folders", [a, b]),
            ("two folders, each image as CSV", [a, b, "--format", "csv"]),
        ):
            elapsed_s, processor_s, peak_mb = finish(["report", *arguments])
            times = f"{elapsed_s:.1f} s ({processor_s:.1f} s of the processor, load {os.getloadavg()[0]:.1f})"
            print(f"{count:,} records, {text}: {times}, {peak_mb:.0f} MB", flush=True)


def make_folder(root: Path, count: int, seed: int) -> None:
    """Write records of `count` jobs, for five models and six tags, and annotations of their images."""
    root.mkdir()
    chance = random.Random(seed)
    with (root / "manifest.jsonl").open("wb") as manifest:
        for number in range(count):
            manifest.write(msgspec.json.encode(_outcome(number, chance)) + b"\n")
    with AnnotationsFile(root) as file:
        file.append(Annotation(f"{number:064x}", f"job-{number:06}", 1, _scores(chance), AT) for number in range(count))


def _scores(chance: random.Random) -> dict[str, Value | None]:
    return {"score": chance.random(), "correct": chance.random() < 0.7, "length": chance.gauss(50, 9)}


def _outcome(number: int, chance: random.Random) -> Outcome:
    model = f"model-{number % 5}"
    prompt = f"A canal at hour {number // 10}, seen from a bridge"
    return Outcome(
        schema=SCHEMA,
        run_id="20260101T000000Z-abc123",
        id=f"job-{number:06}",
        request_hash=f"{number:032x}",
        status=Status.SUCCEEDED if number % 50 else Status.FAILED,
        lane=model,
        files=(ImageFile(f"images/job-{number:06}.webp", 50_000, f"{number:064x}", "webp", 1024, 1024),),
        endpoint=Endpoint.GENERATE,
        request={"model": model, "prompt": prompt, "width": 1024, "height": 1024, "seed": number % 10},
        metadata={"tag": f"tag-{number // 5 % 6}", "set": number // 200},
        attempts=(Attempt(200, None, 0.0, None, "8f-FRA", 2.0, 0.1),),
        error=None,
        flags=Flags(),
        cost_usd=0.01,
        timing=Timing(AT, 0.1, 5.0, 0.0, chance.expovariate(0.3), 0.1, 0.01, 7.1),
    )


def finish(arguments: list[str]) -> tuple[float, float, float]:
    """Run the command; return the seconds that it took, those of the processor, and its peak resident memory in MB."""
    began_s = time.monotonic()
    command = [sys.executable, "-m", "venice_batch", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return time.monotonic() - began_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


if __name__ == "__main__":
    main()
