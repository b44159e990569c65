"""Annotations and step summaries of GitHub Actions."""

from __future__ import annotations

import heapq
import os
from itertools import islice
from typing import TYPE_CHECKING

from venice_batch.errors import one_line
from venice_batch.money import cost_text
from venice_batch.report.junit import complaint

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from venice_batch.errors import Problem
    from venice_batch.jobfile import JobIndex
    from venice_batch.model import Summary
    from venice_batch.output.standing import Standing
    from venice_batch.report.junit import FailureText


MOST = 10
"""Annotations that GitHub shows of one step, of each level."""

_MOST_ROWS = 50
_MOST_TEXT = 300
"""So that a summary stays far below the megabyte that GitHub takes."""


def of_problems(problems: Iterable[Problem], environment: Mapping[str, str]) -> Iterator[str]:
    """A line for each of the first mistakes of a jobs file."""
    for problem in islice(problems, MOST):
        what = f"{problem.field}: {problem.what}" if problem.field else problem.what
        yield _error(problem.source, problem.line, "invalid job", what, environment)


def of_jobs(
    index: JobIndex, standing: Standing, *, source: str, fail_on: Collection[str], environment: Mapping[str, str]
) -> Iterator[str]:
    """A line for each of the first jobs of the file that do not pass (`complaint`)."""
    for place, job_id, found in _wrong(standing, fail_on, MOST):
        yield _error(source, index.line(place), f"{job_id}: {found.kind}", found.message, environment)


def step_summary(
    index: JobIndex, standing: Standing, summary: Summary, *, source: str, fail_on: Collection[str]
) -> Iterator[str]:
    """The run as Markdown, for the page of the workflow's run."""
    done = summary.succeeded + summary.already_done
    yield f"### {_cell(source)}: {done} of {summary.jobs} jobs done\n\n"
    if summary.reason:
        yield f"Stopped: {_cell(summary.reason)}\n\n"
    if summary.lanes:
        yield "| model | succeeded | failed | rejected | images | requests |\n|---|--:|--:|--:|--:|--:|\n"
    for name, lane in summary.lanes.items():
        numbers = (lane.succeeded, lane.failed, lane.rejected, lane.images, lane.attempts)
        yield f"| {_cell(name)} | {' | '.join(map(str, numbers))} |\n"
    told = [f"{summary.already_done} done before", f"{summary.pending} pending", f"{summary.elapsed_s:.1f} s"]
    if cost := cost_text(summary.cost_usd, summary.unpriced, sandbox_usd=summary.sandbox_usd):
        told.append(cost)
    yield f"\n{', '.join(told)}; exit code {summary.exit_code}\n\n"
    wrong = _wrong(standing, fail_on, _MOST_ROWS + 1)
    if not wrong:
        return
    yield "| line | job | what |\n|--:|---|---|\n"
    for place, job_id, found in wrong[:_MOST_ROWS]:
        yield f"| {index.line(place)} | {_cell(job_id)} | {found.kind}: {_cell(found.message)} |\n"
    yield "\n… and more\n\n" if len(wrong) > _MOST_ROWS else "\n"


def _wrong(standing: Standing, fail_on: Collection[str], most: int) -> list[tuple[int, str, FailureText]]:
    """The first jobs of the file that do not pass: place, id and why."""
    wrong = (
        (place, outcome.id, found) for place, outcome in standing.outcomes() if (found := complaint(outcome, fail_on))
    )
    return heapq.nsmallest(most, wrong)


def _error(source: str, line: int, title: str, message: str, environment: Mapping[str, str]) -> str:
    """A workflow command (GitHub's "Workflow commands", Setting an error message)."""
    place = {"file": _in_workspace(source, environment.get("GITHUB_WORKSPACE"))}
    if line:
        place["line"] = str(line)
    properties = ",".join(f"{name}={_property(value)}" for name, value in {**place, "title": title}.items())
    return f"::error {properties}::{_data(one_line(message))}"


def _in_workspace(source: str, workspace: str | None) -> str:
    """The file as the repository has it, whatever folder the step works in."""
    if not workspace:
        return source
    relative = os.path.relpath(source, workspace)
    return source if relative.startswith("..") else relative


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(one_line(text)).replace(":", "%3A").replace(",", "%2C")


def _cell(text: str) -> str:
    """`text` as it is, in a table: no markup, no link, no new column."""
    text = one_line(text)
    text = text if len(text) <= _MOST_TEXT else text[:_MOST_TEXT] + "…"
    for char in "\\`*_{}[]()#+-!|~":
        text = text.replace(char, "\\" + char)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
