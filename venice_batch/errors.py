"""The tree of exceptions that venice-batch raises.

Only what stops a run is an exception. A job that fails, is rejected or comes back blurred is an
`Outcome`, a value. Every class carries `exit_code`, the contract's number for scripts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


class ExitCode(IntEnum):
    """What the command returns to the shell; scripts rely on these numbers."""

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
        """What a script may take it for, in a few words."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "every job has succeeded, now or in an earlier run",
    ExitCode.SOME_FAILED: "the run finished; some jobs failed, were rejected or have a flag of `--fail-on`",
    ExitCode.INVALID: "usage, settings or jobs file invalid: nothing was sent",
    ExitCode.KEY_REFUSED: "the API key was refused",
    ExitCode.OUT_OF_MONEY: "out of money: the balance is below the next job's price, 402, or `--max-cost` reached",
    ExitCode.FOLDER_UNUSABLE: "the output folder cannot be used: locked by another run, not writable, disk full",
    ExitCode.TEMPORARY: "stopped with jobs pending (`--max-time`, `--max-failures`, API unreachable): run it again",
    ExitCode.SIGINT: "stopped by SIGINT after finishing what was under way",
    ExitCode.SIGTERM: "stopped by SIGTERM or SIGHUP after finishing what was under way",
}


class VeniceBatchError(Exception):
    """Base of every exception that the package raises on purpose; `str()` is one line for the user."""

    exit_code: ExitCode = ExitCode.INVALID


class UsageError(VeniceBatchError):
    """An option or setting that cannot be used."""


_COMMAND = re.compile(r"^(\s*):(?=:)|#(?=#(?:vso)?\[)", re.IGNORECASE)
"""How commands to a CI's runner begin: GitHub's `::name::` at a line's start and `##[name]`, Azure's `##vso[name]`.

Sources: GitHub's "Workflow commands for GitHub Actions"; Azure's "Logging commands", which are read anywhere in a line.
"""


def one_line(text: str) -> str:
    """Return `text` without control characters, and with a space in whatever a CI's runner would take for a command.

    Neither a terminal nor a runner must act on what a server or a file says.
    """
    if not text.isprintable():
        text = "".join(char if char.isprintable() else "\ufffd" for char in text)
    return _COMMAND.sub(lambda found: found[0] + " ", text) if "::" in text or "##" in text else text


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a jobs file: where it is, what it is, what would do.

    `line` counts from 1; 0 means the file as a whole. `field` is "" where no field is at fault.
    """

    source: str
    line: int
    field: str
    what: str

    def __str__(self) -> str:
        where = f"{self.source}:{self.line}" if self.line else self.source
        return one_line(f"{where}: {self.field}: {self.what}" if self.field else f"{where}: {self.what}")


class JobsFileError(VeniceBatchError):
    """The jobs file cannot be run as it is; nothing was sent.

    `problems` holds the first mistakes, in the file's order; `total` counts all of them. `undone` is what did not
    happen because of them: "sent", or "written" for jobs that were on their way into a file.
    """

    undone = "sent"

    def __init__(self, problems: Sequence[Problem], total: int | None = None) -> None:
        self.problems = tuple(problems)
        self.total = len(self.problems) if total is None else total
        super().__init__("\n".join(str(problem) for problem in self.problems))


MAX_PROBLEMS = 1000
"""Problems of one jobs file that are kept and shown; all of them are counted."""


class Findings:
    """Collect a file's problems in any order; keep the `keep` that come first in the file.

    Memory is bounded by `keep`, however many problems there are; `total` counts all of them.
    """

    def __init__(self, keep: int = MAX_PROBLEMS) -> None:
        self.keep = keep
        self.total = 0
        self._kept: list[Problem] = []

    def add(self, line: int, field: str, what: str, source: str) -> None:
        """Add one problem."""
        self.extend([Problem(source, line, field, what)])

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add several problems."""
        for problem in problems:
            self.total += 1
            self._kept.append(problem)
        # Not each time: a file with a million mistakes is not sorted a million times.
        if len(self._kept) > 2 * self.keep + 100:
            self._cut()

    def raise_any(self) -> None:
        """Raise JobsFileError if there is any problem."""
        if self.total:
            self._cut()
            raise JobsFileError(self._kept, self.total)

    def _cut(self) -> None:
        # A stable sort: the problems of one line stay in their order.
        self._kept.sort(key=lambda problem: problem.line)
        del self._kept[self.keep :]


class KeyMissingError(VeniceBatchError):
    """No API key was given; nothing was sent."""


class OutOfMoneyError(VeniceBatchError):
    """What is asked for costs more than may be spent; nothing was sent."""

    exit_code = ExitCode.OUT_OF_MONEY


class FolderError(VeniceBatchError):
    """The output folder cannot be used: not writable, locked, full or vanished."""

    exit_code = ExitCode.FOLDER_UNUSABLE

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class FolderHeldError(FolderError):
    """Another run, `holder`, is using the output folder."""

    def __init__(self, path: Path, holder: str) -> None:
        self.holder = holder
        super().__init__(path, f"another run ({holder}) is using this folder; wait for it or stop it")


class StoppedWaitingError(VeniceBatchError):
    """The run was stopped while it waited for its folder; nothing was sent."""

    def __init__(self, reason: str, exit_code: ExitCode) -> None:
        self.exit_code = exit_code
        super().__init__(f"{reason} while waiting for the output folder; nothing was sent")


class HookError(VeniceBatchError):
    """The command that is told of a run's end has failed; the run's own result stands."""


class ApiError(VeniceBatchError):
    """The API cannot be asked, or gave an answer to a listing that makes no sense."""

    exit_code = ExitCode.TEMPORARY

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class KeyRefusedError(ApiError):
    """The API refused the key itself (401, or 403)."""

    exit_code = ExitCode.KEY_REFUSED


class SourceError(VeniceBatchError):
    """A picture that a job is to send cannot be read, or is another than the one that was checked.

    The job has failed, not the run, and no server had all of its request.
    """


class BodyError(VeniceBatchError):
    """A response body that holds no whole image; the attempt that got it has failed, not the run."""


class UnrecognisedError(BodyError):
    """A whole answer that is no image known here; `paths`, relative to the output folder, is where it is kept."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = tuple(paths)
        # Without the paths, so that equal endings are counted together.
        super().__init__("the answer is no image known here, or one whose end cannot be told; kept below unrecognised")
