"""Who watches a run on behalf of the person at the terminal."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TextIO

from venice_batch.cli import console

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from venice_batch.events import Observer


def is_live(given: Mapping[str, Any], stream: TextIO | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the options in `given` and the terminal behind `stream` allow for a display that redraws itself.

    FORCE_COLOR and its like make no terminal of a file; TERM=dumb is one that cannot move its cursor.
    """
    if given["quiet"] or given["no_progress"] or given["log_format"] != "text":
        return False
    if stream is None or environ.get("TERM", "") in ("", "dumb", "unknown"):
        return False
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


@asynccontextmanager
async def watching(given: Mapping[str, Any], stream: TextIO | None) -> AsyncIterator[Observer]:
    """An observer for as long as the block lasts: the live display where it can be, else a log."""
    if stream is not None and is_live(given, stream):
        from venice_batch.cli.live import shown

        async with shown(stream) as observer:
            yield observer
    else:
        yield console.observer(given["log_format"], stream, quiet=given["quiet"])
