"""What an output folder already holds of the jobs to run."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from venice_batch.model import Status
from venice_batch.output import manifest
from venice_batch.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from venice_batch.jobfile import JobIndex
    from venice_batch.output.manifest import FileView

_PENDING, _DONE, _REJECTED, _LOST, _PLAYED = range(5)


class Resume:
    """A byte a job: done and whole, rejected for good, or pending.

    Of an id's records the last one counts. A job is done only while each of its files is there with its size
    (with `verify`: its hash); otherwise it is pending again, as is what the sandbox made unless `sandbox` says that it
    is asked again. `notices` tell what was found amiss, in a sentence each.
    A million records take a few seconds and a few bytes each.
    """

    def __init__(self, index: JobIndex, root: Path, *, verify: bool = False, sandbox: bool = True) -> None:
        """Read the manifest in `root`, if there is one. Raises FolderError where it cannot be read."""
        self._root = root
        self._sandbox = sandbox
        self._states = bytearray(len(index))
        self.notices: tuple[str, ...] = ()
        if has_records(root):
            self._read(index, root / manifest.NAME, verify=verify)

    @property
    def done(self) -> int:
        """Jobs that need nothing more."""
        return self._states.count(_DONE)

    @property
    def rejected(self) -> int:
        """Jobs that the API has refused for good."""
        return self._states.count(_REJECTED)

    def is_done(self, place: int) -> bool:
        """Whether the job at `place` of the index needs nothing more."""
        return self._states[place] == _DONE

    def is_settled(self, place: int) -> bool:
        """Whether it is done, or was refused for good."""
        return self._states[place] in (_DONE, _REJECTED)

    def _read(self, index: JobIndex, path: Path, *, verify: bool) -> None:
        directory = index.directory()
        prefix = f"{self._root}/"
        states, places_of, has_request = self._states, directory.places, index.has_request
        rejected, succeeded = Status.REJECTED.value, Status.SUCCEEDED.value
        corrupt: list[int] = []
        broken = 0
        for number, record in manifest.read(path):
            if record is None:
                broken += 1
                if len(corrupt) < 10:
                    corrupt.append(number)
                continue
            for place in places_of(hash(record.id)):
                states[place] = _PENDING
                if not has_request(place, record.request_hash):
                    continue  # the line has changed since
                if record.sandbox and not self._sandbox:
                    states[place] = _PLAYED
                elif record.status == rejected:
                    states[place] = _REJECTED
                elif record.status == succeeded:
                    states[place] = _DONE if are_whole(prefix, record.files, verify=verify) else _LOST
        notices = []
        if broken:
            lines = ", ".join(map(str, corrupt)) + ("…" if broken > len(corrupt) else "")
            notices.append(f"{path}: passed over {counted(broken, 'line')} without a record (line {lines})")
        lost = self._states.count(_LOST)
        if lost:
            notices.append(f"{counted(lost, 'job')} recorded as done lost a file or had it changed: pending again")
        played = self._states.count(_PLAYED)
        if played:
            notices.append(f"{counted(played, 'job')} done by the sandbox only: pending again")
        self.notices = tuple(notices)


class Ownership:
    """Which files an earlier record of an id owns, looked up only when a file stands in the way.

    That is rare, so the manifest is read once more then, and only what concerns pending jobs is kept.
    """

    def __init__(self, path: Path, index: JobIndex, resume: Resume) -> None:
        self._path = path
        self._index = index
        self._resume = resume
        self._owned: dict[str, tuple[str, ...]] | None = None

    def __call__(self, job_id: str) -> tuple[str, ...]:
        """The paths that the latest record with files has for `job_id`, relative to the output folder."""
        if self._owned is None:
            self._owned = self._read()
        return self._owned.get(job_id, ())

    def _read(self) -> dict[str, tuple[str, ...]]:
        directory = self._index.directory()
        owned = {}
        for _, record in manifest.read(self._path):
            # A later failure brings no files and takes none away.
            if record is None or not record.files:
                continue
            places = directory.places(hash(record.id))
            if any(not self._resume.is_done(place) for place in places):
                owned[record.id] = tuple(file.path for file in record.files)
        return owned


def has_records(root: Path) -> bool:
    """Whether there is anything of an earlier run in `root` to compare jobs with."""
    path = root / manifest.NAME
    return path.exists() and path.stat().st_size > 0


def are_whole(prefix: str, files: Iterable[FileView], *, verify: bool) -> bool:
    """Whether there is a file, and each has its size (with `verify`: its hash); paths are put behind `prefix`."""
    try:
        for file in files:
            if os.stat(prefix + file.path).st_size != file.bytes:
                return False
            if verify:
                with open(prefix + file.path, "rb") as image:
                    if hashlib.file_digest(image, "sha256").hexdigest() != file.sha256:
                        return False
    except (OSError, ValueError):
        return False
    return bool(files)
