"""How soon `venice-batch view` shows a folder of many images, has a mark on disk, and announces a new image.

    python benchmarks/view.py [--images 10000]

Needs Pillow, the test group's playwright (through benchmarks/gallery.py), and Linux for the memory.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gallery import make_folder

MARKS = 200
NEW = 20


def main() -> None:
    """Make a folder, serve it, and ask as a page would."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory(prefix="venice-batch-view-") as name:
        root = Path(name)
        make_folder(root, images)
        before_s = time.perf_counter()
        command = [sys.executable, "-m", "venice_batch", "view", str(root)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as view:
            found = re.search(r"http\S+", view.stdout.readline() if view.stdout else "")
            assert found, "it printed no address"
            address = urlsplit(found[0])
            print(f"{images:,} images: address after {time.perf_counter() - before_s:.2f} s")
            server = Server(address.port or 0, address.path)
            print(f"page: {server.page_s():.2f} s the first time, {server.page_s():.2f} s again")
            record = json.loads((root / "manifest.jsonl").read_text().splitlines()[0])
            show("mark acknowledged", [server.mark_s(record, 1 + number % 5) for number in range(MARKS)])
            show("new image announced", server.new_s(root / "manifest.jsonl", record))
            print("memory:", re.findall(r"VmHWM:\s*(.*)", Path(f"/proc/{view.pid}/status").read_text())[0])
            view.send_signal(signal.SIGINT)


def show(what: str, times_s: list[float]) -> None:
    """Print percentiles of durations."""
    times_s.sort()
    p50, p95, most = (1000 * times_s[int(share * (len(times_s) - 1))] for share in (0.5, 0.95, 1.0))
    print(f"{what}: p50 {p50:.1f} ms, p95 {p95:.1f} ms, at most {most:.1f} ms")


class Server:
    """The server, as a page sees it."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._path = path
        self._http = http.client.HTTPConnection("127.0.0.1", port)

    def page_s(self) -> float:
        """Return how long the page takes from the request to its last byte."""
        before_s = time.perf_counter()
        self._http.request("GET", self._path)
        self._http.getresponse().read()
        return time.perf_counter() - before_s

    def mark_s(self, record: dict[str, Any], rating: int) -> float:
        """Return how long it takes until the server says that a mark is on disk."""
        mark = {"sha256": record["files"][0]["sha256"], "id": record["id"], "image": 1, "rating": rating}
        body = json.dumps([mark | {"mark": "picked"}])
        before_s = time.perf_counter()
        self._http.request("POST", f"{self._path}marks", body, {"Content-Type": "application/json"})
        answer = self._http.getresponse()
        answer.read()
        assert answer.status == http.client.NO_CONTENT, answer.status
        return time.perf_counter() - before_s

    def new_s(self, manifest: Path, record: dict[str, Any]) -> list[float]:
        """Return how long after its record each of several new images is announced."""
        events = http.client.HTTPConnection("127.0.0.1", self._port)
        events.request("GET", f"{self._path}events")
        answer = events.getresponse()
        rng, times_s = random.Random(1), []
        for number in range(NEW):
            line = json.dumps(record | {"id": f"new-{number}"}).encode() + b"\n"
            time.sleep(rng.uniform(0.1, 0.6))  # so that they fall on different moments between two looks
            before_s = time.perf_counter()
            with manifest.open("ab") as file:
                file.write(line)
            while answer.readline() != b"event: jobs\n":
                pass
            times_s.append(time.perf_counter() - before_s)
        return times_s


if __name__ == "__main__":
    main()
