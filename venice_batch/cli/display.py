"""Show a run in progress: a live display on a terminal, a log anywhere else."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO, cast

import anyio

from venice_batch.cli.frame import frame
from venice_batch.cli.log import LOOK_EVERY_S, TextLog, event_line
from venice_batch.cli.text import folded
from venice_batch.clock import SystemClock
from venice_batch.events import JobEnded, RunStarted
from venice_batch.report.progress import ProgressMeter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

    from rich.live import Live

    from venice_batch.cli.json_log import JsonWriter
    from venice_batch.clock import Clock
    from venice_batch.events import Event, Observer
    from venice_batch.report.progress import Progress

REFRESH_S = 0.25
"""Seconds between two checks for events. Without events the frame is redrawn once a second, for its countdowns."""

MAX_LINES = 100
"""Lines that may wait to be printed above the frame; further ones are only counted."""

MAX_ROWS = 4
"""Rows of the terminal that one of these lines may take; the manifest has every message in full."""


def is_live(given: Mapping[str, Any], stream: TextIO | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether to draw a live display on `stream`, going by the options in `given` and the terminal.

    FORCE_COLOR and similar variables do not turn a file into a terminal; a TERM=dumb terminal cannot move its cursor.
    """
    if given["quiet"] or given["no_progress"] or given["log_format"] != "text":
        return False
    if stream is None or environ.get("TERM", "") in ("", "dumb", "unknown"):
        return False
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def reflows(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the terminal wraps lines that are on screen when it becomes narrower, as most do; others cut them.

    Only the environment shows which: xterm, rxvt, the Linux console and GNU screen cut lines, but not tmux inside them.
    """
    if "TMUX" in environ:
        return True
    cuts = "XTERM_VERSION" in environ or "STY" in environ
    return not cuts and not environ.get("TERM", "").startswith(("rxvt", "linux"))


@asynccontextmanager
async def watching(
    given: Mapping[str, Any], stream: TextIO | None, writer: JsonWriter | None = None
) -> AsyncIterator[Observer]:
    """Yield an observer for the duration of the block: the live display if `stream` can show it, otherwise a log.

    `writer` writes the lines of a JSON log; by default one for `stream` does.
    """
    if stream is not None and is_live(given, stream):
        async with live_display(stream) as observer:
            yield observer
    elif given["log_format"] == "json":
        from venice_batch.cli.json_log import JsonLog, JsonWriter

        async with ticking(JsonLog(writer or JsonWriter(stream, quiet=given["quiet"]))) as observer:
            yield observer
    else:
        async with ticking(TextLog(stream, quiet=given["quiet"])) as observer:
            yield observer


class Log(Protocol):
    """An observer that also writes lines when nothing happens."""

    def __call__(self, event: Event, /) -> None: ...

    def tick(self) -> None:
        """Look whether a line is due."""
        ...


@asynccontextmanager
async def ticking(log: Log, clock: Clock | None = None) -> AsyncIterator[Log]:
    """Yield `log`, and have it look every `LOOK_EVERY_S` whether a line is due."""
    clock = clock or SystemClock()

    async def tick() -> None:
        while True:
            await clock.wait(anyio.Event(), LOOK_EVERY_S)
            log.tick()

    async with _beside(tick):
        yield log


@asynccontextmanager
async def live_display(stream: TextIO, clock: Clock | None = None) -> AsyncIterator[Observer]:
    """Yield an observer that draws a frame below all other output and removes it at the end of the block.

    The observer only counts events. A thread draws, because a terminal can be slow (a slow line, Ctrl-S). Once the
    terminal is gone nothing more is drawn, and the run goes on. An exception from the block comes out unchanged.
    """
    clock = clock or SystemClock()
    display = _Display(stream, clock)
    try:
        async with _beside(display.refresh):
            yield display
    finally:
        display.close()


@asynccontextmanager
async def _beside(task: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run `task` for the duration of the block; an exception from the block comes out unchanged."""
    raised: BaseException | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(task)
        try:
            yield
        except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - raised again: the group wraps it
            raised = error
        group.cancel_scope.cancel()
    if raised is not None:
        raise raised


class _Display:
    """Lines that stay and, below them, a frame that is redrawn.

    The cursor is never hidden, so that a crash leaves nothing to restore.
    """

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._terminal = _Terminal(stream)
        self._clock = clock
        self._meter = ProgressMeter(clock.now)
        self._lines: deque[tuple[str, str]] = deque()
        self._left_out = 0
        self._changed = False
        self._live: Live | None = None
        self._widths: list[int] = []  # of the last frame's lines
        self._width = 0  # of the terminal, when that frame was drawn
        self._reflows = reflows()

    def __call__(self, event: Event) -> None:
        self._meter(event)
        self._changed = True
        text = event_line(event)
        if text is None:
            return
        if len(self._lines) == MAX_LINES:
            self._left_out += 1
            return
        style = "" if isinstance(event, RunStarted) else "red" if isinstance(event, JobEnded) else "yellow"
        self._lines.append((text, style))

    async def refresh(self) -> None:
        """Redraw several times a second until cancelled, or until the terminal is gone."""
        drawn_s = -1.0
        size = self._terminal.size()
        while not self._terminal.is_gone:
            await self._clock.wait(anyio.Event(), REFRESH_S)
            now_s = self._clock.now()
            size_before, size = size, self._terminal.size()
            # While a window is being dragged, a frame drawn for one width would be erased at another.
            if size == size_before and (self._changed or now_s - drawn_s >= 1.0):
                drawn_s, self._changed = now_s, False
                await anyio.to_thread.run_sync(self._draw, self._meter.progress(), self._take_lines())

    def close(self) -> None:
        """Remove the frame and print the lines that are left, with an empty one after them."""
        lines = self._take_lines()
        if not lines and self._live is None:
            return
        live = self._live or self._start()
        width, _ = self._measure(live)
        with live.console:
            self._clear_reflowed(live, width)
            live.stop()
            self._print(live, [*lines, ("", "")], width)

    def _take_lines(self) -> list[tuple[str, str]]:
        lines = list(self._lines)
        self._lines.clear()
        if self._left_out:
            lines.append((f"… and {self._left_out} more; the manifest has them all", "dim"))
            self._left_out = 0
        return lines

    def _start(self) -> Live:
        # Slow to import, and needed on a terminal only.
        from rich.console import Console
        from rich.live import Live

        class VisibleCursor(Console):
            def show_cursor(self, show: bool = True) -> bool:
                return False

        file = cast("TextIO", self._terminal)
        console = VisibleCursor(file=file, force_terminal=True, markup=False, highlight=False, emoji=False)
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, vertical_overflow="crop"
        )
        return self._live

    def _draw(self, progress: Progress, lines: list[tuple[str, str]]) -> None:
        """Print `lines` for good and redraw the frame below them."""
        from rich.console import Group

        live = self._live or self._start()
        width, height = self._measure(live)
        ascii_only = "utf" not in live.console.encoding
        texts = frame(progress, width=width - 1, height=height - 1, unix_s=time.time(), ascii_only=ascii_only)
        with live.console:  # written all at once
            live.start()
            self._clear_reflowed(live, width)
            live.update(Group(*texts))
            self._print(live, lines, width)
            live.refresh()
        self._widths, self._width = [text.cell_len for text in texts], width

    def _measure(self, live: Live) -> tuple[int, int]:
        from rich.console import ConsoleDimensions

        width, height = self._terminal.size()
        live.console.size = ConsoleDimensions(width, height)
        return width, height

    def _print(self, live: Live, lines: list[tuple[str, str]], width: int) -> None:
        from rich.text import Text

        rows = []
        for line, style in lines:
            pieces = folded(line, width - 1)
            rows += [Text(piece, style) for piece in pieces[:MAX_ROWS]]
            if len(pieces) > MAX_ROWS:
                rows[-1].truncate(width - 3, overflow="crop")
                rows[-1].append(" …")
        if rows:
            live.console.print(*rows, sep="\n", no_wrap=True, overflow="ignore", crop=False)

    def _clear_reflowed(self, live: Live, width: int) -> None:
        """Erase the extra rows that the last frame takes once a narrower terminal has wrapped its lines."""
        from rich.control import Control
        from rich.segment import ControlType

        rows = sum((line - 1) // width for line in self._widths if line)
        if width < self._width and rows and self._reflows:
            live.console.control(Control(*[(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)] * rows))
        self._widths = []


class _Terminal:
    """A stream that may disappear: later output is dropped, and nothing is raised."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self.is_gone = False

    def write(self, text: str) -> int:
        self._unless_gone(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._unless_gone(self._stream.flush)

    def size(self) -> tuple[int, int]:
        """Return columns and lines, 80 by 24 if the terminal does not know; at least 20 by 2."""
        try:
            width, height = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            width = height = 0
        return max(width, 20) if width else 80, max(height, 2) if height else 24

    def _unless_gone(self, action: Callable[[], object]) -> None:
        if not self.is_gone:
            try:
                action()
            except (OSError, ValueError):
                self.is_gone = True
