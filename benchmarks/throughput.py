"""How fast the whole product moves images from a fast server to files, beside other clients.

Every pair runs the product and one peer after the other against the same server on loopback (nginx where it is
installed, since it leaves the clients more of the machine, else `fixed_server.py`), several times, each first in turn;
what is reported is the median of the ratios. A pair before these is not counted: memory that a virtual machine touches
for the first time in a while is slow to come from its host. All files are compared byte for byte before a number is
printed. Memory is sampled while they run.

    python benchmarks/throughput.py --pairs 5
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from fixed_server import answer, png

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
CONCURRENCY = 32


@dataclass(frozen=True, slots=True)
class Contest:
    """A body of `size_bytes` in a `form`, requested `jobs` times by the product and by `peer`.

    `targets` are the ratios that the product should reach with one process and with two; None: no target.
    """

    name: str
    size_bytes: int
    form: str
    jobs: int
    peer: str
    targets: tuple[float | None, float | None]


CONTESTS = (
    Contest("300 KB binary", 300_000, "binary", 6000, "bare-aiohttp", (0.55, 1.0)),
    Contest("300 KB binary", 300_000, "binary", 6000, "storing-aiohttp", (None, None)),
    Contest("300 KB binary", 300_000, "binary", 6000, "curl", (None, None)),
    Contest("300 KB as JSON", 300_000, "json", 3000, "requests-threads", (None, None)),
    Contest("300 KB as JSON", 300_000, "json", 3000, "openai-sdk", (2.3, 3.5)),
    Contest("8 MB as JSON (10.7 MB body)", 8_000_000, "json", 300, "whole-body", (2.0, 3.0)),
)


@dataclass(frozen=True, slots=True)
class Result:
    """Images a second over the whole run, start-up included, and the peak resident memory of its largest process."""

    per_s: float
    peak_mb: float


NGINX = """
daemon off; pid {folder}/nginx.pid; error_log stderr crit; worker_processes 1;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; keepalive_requests 1000000; client_body_temp_path {folder};
  default_type application/json;
  types {{ image/png png; application/json json; }}
  server {{
    listen 127.0.0.1:{port}; root {folder};
    location = /api/v1/image/generate {{ error_page 405 =200 /{file}; }}
    location = /api/v1/images/generations {{ error_page 405 =200 /openai.json; }}
  }}
}}
"""


@contextlib.contextmanager
def server(contest: Contest) -> Iterator[str]:
    """The base URL of a server for `contest`."""
    with nginx(contest) if shutil.which("nginx") else fixed_server(contest) as url:
        yield url


@contextlib.contextmanager
def nginx(contest: Contest) -> Iterator[str]:
    """nginx with the contest's bodies as files; a POST to a file is refused with 405, which is answered by the file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        image = png(contest.size_bytes)
        file = "image.png" if contest.form == "binary" else "native.json"
        for answered, form in ((file, contest.form), ("openai.json", "openai")):
            (folder / answered).write_bytes(answer(image, form).partition(b"\r\n\r\n")[2])
        for path in ("image", "images"):
            (folder / "api/v1" / path).mkdir(parents=True)
        (folder / "api/v1/image/generate").touch()
        (folder / "api/v1/images/generations").touch()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, file=file))
        with subprocess.Popen(["nginx", "-p", name, "-c", str(folder / "nginx.conf")]) as process:
            try:
                while not (folder / "nginx.pid").exists() and process.poll() is None:
                    time.sleep(0.05)
                yield f"http://127.0.0.1:{port}/api/v1"
            finally:
                process.terminate()


