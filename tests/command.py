"""The command in this process, in an environment of its own, and a sandbox for it in a thread."""

import io
import os
import time
from contextlib import contextmanager
from typing import NamedTuple

from anyio.from_thread import start_blocking_portal

from venice_batch.cli.env import Environment
from venice_batch.cli.main import main
from venice_batch.sandbox import SandboxSettings, serve


class Result(NamedTuple):
    code: int
    out: str
    err: str


def run(*args, stdin="", environ=None, now=time.time):
    """The exit code of `venice-batch args…` and what it has printed; there is no traceback."""
    streams = [io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8") for text in (stdin, "", "")]
    code = main([*args], Environment(*streams, {**os.environ, **(environ or {})}, now))
    out, err = (stream.flush() or stream.buffer.getvalue().decode() for stream in streams[1:])
    assert "Traceback" not in err
    return Result(code, out, err)


@contextmanager
def served(**settings):
    """The address of a sandbox that runs in a thread for the length of the block."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serve(SandboxSettings(**settings))) as sandbox,
    ):
        yield sandbox.base_url
