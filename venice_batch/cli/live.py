"""The live display of a run on a terminal."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TextIO, cast

import anyio

from venice_batch.cli.console import told
from venice_batch.cli.text import folded
from venice_batch.clock import SystemClock
from venice_batch.events import JobEnded, RunStarted
from venice_batch.report.progress import ProgressMeter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rich.console import Console
    from rich.live import Live

    from venice_batch.clock import Clock
    from venice_batch.events import Event, Observer
    from venice_batch.report.progress import Progress

EVERY_S = 0.25
"""Time between two looks at the run; what has not changed is drawn once a second, for its countdowns."""

MOST_LINES = 100
"""Lines that wait to be printed above the display; of a flood of failures the rest is counted."""

MOST_ROWS = 4
"""Rows that one of these lines may take; the manifest has every message in full."""


@asynccontextmanager
async def shown(stream: TextIO, clock: Clock | None = None) -> AsyncIterator[Observer]:
    """An observer whose display lives below the block's other output; nothing is left of it after the block.

    Events only count. Drawing is done in a thread, since a terminal may take its time (a slow line, Ctrl-S), and ends
    for good when the terminal is gone; the run goes on.
    """
    clock = clock or SystemClock()
    display = _Display(stream, clock)
    raised: Exception | None = None
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(display.refresh)
            try:
                yield display
            except Exception as error:  # noqa: BLE001 - raised again below, outside of the group, which would wrap it
                raised = error
            group.cancel_scope.cancel()
    finally:
        display.close()
    if raised is not None:
        raise raised


class _Display:
    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = _Terminal(stream)
        self._clock = clock
        self._screen: Screen | None = None
        self._meter = ProgressMeter(clock.now)
        self._lines: deque[tuple[str, str]] = deque()
        self._unsaid = 0
        self._changed = False

    def __call__(self, event: Event) -> None:
        self._meter(event)
        self._changed = True
        text = told(event)
        if text is None:
            return
        if len(self._lines) == MOST_LINES:
            self._unsaid += 1
            return
        style = "" if isinstance(event, RunStarted) else "red" if isinstance(event, JobEnded) else "yellow"
        self._lines.append((text, style))

    async def refresh(self) -> None:
        """Draw now and then until cancelled, or until the terminal is gone."""
        drawn_s = -1.0
        while not self._stream.is_gone:
            await self._clock.wait(anyio.Event(), EVERY_S)
            now_s = self._clock.now()
            if self._changed or now_s - drawn_s >= 1.0:
                drawn_s, self._changed = now_s, False
                await anyio.to_thread.run_sync(self._draw, self._meter.progress(), self._take_lines())

    def close(self) -> None:
        """Take the display away and print what is still to be said."""
        lines = self._take_lines()
        if lines or self._screen is not None:
            self._open().close(lines)

    def _draw(self, progress: Progress, lines: list[tuple[str, str]]) -> None:
        self._open().draw(progress, lines)

    def _open(self) -> Screen:
        if self._screen is None:
            self._screen = Screen(self._stream)
        return self._screen

    def _take_lines(self) -> list[tuple[str, str]]:
        lines = list(self._lines)
        self._lines.clear()
        if self._unsaid:
            lines.append((f"… and {self._unsaid} more; the manifest has them all", "dim"))
            self._unsaid = 0
        return lines


class Screen:
    """The display itself: lines that stay, and below them a frame that is drawn over and over.

    The cursor is never hidden, so that there is nothing to put right after a crash.
    """

    def __init__(self, stream: _Terminal) -> None:
        # Slow to import, and never needed off a terminal.
        from rich.console import Console
        from rich.live import Live

        class VisibleCursor(Console):
            def show_cursor(self, show: bool = True) -> bool:
                return False

        self._stream = stream
        self._console: Console = VisibleCursor(
            file=cast("TextIO", stream), force_terminal=True, markup=False, highlight=False, emoji=False
        )
        self._live: Live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, vertical_overflow="crop"
        )
        self._widths: list[int] = []
        self._width = 0

    def draw(self, progress: Progress, lines: list[tuple[str, str]]) -> None:
        """Print `lines` for good and draw the frame below them."""
        from rich.console import Group

        from venice_batch.cli.frame import frame

        width, height = self._measure()
        ascii_only = "utf" not in self._console.encoding
        texts = frame(progress, width=width - 1, height=height - 1, unix_s=time.time(), ascii_only=ascii_only)
        with self._console:
            if not self._live.is_started:
                self._live.start()
            self._clear_reflowed(width)
            self._live.update(Group(*texts))
            self._print(lines, width)
            self._live.refresh()
        self._widths, self._width = [text.cell_len for text in texts], width

    def close(self, lines: list[tuple[str, str]]) -> None:
        """Take the frame away and print `lines` for good, set apart from what comes after them."""
        width, _ = self._measure()
        with self._console:
            self._clear_reflowed(width)
            self._live.stop()
            self._print([*lines, ("", "")], width)

    def _measure(self) -> tuple[int, int]:
        from rich.console import ConsoleDimensions

        try:
            width, height = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            width = height = 0
        # Some terminals do not know their own size.
        self._console.size = ConsoleDimensions(max(width, 20) if width else 80, max(height, 2) if height else 24)
        return self._console.size.width, self._console.size.height

    def _print(self, lines: list[tuple[str, str]], width: int) -> None:
        from rich.text import Text

        rows = []
        for line, style in lines:
            pieces = folded(line, width - 1)
            rows += [Text(piece, style) for piece in pieces[:MOST_ROWS]]
            if len(pieces) > MOST_ROWS:
                rows[-1].append(" …")
        if rows:
            self._console.print(*rows, sep="\n", no_wrap=True, overflow="ignore", crop=False)

    def _clear_reflowed(self, width: int) -> None:
        """Clear the rows that the last frame took beyond its lines, as a narrowed terminal has folded them."""
        from rich.control import Control
        from rich.segment import ControlType

        rows = sum((line - 1) // width for line in self._widths if line)
        if width < self._width and rows:
            self._console.control(Control(*[(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)] * rows))
        self._widths = []


class _Terminal:
    """A stream that may go away: what is written then is lost, and nothing is raised."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_gone = False

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        if not self.is_gone:
            try:
                return self._stream.write(text)
            except (OSError, ValueError):
                self.is_gone = True
        return len(text)

    def flush(self) -> None:
        if not self.is_gone:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self.is_gone = True

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()