@contextlib.contextmanager
def fixed_server(contest: Contest) -> Iterator[str]:
    """The server that the benchmark brings."""
    command = [sys.executable, str(HERE / "fixed_server.py"), "--bytes", str(contest.size_bytes)]
    with subprocess.Popen([*command, "--form", contest.form], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/api/v1"
        finally:
            process.terminate()


def measure(command: list[str], jobs: int, cwd: Path) -> Result:
    """Run `command` to its end; raises CalledProcessError if it fails."""
    os.sync()  # what the run before has left to be written is not this one's burden
    began_s = time.monotonic()
    # As installed: modules are compiled once, not at every start.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(command, env={**environment, "VENICE_API_KEY": "k"}, cwd=cwd) as process:
        peak_kb = 0
        while process.poll() is None:
            peak_kb = max(peak_kb, resident_kb(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
    return Result(jobs / (time.monotonic() - began_s), peak_kb / 1024)


def resident_kb(process: int) -> int:
    """Return the resident memory of a process, or of its largest child."""
    found = 0
    with contextlib.suppress(OSError):
        threads = Path(f"/proc/{process}/task").iterdir()
        children = " ".join((thread / "children").read_text() for thread in threads).split()
        for one in (process, *map(int, children)):
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
            found = max([found, *(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))])
    return found


def product(contest: Contest, url: str, folder: Path, processes: int) -> Result:
    """The command as a user runs it."""
    jobs = folder / "jobs.jsonl"
    with jobs.open("w") as file:
        for number in range(contest.jobs):
            job = {"id": str(number), "model": "m", "prompt": f"p{number}", "return_binary": contest.form == "binary"}
            file.write(json.dumps(job) + "\n")
    command = [sys.executable, "-m", "venice_batch", str(jobs), "--base-url", url, "-o", str(folder / "out"), "-q"]
    command += ["-c", str(CONCURRENCY), "--processes", str(processes)]
    return measure(command, contest.jobs, folder)


def peer(contest: Contest, url: str, folder: Path, processes: int) -> Result:
    """The client that `contest` names, writing `<number>.png` into the same place, always in one process."""
    (folder / "out" / "images").mkdir(parents=True)
    if contest.peer == "curl":
        config = folder / "curl.conf"
        with config.open("w") as file:
            for number in range(contest.jobs):
                body = json.dumps({"model": "m", "prompt": f"p{number}"}).replace('"', '\\"')
                file.write(f'{"next" if number else ""}\nurl = "{url}/image/generate"\ndata = "{body}"\n')
                file.write(f'output = "{folder}/out/images/{number}.png"\n')
        command = ["curl", "-Z", "-sS", "--no-progress-meter", "--parallel-max", str(CONCURRENCY), "-K", str(config)]
    else:
        command = [sys.executable, str(HERE / "bare_clients.py"), contest.peer, url, str(folder / "out" / "images")]
        command += [str(contest.jobs), str(CONCURRENCY)]
    return measure(command, contest.jobs, folder)


def checked(folder: Path, contest: Contest, image: bytes) -> None:
    """Assert that every image is there, byte for byte, then make room.

    The files are emptied, not removed: ext4 is slow to make files for minutes after many were removed.
    """
    images = folder / "out" / "images"
    names = [name for name in os.listdir(images) if not name.startswith(".")]
    assert len(names) == contest.jobs, (folder, len(names))
    for name in names:
        assert (images / name).read_bytes() == image, name
        os.truncate(images / name, 0)


def contend(contest: Contest, pairs: int, root: Path, processes: int) -> None:
    """Run one contest and print its line."""
    if contest.peer == "curl" and shutil.which("curl") is None:
        print(f"{contest.name} beside curl: not run, curl is not installed")
        return
    image = png(contest.size_bytes)
    ratios: list[float] = []
    ours: list[Result] = []
    theirs: list[Result] = []
    with server(contest) as url:
        for number in range(pairs + 1):
            contenders = ((product, ours), (peer, theirs))
            for run, results in contenders[:: -1 if number % 2 else 1]:
                folder = root / f"{contest.size_bytes}-{contest.form}-{contest.peer}-{number}-{run.__name__}"
                folder.mkdir()
                results.append(run(contest, url, folder, processes))
                checked(folder, contest, image)
            ratios.append(ours[-1].per_s / theirs[-1].per_s)
    del ratios[0], ours[0], theirs[0]
    ratio = statistics.median(ratios)
    target = contest.targets[min(processes, 2) - 1]
    print(
        f"{contest.name:28} {statistics.median(one.per_s for one in ours):7.0f} images/s"
        f" {max(one.peak_mb for one in ours):6.0f} MB | {contest.peer:17}"
        f" {statistics.median(one.per_s for one in theirs):7.0f} images/s {max(one.peak_mb for one in theirs):6.0f} MB"
        f" | ratio {ratio:5.2f} of {'-' if target is None else target} ({min(ratios):.2f}-{max(ratios):.2f})",
        flush=True,
    )


def main() -> None:
    """Run the contests."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--processes", type=int, default=1, help="processes of the product")
    parser.add_argument("--only", default="", help="peers to run, separated by commas")
    parser.add_argument("--folder", help="where the images go; one in memory leaves the disk out of it")
    given = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "requests", "openai", "orjson", "pybase64"))
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores; {versions}")
    print(" ".join(sys.argv))
    with tempfile.TemporaryDirectory(dir=given.folder) as root:
        for contest in CONTESTS:
            if not given.only or contest.peer in given.only.split(","):
                contend(contest, given.pairs, Path(root), given.processes)


if __name__ == "__main__":
    main()
