"""Who watches a run on behalf of the person at the terminal."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO, cast

import anyio
from rich.text import Text

from venice_batch.cli import log as console
from venice_batch.cli.log import told
from venice_batch.cli.text import cropped, folded, text_width
from venice_batch.clock import SystemClock
from venice_batch.errors import one_line
from venice_batch.events import JobEnded, RunStarted
from venice_batch.money import micro_usd, usd_text
from venice_batch.report.progress import LaneMode, ProgressMeter
from venice_batch.text_format import size, span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from rich.console import Console
    from rich.live import Live

    from venice_batch.clock import Clock
    from venice_batch.events import Event, Observer
    from venice_batch.report.progress import LaneProgress, Progress


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
        async with shown(stream) as observer:
            yield observer
    else:
        yield console.observer(given["log_format"], stream, quiet=given["quiet"])


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


MOST_LANES = 8
"""Models that have a line of their own, at most."""

_NARROW = 64
"""Below this width the words between figures are left out."""

_WIDE = 100
"""From this width on each model has a bar of its own."""

_ROOMY = 16
"""From this height on an empty line sets the display apart from what is printed above it."""

_STYLES = {
    LaneMode.WAITING: "dim",
    LaneMode.OPEN: "green",
    LaneMode.WINDOW: "yellow",
    LaneMode.GATE: "yellow",
    LaneMode.HELD: "red",
    LaneMode.DONE: "dim",
}


def frame(progress: Progress, *, width: int, height: int, unix_s: float, ascii_only: bool = False) -> list[Text]:
    """At most `height` lines, none of them wider than `width`; `unix_s` is the time of day that gates are told by.

    `ascii_only` is for terminals that cannot show the characters that bars are drawn with.
    """
    glyphs = "=x-" if ascii_only else "━━─"
    lines = [_bar_line(progress, width, glyphs), *_figures(progress, width)]
    if progress.stopping is not None:
        reason = progress.stopping.removeprefix("stopped by ")
        text = f"stopping: {reason}; {progress.in_flight} under way may finish, Ctrl-C stops at once"
        lines.append(Text(cropped(one_line(text), width), "yellow"))
    room = height - len(lines) - (height >= _ROOMY)
    if len(progress.lanes) > 1 or (progress.lanes and progress.eta_s is not None):
        lines += _lane_lines(progress.lanes, width, room, unix_s, glyphs)
    for line in lines:
        line.truncate(width, overflow="crop")
    if height >= _ROOMY:
        lines.insert(0, Text())
    return lines[: max(1, height)]


def _bar_line(progress: Progress, width: int, glyphs: str) -> Text:
    settled = progress.done + progress.failed + progress.rejected + progress.refused_before
    share = settled / progress.jobs if progress.jobs else 1.0
    told = f"  {progress.done:,}/{progress.jobs:,}  {math.floor(100 * share)} %"
    if progress.eta_s is not None and progress.left:
        told += f"  {span(progress.eta_s)} left"
    room = width - text_width(told)
    if room < 8:
        told, room = f" {math.floor(100 * share)} %", width - 6
    failed = progress.failed + progress.rejected + progress.refused_before
    return Text.assemble(_bar(room, progress.done, failed, progress.jobs, glyphs), told)


def _bar(width: int, done: int, failed: int, jobs: int, glyphs: str) -> Text:
    """What is done, what has failed and what is left; a failure shows however few there are."""
    cells = max(0, width)
    bad = min(cells, max(math.floor(cells * failed / jobs), 1)) if failed and jobs else 0
    good = min(cells - bad, math.floor(cells * done / jobs)) if jobs else cells
    parts = ((good, "green"), (bad, "red"), (cells - good - bad, "bright_black"))
    return Text.assemble(*((glyph * count, style) for glyph, (count, style) in zip(glyphs, parts, strict=True)))


def _figures(progress: Progress, width: int) -> list[Text]:
    """The run's figures, as many to a line as fit."""
    parts = [Text(f"{progress.done:,} done", "green")]
    if progress.failed:
        parts.append(Text(f"{progress.failed:,} failed", "red"))
    if progress.rejected:
        parts.append(Text(f"{progress.rejected:,} rejected", "red"))
    parts.append(Text(f"{progress.left:,} left"))
    parts.append(Text(f"{progress.in_flight} under way"))
    quota = "" if progress.quota_a_minute is None else f" of {progress.quota_a_minute:,.0f}"
    parts.append(Text(f"{progress.images_a_minute:,.0f}{quota} images/min"))
    if progress.images:
        parts.append(Text(size(progress.bytes)))
    money = _money(progress)
    if money:
        parts.append(Text(money))
    if progress.retries:
        parts.append(Text(f"{progress.retries:,} {'retry' if progress.retries == 1 else 'retries'}", "yellow"))
    parts.append(Text(f"{span(progress.elapsed_s)} so far", "dim"))
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + 3 + part.cell_len <= width:
            lines[-1] = Text.assemble(lines[-1], (" · ", "dim"), part)
        else:
            lines.append(part)
    return lines


