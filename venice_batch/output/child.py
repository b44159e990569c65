"""Starts processes that work for this one."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_INHERITED = ("PYTHON", "LC_", "LANG", "LD_", "DYLD_", "COVERAGE_")
"""Of the environment, what it takes to start and to name files alike; the API's key is none of its business."""


def is_possible() -> bool:
    """Whether there is an interpreter: a program that contains one would start itself anew."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def start(
    module: str, options: Iterable[object], *, files: tuple[int, ...], pipe_bytes: int | None = None
) -> subprocess.Popen[bytes] | None:
    """Run `module` with `options`, the descriptors `files` and nothing else of this process; None where it cannot be.

    It looks for modules where this process does. No signal of the terminal's reaches it. With `pipe_bytes` its standard
    input and output are pipes of that size, else nothing.
    """
    if not is_possible():
        return None
    environment = {name: value for name, value in os.environ.items() if name.startswith(_INHERITED)}
    pipe = subprocess.DEVNULL if pipe_bytes is None else subprocess.PIPE
    try:
        return subprocess.Popen(  # noqa: S603  (this very interpreter, no shell)
            [sys.executable, "-P", "-m", module, *map(str, options)],
            bufsize=0,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
            pass_fds=files,
            start_new_session=True,
            pipesize=pipe_bytes or -1,
        )
    except (OSError, ValueError):
        return None
