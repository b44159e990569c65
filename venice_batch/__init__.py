"""venice-batch: every prompt in a file becomes an image on disk, once.

    from venice_batch import run_jobs

    summary = await run_jobs("jobs.jsonl", "output/jobs")

Names are imported when first used, so that `import venice_batch` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from venice_batch._version import __version__

if TYPE_CHECKING:
    from venice_batch.errors import (
        ApiError,
        ExitCode,
        FolderError,
        JobsFileError,
        KeyMissingError,
        KeyRefusedError,
        NotApprovedError,
        Problem,
        UsageError,
        VeniceBatchError,
    )
    from venice_batch.events import (
        AttemptEnded,
        Event,
        JobEnded,
        Notice,
        Reachable,
        Retrying,
        RunEnded,
        RunStarted,
        RunState,
        Sending,
        Stopping,
        Unreachable,
        Waiting,
    )
    from venice_batch.library import run_jobs, stream_outcomes
    from venice_batch.model import Attempt, Failure, Flags, ImageFile, Job, Outcome, Status, Summary, Timing
    from venice_batch.run.settings import RunOptions

_HOMES = {
    "library": ("run_jobs", "stream_outcomes"),
    "run.settings": ("RunOptions",),
    "model": ("Attempt", "Failure", "Flags", "ImageFile", "Job", "Outcome", "Status", "Summary", "Timing"),
    "events": (
        "AttemptEnded",
        "Event",
        "JobEnded",
        "Notice",
        "Reachable",
        "Retrying",
        "RunEnded",
        "RunStarted",
        "RunState",
        "Sending",
        "Stopping",
        "Unreachable",
        "Waiting",
    ),
    "errors": (
        "ApiError",
        "ExitCode",
        "FolderError",
        "JobsFileError",
        "KeyMissingError",
        "KeyRefusedError",
        "NotApprovedError",
        "Problem",
        "UsageError",
        "VeniceBatchError",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ApiError",
    "Attempt",
    "AttemptEnded",
    "Event",
    "ExitCode",
    "Failure",
    "Flags",
    "FolderError",
    "ImageFile",
    "Job",
    "JobEnded",
    "JobsFileError",
    "KeyMissingError",
    "KeyRefusedError",
    "NotApprovedError",
    "Notice",
    "Outcome",
    "Problem",
    "Reachable",
    "Retrying",
    "RunEnded",
    "RunOptions",
    "RunStarted",
    "RunState",
    "Sending",
    "Status",
    "Stopping",
    "Summary",
    "Timing",
    "Unreachable",
    "UsageError",
    "VeniceBatchError",
    "Waiting",
    "__version__",
    "run_jobs",
    "stream_outcomes",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
