"""`.run.json`, which has the numbers of the run that is under way, for programs that watch the folder."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from venice_batch.errors import FolderError
from venice_batch.events import RunEnded, RunStarted
from venice_batch.output.atomic_file import whole_file
from venice_batch.output.folder import RUN_FILE
from venice_batch.text_format import json_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from venice_batch.events import Event

NAME = RUN_FILE


class Running(msgspec.Struct, frozen=True):
    """A run that has begun: `done` of its `jobs` needed nothing more. Its records have the same `run_id`."""

    run_id: str
    jobs: int
    done: int


class RunFile:
    """An observer that keeps the file in the folder `root` while a run lasts.

    A killed run leaves it: it means something only while the folder is held. Nothing depends on it, so a file that
    cannot be written is no error.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / NAME

    def __call__(self, event: Event) -> None:
        """Write the file when the run starts, and remove it when it ends."""
        if isinstance(event, RunStarted):
            with suppress(FolderError), whole_file(self._path, follow=False, tidy=False) as file:
                file.write(json_bytes(Running(event.run_id, event.jobs, event.done)) + b"\n")
        elif isinstance(event, RunEnded):
            with suppress(OSError):
                self._path.unlink()
