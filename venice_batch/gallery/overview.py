"""The page's words and figures about the whole folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jinja2.filters import do_filesizeformat

from venice_batch.model import Status
from venice_batch.money import cost_text, dollars
from venice_batch.report.summary import Histogram
from venice_batch.text_format import counted, duration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from venice_batch.gallery.timeline import Timeline
    from venice_batch.model import ImageFile, Outcome
    from venice_batch.report.tables import Report

COLOURS = 8
"""Colours for models; all further models share the last one."""


@dataclass(slots=True)
class Contents:
    """Counts of the records that the report does not have, and all image files.

    Jobs without a certain cost are either `possibly_billed` (perhaps charged without an image) or `unpriced` (their
    price is not known); `priced_images` are the images of all other jobs. `latencies` holds the durations of successful
    attempts, by model.
    """

    jobs: int = 0
    sandboxed: int = 0
    unpriced: int = 0
    possibly_billed: int = 0
    priced_images: int = 0
    files: list[ImageFile] = field(default_factory=list)
    latencies: dict[str, Histogram] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count one job."""
        self.jobs += 1
        self.sandboxed += outcome.sandbox
        if outcome.cost_usd is not None:
            self.priced_images += len(outcome.files)
        elif outcome.flags.possibly_billed:
            self.possibly_billed += 1
        else:
            self.unpriced += 1
        self.files += outcome.files
        latencies = self.latencies.setdefault(outcome.lane, Histogram())
        if outcome.status is Status.SUCCEEDED and outcome.attempts:
            latencies.add(outcome.attempts[-1].duration_s)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number at the head of the page, with its name and a remark."""

    name: str
    value: str
    note: str = ""

    @property
    def parts(self) -> tuple[str, str]:
        """Return the value as its number with the unit, and the words that follow: "2.40 USD", "of sandbox money"."""
        number, unit, words = self.value.partition(" USD")
        return number + unit, words.removeprefix(",").strip()


def figures(found: Report, held: Contents, history: Timeline) -> list[Figure]:
    """Return the numbers at the head of the page."""
    sums: Counter[str] = Counter()
    for lane in found.lanes.values():
        names = ("succeeded", "failed", "rejected", "images", "bytes", "attempts", "retries", "refused")
        sums.update({name: getattr(lane, name) for name in names})
    without = [f"{sums[name]:,} {name}" for name in ("failed", "rejected") if sums[name]]
    return [
        Figure("Images", f"{sums['images']:,}", do_filesizeformat(sums["bytes"])),
        Figure("Jobs", f"{held.jobs:,}", ", ".join(without) or "all succeeded"),
        Figure("Cost", _cost(found) or "–", _cost_note(held, known=found.cost_usd is not None)),
        Figure("Time", duration(history.length_s), f"in {counted(len(history.runs), 'run', grouped=True)}"),
        Figure("A job took", duration(found.total_s.p50), f"95 % within {duration(found.total_s.p95)}"),
        Figure("Requests", f"{sums['attempts']:,}", _requests_note(sums["refused"], sums["retries"])),
    ]


def _cost(found: Report) -> str:
    return cost_text(found.cost_usd, found.unpriced, sandbox_usd=found.sandbox_usd)


def _cost_note(held: Contents, *, known: bool) -> str:
    if held.possibly_billed:
        more = f", {held.unpriced:,} of unknown price" if held.unpriced else ""
        return f"{counted(held.possibly_billed, 'job', grouped=True)} possibly billed{more}"
    if not known:
        return "prices not known"
    if held.unpriced:
        return f"and {counted(held.unpriced, 'job', grouped=True)} of unknown price"
    return "no real money was spent" if held.jobs and held.sandboxed == held.jobs else "by the published prices"


def _requests_note(refused: int, retries: int) -> str:
    parts = [f"{refused:,} answered with 429"] if refused else []
    parts += [counted(retries, "retry", "retries", grouped=True)] if retries else []
    return ", ".join(parts) or "no 429, none repeated"


def progress_text(history: Timeline, held: Contents) -> str:
    """Describe the chart of images over time in a sentence or two."""
    images = counted(len(held.files), "image", grouped=True)
    runs = f" over {len(history.runs):,} runs, without the time between them" if len(history.runs) > 1 else ""
    parts = [f"{images} in {duration(history.length_s)} of work{runs}."]
    if history.refusals:
        were = "was" if len(history.refusals) == 1 else "were"
        parts.append(f"{counted(len(history.refusals), 'request', grouped=True)} {were} asked to wait.")
    if history.retries:
        were = "was" if len(history.retries) == 1 else "were"
        parts.append(f"{counted(len(history.retries), 'request', grouped=True)} failed and {were} repeated.")
    return " ".join(parts)


def cost_sentence(found: Report, held: Contents) -> str:
    """Describe the chart of costs in a sentence."""
    cost, each = found.cost_usd, ""
    if cost and held.priced_images and not held.possibly_billed:
        each = f", {dollars(cost / held.priced_images)} an image"
    return f"{_cost(found)}, {_cost_note(held, known=True)}{each}."


def colours(lanes: Iterable[str]) -> dict[str, int]:
    """Return the number of each model's colour, the same in all charts."""
    return {name: min(number, COLOURS - 1) for number, name in enumerate(lanes)}
