"""Annotations and step summaries of GitHub Actions."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from venice_batch.errors import Problem, one_line
from venice_batch.money import cost_text
from venice_batch.report.collect import KNOWN, Collector, FailOn, FailureText, failure_text
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from venice_batch.jobfile import JobIndex
    from venice_batch.model import Outcome, Summary

MOST = 10
"""Annotations of each level that GitHub shows for one step."""

_MOST_ROWS = 50
_MOST_TEXT = 300
"""Rows and characters a cell, so that a summary stays far below the megabyte that GitHub accepts."""


class JobFailure(NamedTuple):
    """A job without a good image: its place in the jobs file, its id and why."""

    place: int
    job_id: str
    text: FailureText


class FirstFailures(Collector):
    """The first jobs of the file without a good image (`failure_text`), as many as a step summary shows and one more.

    Jobs that were rejected in an earlier run come last if `known_rejected_ok`.
    """

    def __init__(self, fail_on: FailOn | Collection[str], *, known_rejected_ok: bool = False) -> None:
        super().__init__()
        self._fail_on = FailOn.of(fail_on)
        self._known_rejected_ok = known_rejected_ok
        self._heap: list[tuple[bool, int, JobFailure]] = []

    def add(self, place: int | None, outcome: Outcome) -> None:
        new_in = self.run_id if self._known_rejected_ok else None
        if place is None or (text := failure_text(outcome, self._fail_on, new_in=new_in)) is None:
            return
        # The last one is at the top of the heap, to be replaced by an earlier one.
        entry = (text.kind != KNOWN, -place, JobFailure(place, outcome.id, text))
        if len(self._heap) <= _MOST_ROWS:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def in_order(self) -> list[JobFailure]:
        """Return them in the order of the jobs file, those that pass last."""
        return [failure for _, _, failure in sorted(self._heap, reverse=True)]


def problem_annotations(
    problems: Iterable[Problem], environment: Mapping[str, str], title: str = "invalid job"
) -> Iterator[str]:
    """Yield a line for each of the first `MOST` mistakes in a jobs file."""
    for problem in islice(problems, MOST):
        what = f"{problem.field}: {problem.what}" if problem.field else problem.what
        yield _annotation("error", problem, title, what, environment)


def job_annotations(
    index: JobIndex, failures: FirstFailures, *, source: str, environment: Mapping[str, str]
) -> Iterator[str]:
    """Yield a line for each of the first `MOST` jobs of the file that do not pass, and a notice for those that do."""
    shown: Counter[str] = Counter()
    for place, job_id, text in failures.in_order():
        level = "notice" if text.kind == KNOWN else "error"
        shown[level] += 1
        if shown[level] <= MOST:
            title = f"{job_id}: {text.kind}"
            found = index.places.located(Problem(source, index.line(place), "", text.message))
            yield _annotation(level, found, title, text.message, environment)


def step_summary(index: JobIndex, failures: FirstFailures, summary: Summary, *, source: str) -> Iterator[str]:
    """Yield the run as Markdown, for the page of the workflow's run."""
    done = summary.succeeded + summary.already_done
    yield f"### {_cell(source)}: {done} of {summary.jobs} jobs done\n\n"
    if summary.reason:
        yield f"Stopped: {_cell(summary.reason)}\n\n"
    if summary.lanes:
        yield "| model | succeeded | failed | rejected | images | requests |\n|---|--:|--:|--:|--:|--:|\n"
    for name, lane in summary.lanes.items():
        numbers = (lane.succeeded, lane.failed, lane.rejected, lane.images, lane.attempts)
        yield f"| {_cell(name)} | {' | '.join(map(str, numbers))} |\n"
    parts = [f"{summary.already_done} done before", f"{summary.pending} pending", f"{summary.elapsed_s:.1f} s"]
    if summary.reused:
        parts.insert(1, f"{summary.reused} reused")
    if cost := cost_text(summary.cost_usd, summary.unpriced, sandbox_usd=summary.sandbox_usd):
        parts.append(cost)
    yield f"\n{', '.join(parts)}; exit code {summary.exit_code}\n\n"
    for reason in summary.waiting:
        yield f"{counted(reason.count, 'job')} {_cell(reason.message)}\n\n"
    found = failures.in_order()
    if not found:
        return
    yield f"| {index.places.noun} | job | what |\n|--:|---|---|\n"
    for place, job_id, text in found[:_MOST_ROWS]:
        where = _cell(index.places.name(index.line(place)))
        yield f"| {where} | {_cell(job_id)} | {text.kind}: {_cell(text.message)} |\n"
    yield "\n… and more\n\n" if len(found) > _MOST_ROWS else "\n"


def _annotation(level: str, at: Problem, title: str, message: str, environment: Mapping[str, str]) -> str:
    """Return a workflow command at the problem's place (GitHub's "Workflow commands", Setting an error message)."""
    place = {"file": _in_workspace(at.source, environment.get("GITHUB_WORKSPACE"))}
    if at.line and at.noun == "line":
        place["line"] = str(at.line)
    elif at.line:
        message = f"{at.noun} {at.line}: {message}"
    properties = ",".join(f"{name}={_property(value)}" for name, value in {**place, "title": title}.items())
    return f"::{level} {properties}::{_data(one_line(message))}"


def _in_workspace(source: str, workspace: str | None) -> str:
    """Return the file's path within the repository, whatever folder the step works in."""
    if not workspace:
        return source
    relative = os.path.relpath(source, workspace)
    return source if relative.startswith("..") else relative


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(one_line(text)).replace(":", "%3A").replace(",", "%2C")


def _cell(text: str) -> str:
    """Return `text` for a table's cell, where it makes no markup, no link and no new column."""
    text = one_line(text)
    text = text if len(text) <= _MOST_TEXT else text[:_MOST_TEXT] + "…"
    for char in "\\`*_{}[]()#+-!|~":
        text = text.replace(char, "\\" + char)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
