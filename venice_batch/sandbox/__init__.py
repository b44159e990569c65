"""A local server that behaves like the Venice image API, for tests, demonstrations and dry runs.

It shares no code with the client, so that the two cannot share a mistake. It runs no model: it draws its images from
hashes of the prompts.
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

    Port 0 takes a free port; `base_url` of the entered object names it. `clock` returns Unix time in seconds; tests
    replace it. This call imports aiohttp and Pillow; importing the package does not.

    Raises: ValueError if `host` is not a loopback address; OSError on entering if the port is taken.
    """
    from venice_batch.sandbox.server import open_sandbox

    return open_sandbox(settings or SandboxSettings(), port=port, host=host, clock=clock)
