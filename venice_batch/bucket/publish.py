"""Changes of a copy taken to its bucket: a page, what a prune has moved or deleted, and what a merge has brought."""

from __future__ import annotations

import hashlib
import mimetypes
from contextlib import contextmanager
from typing import TYPE_CHECKING

from venice_batch.bucket.copies import THUMBNAILS, in_threads, merge_command
from venice_batch.bucket.journal import Journal
from venice_batch.bucket.lease import acquire
from venice_batch.errors import BucketError
from venice_batch.output import manifest
from venice_batch.output.plain_files import on_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from venice_batch.bucket.copies import Copy
    from venice_batch.bucket.lease import Lease
    from venice_batch.bucket.store import Bucket

_SEGMENT_BYTES = 4 << 20
"""Records that go to the journal in one object."""


@contextmanager
def changing(
    copy: Copy, run_id: str, *, lease: Callable[[Bucket, str], AbstractContextManager[Lease]] = acquire
) -> Iterator[None]:
    """Keep every run out of the bucket while the block changes its copy, then take the changes there.

    Images are there before the records that name them, and those before anything is removed. So a command that is
    stopped at any moment can be repeated. After an exception nothing is taken. `run_id` names the changes in the
    journal.

    Raises:
        FolderHeldError: a run, or another command that writes, holds the bucket.
        BucketError: the store ignores conditions, cannot be reached, or another run has taken the bucket over.
    """
    if not copy.bucket.knows_conditions():
        what = "this store ignores conditions, so no lock is safe here"
        raise BucketError(copy.name, f"{what}; work on a local folder: {merge_command(copy.name)}")
    with lease(copy.bucket, run_id) as held:
        copy.refresh()
        path = copy.root / manifest.NAME
        size = path.stat().st_size if path.exists() else 0
        yield
        _publish(copy, path, size, run_id, held)


def _publish(copy: Copy, path: Path, size: int, run_id: str, held: Lease) -> None:
    def put(image: str) -> None:
        held.check()
        with (copy.root / on_disk(image)).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        _put(copy, image, {"sha256": digest, "run": run_id})

    in_threads(put, copy.changed())
    journal = Journal(copy.bucket, run_id)
    has_records = False
    with path.open("rb") as lines:
        lines.seek(size)
        while portion := lines.readlines(_SEGMENT_BYTES):
            held.check()
            journal.write(b"".join(portion))
            has_records = True
    if has_records:
        journal.compact()
        _put(copy, manifest.NAME)
    removed = copy.removed()
    if removed:
        held.check()
        copy.bucket.delete(removed)


def note_thumbnails(copy: Copy) -> None:
    """Put an empty file into the copy for each thumbnail in the bucket, so that no page makes it again."""
    folder = copy.root / THUMBNAILS
    folder.mkdir(exist_ok=True)
    for path in copy.names(THUMBNAILS):
        name = path.removeprefix(f"{THUMBNAILS}/")
        if "/" not in name and name not in ("", ".", ".."):
            (folder / name).touch()


def publish_page(copy: Copy, page: Path) -> None:
    """Put the page of a copy, and the thumbnails that are new there, into the bucket: the page last."""
    made = (place for place in (copy.root / THUMBNAILS).iterdir() if place.stat().st_size)
    in_threads(lambda path: _put(copy, path), [f"{THUMBNAILS}/{place.name}" for place in made])
    _put(copy, page.name)


def _put(copy: Copy, path: str, metadata: Mapping[str, str] = {}) -> None:
    kind = _TYPES.get(path.rpartition(".")[2]) or mimetypes.guess_type(path)[0] or "application/octet-stream"
    copy.bucket.put(path, copy.root / on_disk(path), content_type=kind, metadata=metadata)


_TYPES = {"html": "text/html; charset=utf-8", "webp": "image/webp", "jsonl": "application/jsonl"}
"""Types that not every system knows."""
