"""The frame of the live display: lines drawn from a run's progress."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING

from venice_batch.cli.text import cropped, text_width
from venice_batch.errors import one_line
from venice_batch.money import micro_usd, usd_text
from venice_batch.report.progress import LaneMode
from venice_batch.text_format import size, span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from venice_batch.report.progress import LaneProgress, Progress

MAX_LANES = 8
"""Models that get a line of their own."""

_NARROW = 64
"""Below this width, figures are shown without the words between them."""

_WIDE = 100
"""From this width on, each model has a bar of its own."""

_ROOMY = 16
"""From this height on, an empty line separates the frame from the lines above it."""

_STYLES = {
    LaneMode.WAITING: "dim",
    LaneMode.OPEN: "green",
    LaneMode.WINDOW: "yellow",
    LaneMode.GATE: "yellow",
    LaneMode.HELD: "red",
    LaneMode.DONE: "dim",
}

Line = list[tuple[str, str]]
"""A line of the frame: pieces of text, each with its style."""


def frame(progress: Progress, *, width: int, height: int, unix_s: float, ascii_only: bool = False) -> list[Text]:
    """Return the frame: at most `height` lines, each at most `width` columns wide.

    `unix_s` is the current time, used to compute when gates open. With `ascii_only`, bars are drawn in ASCII.
    """
    from rich.text import Text

    glyphs = "=x-" if ascii_only else "━━─"
    lines = [_bar_line(progress, width, glyphs), *_figures(progress, width)]
    if progress.stopping is not None:
        reason = progress.stopping.removeprefix("stopped by ")
        text = f"stopping: {reason}; {progress.in_flight} under way may finish, Ctrl-C stops at once"
        lines.append([(cropped(one_line(text), width), "yellow")])
    room = height - len(lines) - (height >= _ROOMY)
    if len(progress.lanes) > 1 or (progress.lanes and progress.eta_s is not None):
        lines += _lane_lines(progress.lanes, width, room, unix_s, glyphs)
    drawn = [Text.assemble(*line) for line in lines]
    for made in drawn:
        made.truncate(width, overflow="crop")
    if height >= _ROOMY:
        drawn.insert(0, Text())
    return drawn[: max(1, height)]


def _bar_line(progress: Progress, width: int, glyphs: str) -> Line:
    failed = progress.failed + progress.rejected + progress.rejected_before
    percent = math.floor(100 * (progress.done + failed) / progress.jobs) if progress.jobs else 100
    text = f"  {progress.done:,}/{progress.jobs:,}  {percent} %"
    if progress.eta_s is not None and progress.left:
        text += f"  {span(progress.eta_s)} left"
    room = width - text_width(text)
    if room < 8:
        text, room = f" {percent} %", width - 6
    return [*_bar(room, progress.done, failed, progress.jobs, glyphs), (text, "")]


def _bar(width: int, done: int, failed: int, jobs: int, glyphs: str) -> Line:
    """Return a bar of finished, failed and remaining jobs; even a single failure shows."""
    cells = max(0, width)
    bad = min(cells, max(math.floor(cells * failed / jobs), 1)) if failed and jobs else 0
    good = min(cells - bad, math.floor(cells * done / jobs)) if jobs else cells
    parts = ((good, "green"), (bad, "red"), (cells - good - bad, "bright_black"))
    return [(glyph * count, style) for glyph, (count, style) in zip(glyphs, parts, strict=True)]


def _figures(progress: Progress, width: int) -> list[Line]:
    """Return the run's figures, as many on a line as fit."""
    quota = "" if progress.quota_a_minute is None else f" of {progress.quota_a_minute:,.0f}"
    retries = "retry" if progress.retries == 1 else "retries"
    parts = [
        (f"{progress.done:,} done", "green"),
        (f"{progress.failed:,} failed" if progress.failed else "", "red"),
        (f"{progress.rejected:,} rejected" if progress.rejected else "", "red"),
        (f"{progress.left:,} left", ""),
        (f"{progress.in_flight} under way", ""),
        (f"{progress.images_a_minute:,.0f}{quota} images/min", ""),
        (size(progress.bytes) if progress.images else "", ""),
        (_money(progress), ""),
        (f"{progress.retries:,} {retries}" if progress.retries else "", "yellow"),
        (f"{span(progress.elapsed_s)} so far", "dim"),
    ]
    lines: list[Line] = []
    used = 0
    for text, style in parts:
        if not text:
            continue
        if lines and used + 3 + len(text) <= width:
            lines[-1] += [(" · ", "dim"), (text, style)]
            used += 3 + len(text)
        else:
            lines.append([(text, style)])
            used = len(text)
    return lines


def _money(progress: Progress) -> str:
    if progress.expected_usd is None and not progress.spent_usd:
        return "price not known" if progress.unpriced else ""
    lost_usd = progress.possibly_billed_usd
    text = "≥ " if progress.unpriced else ""
    # The estimate has no retries. Adding those that may have been charged would make images look more expensive.
    text += _usd(round((progress.spent_usd or 0.0) - lost_usd, 6))
    text += "" if progress.expected_usd is None else f" of {_usd(progress.expected_usd)}"
    text += " USD of sandbox money" if progress.sandbox else " USD"
    return text + (f", {_usd(lost_usd)} more possibly billed" if lost_usd else "")


def _usd(amount: float) -> str:
    return usd_text(micro_usd(round(amount, 2)))


def _lane_lines(lanes: Sequence[LaneProgress], width: int, room: int, unix_s: float, glyphs: str) -> list[Line]:
    shown, hidden = _busiest(lanes, min(MAX_LANES, room))
    names = [one_line(lane.name) for lane in shown]
    name_width = min(max([0, *map(text_width, names)]), max(8, width // 3))
    counts = [f"{lane.done:,}/{lane.jobs:,}" for lane in shown]
    count_width = max([0, *map(len, counts)])
    lines: list[Line] = []
    for lane, name, count in zip(shown, names, counts, strict=True):
        name = cropped(name, name_width)
        without_image = lane.failed + lane.rejected
        bar = [*_bar(12, lane.done, without_image, lane.jobs, glyphs), ("  ", "")] if width >= _WIDE else []
        under_way = f"{lane.in_flight:3}" if width < _NARROW else f"{lane.in_flight:3} under way"
        lines.append(
            [
                (name + " " * (name_width - text_width(name)) + "  ", ""),
                *bar,
                (f"{count.rjust(count_width)}  {under_way}  ", ""),
                (_mode(lane, unix_s, short=width < _NARROW), _STYLES[lane.mode]),
                (f"  {lane.failed:,} failed" if lane.failed else "", "red"),
                (f"  {lane.rejected:,} rejected" if lane.rejected else "", "red"),
            ]
        )
    if hidden:
        left, sent = sum(lane.left for lane in hidden), sum(lane.in_flight for lane in hidden)
        lines.append([(f"… {len(hidden)} more: {left:,} left, {sent} under way", "dim")])
    return lines


def _busiest(lanes: Sequence[LaneProgress], room: int) -> tuple[list[LaneProgress], list[LaneProgress]]:
    """Split lanes into those with a line of their own and the rest, both in the order of the jobs file."""
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
        return "closed"
    wait = span(math.ceil(lane.until_s))
    if lane.mode is LaneMode.HELD:  # good answers to requests under way shorten it
        return f"held ≤ {wait}" if short else f"held back up to {wait} after failures"
    if short:
        return f"{lane.mode} {wait}"
    if lane.mode is LaneMode.WINDOW:
        return f"next window in {wait}"
    return f"gate until {datetime.fromtimestamp(unix_s + lane.until_s):%H:%M:%S}, {wait}"
