"""What a record says of its job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from venice_batch.model import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from venice_batch.output.record import FileView, RecordView

PENDING, DONE, REJECTED, LOST, PLAYED = range(5)
"""To be made; made and whole; refused for good; made, but a file is missing or changed; made by the sandbox only."""

_SUCCEEDED, _REJECTED = Status.SUCCEEDED.value, Status.REJECTED.value


def state_of(record: RecordView, whole: Callable[[Sequence[FileView]], bool], *, sandbox: bool) -> int:
    """The state of the job whose request the record is of. `sandbox`: what a sandbox made counts.

    `whole` tells whether its files are there; it is asked only where the answer depends on it.
    """
    if record.sandbox and not sandbox:
        return PLAYED
    if record.status == _SUCCEEDED:
        return DONE if whole(record.files) else LOST
    return REJECTED if record.status == _REJECTED else PENDING
