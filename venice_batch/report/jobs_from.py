"""Jobs from the records of a manifest: choose records, change fields, write jobs again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

from venice_batch.errors import Findings
from venice_batch.jobfile import Defaults, oversize, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from venice_batch.errors import Problem
    from venice_batch.model import Job, Outcome


@dataclass(frozen=True, slots=True)
class Choice:
    """Which records to take: those that meet every condition; an empty condition is always met.

    A record meets `statuses`, `flags` or `models` if it has any one of them. Its id must match a pattern of `ids`, in
    which `*`, `?` and `[…]` work as in a shell, or be one of `listed`.
    """

    statuses: frozenset[str] = frozenset()
    flags: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    ids: tuple[str, ...] = ()
    listed: frozenset[str] = frozenset()
    _met: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def takes(self, outcome: Outcome) -> bool:
        """Return whether to take a record."""
        return (
            self._names(outcome.id)
            and (not self.statuses or outcome.status in self.statuses)
            and (not self.flags or any(map(outcome.flags.has, self.flags)))
            and (not self.models or outcome.lane in self.models)
        )

    @property
    def unmet(self) -> list[str]:
        """The ids, then the patterns, that no record has matched so far, whatever the other conditions."""
        return [*sorted(self.listed - self._met), *(pattern for pattern in self.ids if pattern not in self._met)]

    def _names(self, job_id: str) -> bool:
        if not self.ids and not self.listed:
            return True
        # An id may contain characters that have a meaning in a pattern.
        found = [pattern for pattern in self.ids if pattern == job_id or fnmatchcase(job_id, pattern)]
        if job_id in self.listed:
            found.append(job_id)
        self._met.update(found)
        return bool(found)


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes to every job: `values` replace or add fields, `without` names fields to leave out.

    `suffix` is added to the id, so that the new job stands beside the old one.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    suffix: str = ""

    def apply(self, outcome: Outcome) -> dict[str, Any]:
        """Return the native line of a record's job, unchecked.

        `return_binary: true` is left out: it is how a run sends the request, and `variants` could not stand beside it.
        """
        request = {name: value for name, value in outcome.request.items() if name not in self.without}
        if request.get("return_binary") is True:
            del request["return_binary"]
        line = {"id": outcome.id + self.suffix, "endpoint": outcome.endpoint, **request, **self.values}
        return line if outcome.metadata is None else {**line, "metadata": outcome.metadata}


def jobs_of(
    records: Iterable[tuple[int, Outcome]],
    *,
    choice: Choice,
    changes: Changes,
    source: str,
    allow_unknown: bool = False,
) -> Iterator[Job]:
    """Yield the job of every chosen record, with the changes.

    Without changes a job keeps its id and hash. `records` are pairs of line number in the manifest `source` and record.
    `allow_unknown` accepts fields and values that this version does not know.

    Raises:
        JobsFileError: at the end, if a change made jobs invalid; it names them all by the lines of their records.
    """
    findings = Findings()
    defaults = Defaults(allow_unknown=allow_unknown)
    for number, outcome in records:
        if not choice.takes(outcome):
            continue
        line = msgspec.json.encode(changes.apply(outcome))
        parsed = parse(line, number=number, first_index=0, defaults=defaults, source=source)
        findings.extend(_blame(problem, changes) for problem in parsed.problems)
        for job in parsed.jobs:
            for name, what in oversize(job):
                findings.add(number, name, what, source)
            yield job
    findings.raise_any()


def _blame(problem: Problem, changes: Changes) -> Problem:
    """Return the problem; its text names the option that caused it, if one did."""
    if problem.field in changes.values:
        return replace(problem, what=f"{problem.what} (from --set)")
    if problem.field in changes.without:
        return replace(problem, what=f"{problem.what} (from --unset)")
    return problem
