"""What a pipeline is to think of a job's outcome."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from venice_batch.model import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from venice_batch.jobfile import JobIndex
    from venice_batch.model import Outcome, Summary
    from venice_batch.output.standing import Standing


class FailureText(NamedTuple):
    """Why a job does not pass; `kind` is `failed`, `rejected` or the flag that it has."""

    kind: str
    message: str


def complaint(outcome: Outcome, fail_on: Collection[str]) -> FailureText | None:
    """What is wrong with `outcome`; None if nothing is. An image is wrong if it has one of the flags `fail_on`."""
    if outcome.status is not Status.SUCCEEDED:
        error = outcome.error
        return FailureText(str(outcome.status), f"{error.kind}: {error.message}" if error else "no reason is recorded")
    flag = next((flag for flag in sorted(fail_on) if outcome.flags.has(flag)), None)
    if flag is None:
        return None
    paths = ", ".join(file.path for file in outcome.files)
    return FailureText(flag, f"the API has marked the image as {flag.replace('_', ' ')}: {paths}")


_ELEMENTS = {"failed": "error"}
"""By kind of complaint; all others are failures: what was asked for is at fault, not how it went."""

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What may not stand in XML 1.0, not even escaped."""


def junit(
    index: JobIndex, standing: Standing, summary: Summary, *, source: str, fail_on: Collection[str] = ()
) -> Iterator[bytes]:
    """The document, piece by piece: a test case for each job of the file.

    A rejected job, and one whose image has a flag of `fail_on`, is a failure, a failed one an error, a pending one
    skipped. What earlier runs have made counts, with the time that it took then. `source` is the jobs file's name.

    Raises:
        FolderError: the manifest cannot be read.
        JobsFileError: the jobs file has changed since it was read, and has pending jobs.
    """
    settled = bytearray(len(index))
    kinds: Counter[str] = Counter()
    for place, outcome in standing.outcomes():
        settled[place] = True
        if found := complaint(outcome, fail_on):
            kinds[_ELEMENTS.get(found.kind, "failure")] += 1
    counts = {
        "tests": len(index),
        "failures": kinds["failure"],
        "errors": kinds["error"],
        "skipped": len(index) - settled.count(True),
        "time": f"{summary.elapsed_s:.3f}",
    }
    numbers = "".join(f' {name}="{value}"' for name, value in counts.items())
    yield b'<?xml version="1.0" encoding="UTF-8"?>\n'
    head = f"name={_quoted(source)}{numbers} timestamp={_quoted(summary.started_at.removesuffix('Z'))}"
    yield f"<testsuites{numbers}>\n<testsuite {head}>\n".encode()
    for _, outcome in standing.outcomes():
        case = _case(outcome.id, outcome.lane, source, outcome.timing.total_s)
        found = complaint(outcome, fail_on)
        if found is None:
            yield f"{case}/>\n".encode()
            continue
        element = _ELEMENTS.get(found.kind, "failure")
        told = f"type={_quoted(found.kind)} message={_quoted(found.message)}"
        attempts = "\n".join(f"{attempt.status}: {attempt.error}" for attempt in outcome.attempts if attempt.error)
        yield f"{case}>\n<{element} {told}>{escape(_clean(attempts))}</{element}>\n</testcase>\n".encode()
    reason = _quoted(summary.reason or "not done yet")
    for lane in range(len(index.lanes)):
        for job in index.pending(lane, lambda place: bool(settled[place])):
            yield f"{_case(job.id, job.model, source, 0)}>\n<skipped message={reason}/>\n</testcase>\n".encode()
    yield b"</testsuite>\n</testsuites>\n"


def _case(job_id: str, model: str, source: str, time_s: float) -> str:
    names = f"name={_quoted(job_id)} classname={_quoted(model)} file={_quoted(source)}"
    return f'<testcase {names} time="{time_s:.3f}"'


def _quoted(text: str) -> str:
    return quoteattr(_clean(text))


def _clean(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
