"""What an output folder already holds of the jobs to run."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from venice_batch.jobfile.identity import job_key
from venice_batch.model import Status

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from venice_batch.output.manifest import FileView, RecordView


@dataclass(frozen=True, slots=True)
class Recall:
    """Jobs by their `job_key`: done and whole, rejected for good; `owned` are earlier files by id.

    `notices` tell what was found broken, a sentence each.
    """

    done: frozenset[bytes]
    rejected: frozenset[bytes]
    owned: dict[str, tuple[str, ...]]
    notices: tuple[str, ...]


def recall(records: Iterable[tuple[int, RecordView | None]], root: Path, *, name: str, verify: bool = False) -> Recall:
    """Read a manifest's `records` against the files in `root`.

    Of an id's records the last one counts. A job is done only while each of its files is there with its size
    (and with `verify` its hash); otherwise it is pending again.
    """
    latest: dict[str, RecordView] = {}
    owned: dict[str, tuple[str, ...]] = {}
    corrupt: list[int] = []
    for number, record in records:
        if record is None:
            corrupt.append(number)
        else:
            latest[record.id] = record
            if record.files:  # a later failure brings no files and takes none away
                owned[record.id] = tuple(file.path for file in record.files)
    done, rejected, lost = set(), set(), 0
    for record in latest.values():
        key = job_key(record.id, record.request_hash)
        if record.status == Status.REJECTED:
            rejected.add(key)
        elif record.status == Status.SUCCEEDED:
            if record.files and all(_is_whole(root, file, verify=verify) for file in record.files):
                done.add(key)
            else:
                lost += 1
    notices = []
    if corrupt:
        lines = ", ".join(map(str, corrupt[:10])) + ("…" if len(corrupt) > 10 else "")
        notices.append(f"{name}: passed over {len(corrupt)} lines that are no records (line {lines})")
    if lost:
        notices.append(f"{lost} jobs recorded as done have lost a file or had it changed; they are pending again")
    return Recall(frozenset(done), frozenset(rejected), owned, tuple(notices))


def _is_whole(root: Path, file: FileView, *, verify: bool) -> bool:
    path = root / file.path
    try:
        if os.stat(path).st_size != file.bytes:
            return False
        if not verify:
            return True
        with path.open("rb") as image:
            return hashlib.file_digest(image, "sha256").hexdigest() == file.sha256
    except (OSError, ValueError):
        return False
