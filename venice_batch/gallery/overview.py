"""What the page says of the whole folder, in words and figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jinja2.filters import do_filesizeformat

from venice_batch.gallery.scales import count, duration, usd
from venice_batch.model import Status
from venice_batch.money import cost_text
from venice_batch.report.summary import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

    from venice_batch.gallery.timeline import Timeline
    from venice_batch.model import ImageFile, Outcome
    from venice_batch.report.tables import Report

COLOURS = 8
"""Colours for models; from the last one's on they share it."""


@dataclass(slots=True)
class Contents:
    """What is counted of records besides the report: what there is to show and to choose from.

    Of the jobs whose cost is not sure `possibly_billed` ones may have been charged without an image, and `unpriced`
    ones have no known price; `priced_images` are all others'.
    `latencies` are of successful attempts, by model.
    """

    jobs: int = 0
    sandboxed: int = 0
    unpriced: int = 0
    possibly_billed: int = 0
    priced_images: int = 0
    files: list[ImageFile] = field(default_factory=list)
    latencies: dict[str, Histogram] = field(default_factory=dict)


def contents(outcomes: Iterable[Outcome]) -> Contents:
    """Count `outcomes`."""
    found = Contents()
    for outcome in outcomes:
        found.jobs += 1
        found.sandboxed += outcome.sandbox
        if outcome.cost_usd is not None:
            found.priced_images += len(outcome.files)
        elif outcome.flags.possibly_billed:
            found.possibly_billed += 1
        else:
            found.unpriced += 1
        found.files += outcome.files
        latencies = found.latencies.setdefault(outcome.lane, Histogram())
        if outcome.status is Status.SUCCEEDED and outcome.attempts:
            latencies.add(outcome.attempts[-1].duration_s)
    return found


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the page's head, with what it is and what else there is to say."""

    name: str
    value: str
    note: str = ""


def figures(found: Report, held: Contents, history: Timeline) -> list[Figure]:
    """The numbers that stand at the head of the page."""
    sums: Counter[str] = Counter()
    for lane in found.lanes.values():
        names = ("succeeded", "failed", "rejected", "images", "bytes", "attempts", "retries", "refused")
        sums.update({name: getattr(lane, name) for name in names})
    without = [f"{sums[name]:,} {name}" for name in ("failed", "rejected") if sums[name]]
    return [
        Figure("Images", f"{sums['images']:,}", do_filesizeformat(sums["bytes"])),
        Figure("Jobs", f"{held.jobs:,}", ", ".join(without) or "all succeeded"),
        Figure("Cost", _cost(found) or "–", _cost_note(held, known=found.cost_usd is not None)),
        Figure("Time", duration(history.length_s), f"in {count(len(history.runs), 'run')}"),
        Figure("A job took", duration(found.total_s.p50), f"95 % within {duration(found.total_s.p95)}"),
        Figure("Requests", f"{sums['attempts']:,}", _requests_note(sums["refused"], sums["retries"])),
    ]


def _cost(found: Report) -> str:
    """The cost in the words that the run and its report have for it."""
    return cost_text(found.cost_usd, found.unpriced, sandbox_usd=found.sandbox_usd)


def _cost_note(held: Contents, *, known: bool) -> str:
    if held.possibly_billed:
        more = f", {held.unpriced:,} of unknown price" if held.unpriced else ""
        return f"{count(held.possibly_billed, 'job')} possibly billed{more}"
    if not known:
        return "prices not known"
    if held.unpriced:
        return f"and {count(held.unpriced, 'job')} of unknown price"
    return "no real money was spent" if held.jobs and held.sandboxed == held.jobs else "by the published prices"


def _requests_note(refused: int, retries: int) -> str:
    parts = [f"{refused:,} refused"] if refused else []
    parts += [count(retries, "retry", "retries")] if retries else []
    return ", ".join(parts) or "none refused or repeated"


def progress_text(history: Timeline, held: Contents) -> str:
    """What the chart of images over time shows, in a sentence or two."""
    came = count(len(held.files), "image")
    runs = f" over {len(history.runs):,} runs, without the time between them" if len(history.runs) > 1 else ""
    parts = [f"{came} in {duration(history.length_s)} of work{runs}."]
    if history.refusals:
        parts.append(f"The server refused {count(len(history.refusals), 'request')} for now.")
    if history.retries:
        were = "was" if len(history.retries) == 1 else "were"
        parts.append(f"{count(len(history.retries), 'request')} failed and {were} made again.")
    return " ".join(parts)


def cost_sentence(found: Report, held: Contents) -> str:
    """What the chart of costs shows, in a sentence."""
    cost, each = found.cost_usd, ""
    if cost and held.priced_images and not held.possibly_billed:
        each = f", {usd(cost / held.priced_images)} an image"
    return f"{_cost(found)}, {_cost_note(held, known=True)}{each}."


def colours(lanes: Iterable[str]) -> dict[str, int]:
    """A colour's number for each model, the same in all charts."""
    return {name: min(number, COLOURS - 1) for number, name in enumerate(lanes)}
