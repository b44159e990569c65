"""A run as JUnit XML, for continuous integration."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from venice_batch.report.collect import KNOWN, Collector, FailOn, Spool, failure_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from venice_batch.jobfile import JobIndex
    from venice_batch.model import Outcome, Summary

_ELEMENTS = {"failed": "error", KNOWN: "skipped"}
"""The element for a kind of failure. All other kinds are a `failure`: the request itself is at fault."""

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped."""


class JUnit(Collector):
    """The document, with a test case for each job of the file.

    A rejected job is a failure, and so is a job whose image `fail_on` names. A failed job is an error. A
    pending job is skipped, and so is one that was rejected in an earlier run if `known_rejected_ok`. Images of earlier
    runs count, with the time they took then. `source` is the name of the jobs file. The test cases wait in a temporary
    file, because their counts come first; memory grows by a byte a job.
    """

    def __init__(
        self, index: JobIndex, *, source: str, fail_on: FailOn | Collection[str] = (), known_rejected_ok: bool = False
    ) -> None:
        super().__init__()
        self._known_rejected_ok = known_rejected_ok
        self._index = index
        self._source = source
        self._fail_on = FailOn.of(fail_on)
        self._settled = bytearray(len(index))
        self._elements: Counter[str] = Counter()
        self._cases = Spool()

    def add(self, place: int | None, outcome: Outcome) -> None:
        if place is None:
            return
        self._settled[place] = True
        case = self._case(outcome.id, outcome.lane, self._index.line(place), outcome.timing.total_s)
        failure = failure_text(outcome, self._fail_on, new_in=self.run_id if self._known_rejected_ok else None)
        if failure is None:
            self._cases.write(f"{case}/>\n".encode())
            return
        element = _ELEMENTS.get(failure.kind, "failure")
        self._elements[element] += 1
        if element == "skipped":  # the only element without a type
            attributes = f"message={_quoted(f'{failure.kind}: {failure.message}')}"
        else:
            attributes = f"type={_quoted(failure.kind)} message={_quoted(failure.message)}"
        attempts = "\n".join(f"{attempt.status}: {attempt.error}" for attempt in outcome.attempts if attempt.error)
        text = f"{case}>\n<{element} {attributes}>{escape(_clean(attempts))}</{element}>\n</testcase>\n"
        self._cases.write(text.encode())

    def pieces(self, summary: Summary) -> Iterator[bytes]:
        """Yield the document piece by piece, once.

        Raises:
            JobsFileError: the jobs file has changed since it was read, and has pending jobs.
        """
        counts = {
            "tests": len(self._index),
            "failures": self._elements["failure"],
            "errors": self._elements["error"],
            "skipped": self._elements["skipped"] + len(self._index) - self._settled.count(True),
            "time": f"{summary.elapsed_s:.3f}",
        }
        numbers = "".join(f' {name}="{value}"' for name, value in counts.items())
        yield b'<?xml version="1.0" encoding="UTF-8"?>\n'
        head = f"name={_quoted(self._source)}{numbers} timestamp={_quoted(summary.started_at.removesuffix('Z'))}"
        yield f"<testsuites{numbers}>\n<testsuite {head}>\n".encode()
        yield from self._cases.drain()
        reason = _quoted(summary.reason or "not done yet")
        for lane in range(len(self._index.lanes)):
            for job in self._index.pending(lane, lambda place: bool(self._settled[place])):
                case = self._case(job.id, job.model, job.line, 0)
                yield f"{case}>\n<skipped message={reason}/>\n</testcase>\n".encode()
        yield b"</testsuite>\n</testsuites>\n"

    def _case(self, job_id: str, model: str, line: int, time_s: float) -> str:
        file = self._index.places.file(self._source, line)
        names = f"name={_quoted(job_id)} classname={_quoted(model)} file={_quoted(file)}"
        return f'<testcase {names} time="{time_s:.3f}"'


def _quoted(text: str) -> str:
    return quoteattr(_clean(text))


def _clean(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
