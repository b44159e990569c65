"""What a pipeline is to think of a job's outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from venice_batch.model import Status

if TYPE_CHECKING:
    from collections.abc import Collection

    from venice_batch.model import Outcome


class Complaint(NamedTuple):
    """Why a job does not pass; `kind` is `failed`, `rejected` or the flag that it has."""

    kind: str
    message: str


def complaint(outcome: Outcome, fail_on: Collection[str]) -> Complaint | None:
    """What is wrong with `outcome`; None if nothing is. An image is wrong if it has one of the flags `fail_on`."""
    if outcome.status is not Status.SUCCEEDED:
        error = outcome.error
        return Complaint(str(outcome.status), f"{error.kind}: {error.message}" if error else "no reason is recorded")
    flag = next((flag for flag in sorted(fail_on) if outcome.flags.has(flag)), None)
    if flag is None:
        return None
    paths = ", ".join(file.path for file in outcome.files)
    return Complaint(flag, f"the API has marked the image as {flag.replace('_', ' ')}: {paths}")
