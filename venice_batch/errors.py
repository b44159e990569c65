"""The exceptions that venice-batch raises, and the exit codes of the command.

An exception stops the run. A job that fails, is rejected or comes back blurred is a value instead, an `Outcome`. Every
exception has an `exit_code`, which scripts rely on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from venice_batch.mistakes import Mistake, kind_of, told_once

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


class ExitCode(IntEnum):
    """The exit codes of the command; scripts rely on these numbers."""

    OK = 0
    SOME_FAILED = 1
    INVALID = 2
    KEY_REFUSED = 3
    OUT_OF_MONEY = 4
    FOLDER_UNUSABLE = 5
    TEMPORARY = 75
    SIGINT = 130
    SIGTERM = 143

    @property
    def meaning(self) -> str:
        """Return the code's meaning in a few words."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "every job has succeeded, now or in an earlier run, or was rejected before (`--known-rejected ok`)",
    ExitCode.SOME_FAILED: "the run finished; some jobs failed, were rejected or meet `--fail-on`",
    ExitCode.INVALID: "usage, settings or jobs file invalid, or not as approved (`--frozen`): nothing was sent",
    ExitCode.KEY_REFUSED: "the API key was refused",
    ExitCode.OUT_OF_MONEY: (
        "out of money: the balance is below the next job's price, 402, `--max-cost` or `--max-cost-per` reached"
    ),
    ExitCode.FOLDER_UNUSABLE: (
        "the output folder or the budget file cannot be used: locked by another run, not writable, disk full"
    ),
    ExitCode.TEMPORARY: (
        "stopped with jobs pending (`--max-time`, `--max-failures`, API unreachable, no image picked yet): run it again"
    ),
    ExitCode.SIGINT: "stopped by SIGINT after requests in flight had finished",
    ExitCode.SIGTERM: "stopped by SIGTERM or SIGHUP after requests in flight had finished",
}


class VeniceBatchError(Exception):
    """Base of every exception that the package raises on purpose; `str()` is one line for the user."""

    exit_code: ExitCode = ExitCode.INVALID


class UsageError(VeniceBatchError):
    """An option or setting is invalid."""


class EmbedError(VeniceBatchError):
    """An image cannot hold its recipe: its format has no place for one, or the file is damaged."""


_COMMAND = re.compile(r"^(\s*):(?=:)|#(?=#(?:vso)?\[)", re.IGNORECASE)
"""How commands to a CI runner begin: GitHub's `::name::` at a line's start and `##[name]`, Azure's `##vso[name]`.

Sources: GitHub's "Workflow commands for GitHub Actions"; Azure's "Logging commands", which are read anywhere in a line.
"""


def one_line(text: str) -> str:
    """Return `text` with control characters replaced, and a space in everything that a CI runner takes for a command.

    Neither a terminal nor a runner may act on text from a server or a file.
    """
    if not text.isprintable():
        text = "".join(char if char.isprintable() else "\ufffd" for char in text)
    return _COMMAND.sub(lambda found: found[0] + " ", text) if "::" in text or "##" in text else text


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a jobs file: its place, the mistake and a value that works.

    `line` counts from 1; 0 means the file as a whole. `field` is "" if the mistake is not in a field. `noun` is what
    `line` counts in a file whose jobs are not on lines of their own, such as "row".
    """

    source: str
    line: int
    field: str
    what: str
    noun: str = "line"

    @property
    def mistake(self) -> Mistake:
        """Return what equal problems on different lines have in common."""
        return self.source, self.field, self.what

    def __str__(self) -> str:
        where = self.source
        if self.line:
            where += f":{self.line}" if self.noun == "line" else f": {self.noun} {self.line}"
        return one_line(f"{where}: {self.field}: {self.what}" if self.field else f"{where}: {self.what}")


class Locator(Protocol):
    """Says where a person finds the job with a number (`jobfile.rewritten.Places`)."""

    @property
    def noun(self) -> str:
        """What the numbers count."""

    def name(self, number: int) -> str:
        """Return a place in a list of places."""

    def located(self, problem: Problem) -> Problem:
        """Return the problem with its place."""


class JobsFileError(VeniceBatchError):
    """The jobs file has mistakes; nothing was sent.

    `problems` holds the first mistakes in the order of the file; `total` counts all of them. `distinct` holds each
    different one of `problems` once; its text names the other lines that have it. Of many that differ in values alone
    it holds the first. They cover `covered` of the `total`. `columns` are names in the file that are no fields.
    `undone` completes "nothing was …" in the message: "sent", or "written" where jobs would have gone into a file.
    `noun` is what the message counts, `title` the heading of annotations.
    """

    undone = "sent"
    noun = "problem"
    title = "invalid job"

    def __init__(
        self,
        problems: Sequence[Problem],
        total: int | None = None,
        *,
        counts: Mapping[Mistake, int] | None = None,
        on_lines: Mapping[Mistake, int] | None = None,
        lines: int = 0,
        places: Locator | None = None,
        columns: Iterable[str] = (),
    ) -> None:
        """Take the first problems of a file that has `lines` lines, 0 if that is not known.

        `counts` holds how often the whole file has each mistake, and each kind; one that it lacks is counted in
        `problems`. `on_lines` holds on how many lines it has a mistake. `places` says where the jobs are if their
        numbers are not those of lines.
        """
        self.problems = tuple(problems)
        self.total = len(self.problems) if total is None else total
        self.columns = tuple(columns)
        told, self.covered = told_once(self.problems, counts or {}, lines, places, on_lines)
        self.distinct = tuple(replace(first, field=field, what=what) for first, field, what in told)
        if places is not None:
            self.problems = tuple(map(places.located, self.problems))
            self.distinct = tuple(map(places.located, self.distinct))
        super().__init__("\n".join(map(str, self.distinct)))


class NotApprovedError(JobsFileError):
    """Prices, models or limits are not as approved in the file of `--frozen`; nothing was sent.

    `problems` holds the differences, each with the model as its field. `remedy` says what to do.
    """

    noun = "difference"
    title = "not as approved"

    def __init__(self, problems: Sequence[Problem], remedy: str) -> None:
        super().__init__(problems)
        self.undone = one_line(f"sent; {remedy}")


MAX_PROBLEMS = 1000
"""Problems of one jobs file that are kept and shown; all of them are counted."""


class Findings:
    """Collect a file's problems in any order; keep the `keep` that come first in the file.

    Memory is bounded by `keep`, however many problems there are; `total` counts all of them. `lines` is the number of
    the file's lines; set it as soon as it is known. `columns` collects names in the file that are no fields.
    """

    def __init__(self, keep: int = MAX_PROBLEMS) -> None:
        self.keep = keep
        self.total = 0
        self.lines = 0
        self.columns: dict[str, None] = {}
        self._kept: list[Problem] = []
        self._counts: dict[Mistake, int] = {}
        self._on_lines: dict[Mistake, tuple[int, int]] = {}  # how many lines, and the last of them
        self._kinds: dict[Mistake, int] = {}

    def add(self, line: int, field: str, what: str, source: str) -> None:
        """Add one problem."""
        self.extend([Problem(source, line, field, what)])

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add several problems."""
        for problem in problems:
            self.total += 1
            self._kept.append(problem)
            for counts, mistake in ((self._counts, problem.mistake), (self._kinds, kind_of(problem.mistake))):
                if mistake in counts or len(counts) < self.keep:
                    counts[mistake] = counts.get(mistake, 0) + 1
            if problem.mistake in self._counts:
                on_lines, last = self._on_lines.get(problem.mistake, (0, -1))
                # The jobs of a line come one after the other.
                self._on_lines[problem.mistake] = on_lines + (problem.line != last), problem.line
        # Not each time: a file with a million mistakes is not sorted a million times.
        if len(self._kept) > 2 * self.keep + 100:
            self._cut()

    def raise_any(self, places: Locator | None = None) -> None:
        """Raise JobsFileError if there is any problem; `places` says where the jobs are."""
        if self.total:
            self._cut()
            counts = {**self._kinds, **self._counts}
            raise JobsFileError(
                self._kept,
                self.total,
                counts=counts,
                on_lines={mistake: on_lines for mistake, (on_lines, _) in self._on_lines.items()},
                lines=self.lines,
                places=places,
                columns=self.columns,
            )

    def _cut(self) -> None:
        # A stable sort: the problems of one line stay in their order.
        self._kept.sort(key=lambda problem: problem.line)
        del self._kept[self.keep :]