def _money(progress: Progress) -> str:
    if progress.expected_usd is None and not progress.spent_usd:
        return "price not known" if progress.unpriced else ""
    lost_usd = progress.possibly_billed_usd
    told = "≥ " if progress.unpriced else ""
    told += _usd(round((progress.spent_usd or 0.0) - lost_usd, 6))
    # What comes of retries was not expected: beside the sum it would look as if the images had cost more.
    told += "" if progress.expected_usd is None else f" of {_usd(progress.expected_usd)}"
    told += " USD of sandbox money" if progress.sandbox else " USD"
    return told + (f", {_usd(lost_usd)} more possibly billed" if lost_usd else "")


def _usd(amount: float) -> str:
    return usd_text(micro_usd(round(amount, 2)))


def _lane_lines(lanes: Sequence[LaneProgress], width: int, room: int, unix_s: float, glyphs: str) -> list[Text]:
    shown, hidden = _busiest(lanes, min(MOST_LANES, room))
    names = {lane.name: one_line(lane.name) for lane in shown}
    name_width = min(max([0, *map(text_width, names.values())]), max(8, width // 3))
    counts = {lane.name: f"{lane.done:,}/{lane.jobs:,}" for lane in shown}
    count_width = max([0, *map(len, counts.values())])
    lines = []
    for lane in shown:
        name = cropped(names[lane.name], name_width)
        line = Text(name + " " * (name_width - text_width(name)) + "  ")
        if width >= _WIDE:
            line.append_text(_bar(12, lane.done, lane.failed, lane.jobs, glyphs)).append("  ")
        line.append(counts[lane.name].rjust(count_width))
        under_way = f"{lane.in_flight:3}" if width < _NARROW else f"{lane.in_flight:3} under way"
        line.append(f"  {under_way}  ").append(_mode(lane, unix_s, short=width < _NARROW), _STYLES[lane.mode])
        if lane.failed:
            line.append(f"  {lane.failed:,} failed", "red")
        lines.append(line)
    if hidden:
        left, sent = sum(lane.left for lane in hidden), sum(lane.in_flight for lane in hidden)
        lines.append(Text(f"… {len(hidden)} more: {left:,} left, {sent} under way", "dim"))
    return lines


def _busiest(lanes: Sequence[LaneProgress], room: int) -> tuple[list[LaneProgress], list[LaneProgress]]:
    """Those with a line of their own, in the order of the file, and the others, which share one."""
    if len(lanes) <= room:
        return list(lanes), []
    ranked = sorted(lanes, key=lambda lane: (lane.left == 0, -lane.in_flight, -lane.left))
    chosen = {lane.name for lane in ranked[: max(0, room - 1)]}
    return [lane for lane in lanes if lane.name in chosen], [lane for lane in lanes if lane.name not in chosen]


def _mode(lane: LaneProgress, unix_s: float, *, short: bool) -> str:
    if lane.mode is LaneMode.DONE:
        return "done"
    if lane.mode is LaneMode.WAITING:
        return "waiting" if short else "waiting for its turn"
    if lane.mode is LaneMode.OPEN:
        if lane.quota is None or lane.quota_left is None:
            return "open"
        return f"open {lane.quota_left}/{lane.quota}" if short else f"open, {lane.quota_left} of {lane.quota} left"
    if math.isinf(lane.until_s):
        return "shut"
    wait = span(math.ceil(lane.until_s))
    if short:
        return f"{lane.mode} {wait}"
    if lane.mode is LaneMode.WINDOW:
        return f"next window in {wait}"
    if lane.mode is LaneMode.HELD:
        return f"held back {wait} after failures"
    return f"gate until {datetime.fromtimestamp(unix_s + lane.until_s):%H:%M:%S}, {wait}"
