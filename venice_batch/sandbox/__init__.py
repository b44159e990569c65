"""Local server that behaves like the Venice image API, for tests, demonstrations and dry runs.

It shares no code with the client, so that the two cannot share a mistake. No AI is involved: the pictures are
drawn from hashes of the prompt.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from venice_batch.sandbox.settings import SandboxSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from venice_batch.sandbox.server import Sandbox

__all__ = ["SandboxSettings", "serve"]


def serve(
    settings: SandboxSettings | None = None,
    *,
    port: int = 0,
    host: str = "127.0.0.1",
    clock: Callable[[], float] = time.time,
) -> AbstractAsyncContextManager[Sandbox]:
    """Return an async context manager that serves the sandbox while it is entered.

    Port 0 takes a free port; `base_url` of the entered object names it. `clock` gives Unix time in seconds
    and exists for tests. aiohttp and Pillow are imported by this call, not by importing the package.

    Raises: ValueError when `host` is not a loopback address; OSError on entering when the port is taken.
    """
    from venice_batch.sandbox.loopback import require_loopback
    from venice_batch.sandbox.server import open_sandbox

    require_loopback(host)
    return open_sandbox(settings or SandboxSettings(), port=port, host=host, clock=clock)
