"""Time and memory of a check of one large JSON array, on one line and spread over many.

The command runs in a process of its own. The array lies in a temporary folder, which needs room for three of it.

    python benchmarks/json_array.py --gb 1
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = ("red", "fox", "on a", "wooden", "bench", "beside", "river", "at dawn", "in soft light", "painted", "with oil")


def write(path: Path, size_bytes: int, indent: int | None) -> int:
    """Write an array of about this size; return the number of its elements, of about 1 kB each."""
    chance = random.Random(1)
    count = 0
    with path.open("w") as file:
        file.write("[")
        while file.tell() < size_bytes:
            prompt = " ".join(chance.choices(WORDS, k=150))
            job = {"id": f"p{count}", "model": "venice-sd35", "prompt": prompt, "metadata": {"tags": ["a", "b"]}}
            file.write(", " * bool(count) + json.dumps(job, indent=indent))
            count += 1
        file.write("]")
    return count


def main() -> None:
    """Print a line for each of the two arrays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=1.0, help="size of the array (default: 1)")
    size_bytes = int(parser.parse_args().gb * 1e9)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jobs.json"
        environment = {**os.environ, "TMPDIR": folder}
        for indent in (None, 1):
            count = write(path, size_bytes, indent)
            command = [sys.executable, "-m", "venice_batch", "check", str(path), "--offline"]
            begun = time.monotonic()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
            # Not getrusage(RUSAGE_CHILDREN), which remembers the largest of all children.
            _, status, usage = os.wait4(process.pid, 0)
            took_s = time.monotonic() - begun
            if process.returncode is None:
                process.returncode = os.waitstatus_to_exitcode(status)
            assert process.returncode == 0
            form = "one line" if indent is None else "many lines"
            memory = usage.ru_maxrss / 1000
            print(f"{path.stat().st_size / 1e9:.2f} GB on {form}, {count:,} jobs: {took_s:.1f} s, {memory:.0f} MB")


if __name__ == "__main__":
    main()