class KeyMissingError(VeniceBatchError):
    """No API key was given; nothing was sent."""


class OutOfMoneyError(VeniceBatchError):
    """The jobs cost more than may be spent; nothing was sent."""

    exit_code = ExitCode.OUT_OF_MONEY


class FolderError(VeniceBatchError):
    """The output folder cannot be used: it is locked, full, not writable or gone."""

    exit_code = ExitCode.FOLDER_UNUSABLE

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class FolderHeldError(FolderError):
    """Another run, `holder`, is using the output folder."""

    def __init__(self, path: Path | str, holder: str) -> None:
        self.holder = holder
        super().__init__(path, f"another run ({holder}) is using this folder; wait for it or stop it")


class TwiceError(FolderError):
    """Two files of an export would have the same name."""


class BucketError(FolderError):
    """A bucket cannot be used as the output folder: refused, out of reach, or taken by another run.

    `path` is its address; `reason` says what happened and what to do. `is_outage` tells whether the same call may
    succeed later.
    """

    def __init__(self, path: Path | str, reason: str, *, is_outage: bool = False) -> None:
        self.is_outage = is_outage
        super().__init__(path, reason)


class StoppedWaitingError(VeniceBatchError):
    """The run was stopped while it waited for the output folder; nothing was sent."""

    def __init__(self, reason: str, exit_code: ExitCode) -> None:
        self.exit_code = exit_code
        super().__init__(f"{reason} while waiting for the output folder; nothing was sent")


class ProcessesError(VeniceBatchError):
    """No process of `--processes` is left to fetch images; jobs without a record stay pending.

    `what` happened, and `cause` says why: how the processes ended, or why none could be started ("" if not known).
    """

    exit_code = ExitCode.TEMPORARY

    def __init__(self, what: str, cause: str) -> None:
        self.what = what
        self.cause = cause
        why = f" ({cause})" if cause else ""
        super().__init__(f"{what}{why}; run the same command again, or without --processes")


class HookError(VeniceBatchError):
    """The command of `--on-finish` failed; the result of the run stays as it is."""


class ApiError(VeniceBatchError):
    """The API cannot be reached, or its answer to a listing makes no sense."""

    exit_code = ExitCode.TEMPORARY

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class KeyRefusedError(ApiError):
    """The API refused the key itself (401 or 403)."""

    exit_code = ExitCode.KEY_REFUSED


class SourceError(VeniceBatchError):
    """A picture that a job sends cannot be read, or has changed since it was checked.

    The job fails, the run goes on, and no server has received the whole request.
    """


class BodyError(VeniceBatchError):
    """A response body holds no whole image; the attempt fails, the run goes on."""


class UnrecognisedError(BodyError):
    """A whole answer is not a known image; it is kept in `paths`, relative to the output folder."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = tuple(paths)
        # Without the paths, so that equal failures are counted together.
        super().__init__("the answer is not a known image, or its end cannot be found; kept below unrecognised")
