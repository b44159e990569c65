"""Kill the server of a live page at random moments while marks are made; report those acknowledged and lost.

    python tests/view/killing.py FOLDER KILLS SEED

Each server is a fork of this process, so that one takes a few milliseconds to start.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import msgspec

from venice_batch.output.marks import NAME, Mark
from venice_batch.view import serve
from venice_batch.view import server as _server  # noqa: F401 - imported before the forks

LONGEST_S = 0.15
"""Time from the first acknowledged mark to the kill, at most."""


def main(root: Path, kills: int, seed: int) -> int:
    rng = random.Random(seed)
    first = msgspec.json.decode((root / "manifest.jsonl").read_bytes().splitlines()[0])
    image = {"sha256": first["files"][0]["sha256"], "id": first["id"], "image": 1}
    made = lost = 0
    for number in range(kills):
        before = len(_written(root))
        acknowledged = _one(root, image, number, rng.uniform(0, LONGEST_S))
        found = _written(root)[before:]
        made += len(acknowledged)
        lost += acknowledged != found[: len(acknowledged)]
    print(f"{kills} kills, {made} marks acknowledged, lost in {lost} kills")
    return int(lost > 0 or made < kills)


def _written(root: Path) -> list[int]:
    """Return the marks on disk in their order."""
    try:
        lines = (root / NAME).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    marks = [msgspec.json.decode(line, type=Mark) for line in lines]  # a torn line would raise
    return [_code(mark.mark, mark.rating) for mark in marks]


def _one(root: Path, image: dict, number: int, until_s: float) -> list[int]:
    """Start a server, make marks until it is killed, and return the acknowledged ones."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        anyio.run(_serve, root, writing)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        address = urlsplit(pipe.readline().strip())
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=30)
    killer = threading.Timer(until_s, os.kill, (child, signal.SIGKILL))
    acknowledged = []
    try:
        for step in range(1_000_000):
            code = (number * 7 + step) % 15
            body = {**image, "mark": ("picked", "rejected", None)[code % 3], "rating": code // 3 + 1}
            headers = {"Content-Type": "application/json"}
            connection.request("POST", f"{address.path}marks", msgspec.json.encode([body]), headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 204, answer.status
            acknowledged.append(code)
            if step == 1:
                killer.start()
    except (OSError, http.client.HTTPException):
        pass
    finally:
        killer.join()
        os.waitpid(child, 0)
        connection.close()
    return acknowledged


async def _serve(root: Path, writing: int) -> None:
    async with serve(root) as server:
        os.write(writing, f"{server.address}\n".encode())
        os.close(writing)
        await anyio.sleep_forever()


def _code(mark: str | None, rating: int | None) -> int:
    return ("picked", "rejected", None).index(mark) + ((rating or 1) - 1) * 3


if __name__ == "__main__":
    began_s = time.monotonic()
    code = main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    print(f"{time.monotonic() - began_s:.1f} s", file=sys.stderr)
    sys.exit(code)
