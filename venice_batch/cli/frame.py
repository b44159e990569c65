"""The lines of the live display, drawn from a run's progress."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING

from rich.text import Text

from venice_batch.cli.text import cropped, text_width
from venice_batch.errors import one_line
from venice_batch.money import micro_usd, usd_text
from venice_batch.report.progress import LaneMode
from venice_batch.text_format import size, span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from venice_batch.report.progress import LaneProgress, Progress

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
