"""A sandbox server in a process of its own, fresh for each client that is measured."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TOOL = (sys.executable, "-m", "venice_batch")


class SandboxProcess:
    """A running sandbox: `base_url` for clients, `stats` for what it has seen."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def stats(self) -> dict[str, Any]:
        """Its counters, as GET /sandbox/stats gives them."""
        with urlopen(f"{self.base_url.removesuffix('/api/v1')}/sandbox/stats", timeout=10) as response:
            found: dict[str, Any] = json.load(response)
            return found


@contextmanager
def sandbox(settings: Mapping[str, object]) -> Iterator[SandboxProcess]:
    """Serve on a free port of the loopback address with these SandboxSettings."""
    options = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    process = subprocess.Popen([*TOOL, "sandbox", "--port", "0", *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        if found is None:
            raise RuntimeError(f"the sandbox did not start: {line!r}")
        yield SandboxProcess(found.group())
    finally:
        process.terminate()
        process.wait(timeout=20)
