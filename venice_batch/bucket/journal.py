"""The journal of a bucket: records as segments that one run each writes once, and their compaction.

A segment is `journal/<run>/<n>.jsonl`; compaction writes `journal/<run>/<first>-<last>.jsonl` and then deletes the
segments that it covers. `<run>` begins with a number that orders the runs, because records are read oldest run first.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from venice_batch.errors import BucketError
from venice_batch.output.folder import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from venice_batch.bucket.store import Bucket

FOLDER = "journal"
COMPACTED_SEGMENTS = 256
"""A run joins its segments whenever so many have gathered, or `COMPACTED_BYTES`."""
COMPACTED_BYTES = 4 * 1024 * 1024

_CONTENT_TYPE = "application/jsonl"
_THREADS = 16
_AHEAD = 64
_LARGE_BYTES = 4 * 1024 * 1024
_MOST_LISTINGS = 10
_NAME = re.compile(rf"{FOLDER}/((\d+)-[^/]+)/(\d+)(?:-(\d+))?\.jsonl")
_ADOPTED = "000000-manifest"
"""Holds the records of a `manifest.jsonl` that was copied into the bucket from elsewhere."""


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One object of the journal: the records that the run's writes `first` to `last` have stored."""

    order: int
    run: str
    first: int
    last: int
    path: str
    size_bytes: int

    def covers(self, other: Segment) -> bool:
        """Return whether this is a compaction of `other`."""
        return self.run == other.run and self.first <= other.first and other.last <= self.last and self != other


def segment_of(path: str, size_bytes: int) -> Segment | None:
    """Return the segment at `path`, None if that is something else."""
    found = _NAME.fullmatch(path)
    if not found:
        return None
    run, order, first, last = found.groups()
    return Segment(int(order), run, int(first), int(last or first), path, size_bytes)


def uncovered(segments: Iterable[Segment]) -> list[Segment]:
    """Return the segments that hold all records, in their order, without those that a compaction covers."""
    kept: list[Segment] = []
    # The widest of those that begin at the same number comes first.
    for segment in sorted(set(segments), key=lambda one: (one.order, one.run, one.first, -one.last)):
        if not kept or not kept[-1].covers(segment):
            kept.append(segment)
    return kept


class Journal:
    """Writes one run's records as segments. Calls block; any thread may make them.

    When `write` returns, the records are in the bucket and survive the death of the machine.
    """

    def __init__(self, bucket: Bucket, run_id: str) -> None:
        """Prepare; nothing is sent before the first `write`."""
        self._bucket = bucket
        self._run_id = re.sub(r"[^A-Za-z0-9._-]", "_", run_id)
        self._run = ""
        self._next = 1
        self._writing = threading.Lock()
        self._recent: list[bytes] = []
        """What the latest segments hold, for joining them without reading them back."""

    def write(self, lines: bytes) -> None:
        """Store whole lines, each with its line feed, as one segment (one PUT).

        Raises:
            BucketError: it is not known to be stored. Its number is not used again, so a late arrival harms nothing.
        """
        with self._writing:
            if not self._run:
                self._run = self._begin()
            number, self._next = self._next, self._next + 1
            try:
                self._bucket.put(self._path(number), lines, content_type=_CONTENT_TYPE)
            except BaseException:
                self._recent.clear()  # a compaction must not cover a segment whose content may still arrive
                raise
            self._recent.append(lines)
            if len(self._recent) >= COMPACTED_SEGMENTS or sum(map(len, self._recent)) >= COMPACTED_BYTES:
                self._join_recent(number)

    def compact(self) -> None:
        """Join the segments of each run into one; call it at the end of the run, and only with the lock.

        Raises:
            BucketError: the store refused, or cannot be reached; no record is lost.
        """
        with self._writing:
            self._recent.clear()
            found = segments(self._bucket)
            for _, group in groupby(sorted(found), key=lambda segment: segment.run):
                self._join(list(group))

    def _begin(self) -> str:
        """Return the name of this run's folder. Records that only `manifest.jsonl` has become a segment first."""
        found = segments(self._bucket)
        if not found:
            with tempfile.NamedTemporaryFile(prefix="venice-batch-") as file:
                place = Path(file.name)
                if self._bucket.fetch(MANIFEST, place) and place.stat().st_size:
                    self._bucket.put(f"{FOLDER}/{_ADOPTED}/{_number(1)}.jsonl", place, content_type=_CONTENT_TYPE)
        return f"{max((segment.order for segment in found), default=0) + 1:06d}-{self._run_id}"

    def _path(self, first: int, last: int | None = None) -> str:
        name = _number(first) if last is None else f"{_number(first)}-{_number(last)}"
        return f"{FOLDER}/{self._run}/{name}.jsonl"

    def _join_recent(self, last: int) -> None:
        """Join the latest segments, which end with number `last`. A failure leaves them, and is no failure to write."""
        first = last - len(self._recent) + 1
        lines = b"".join(self._recent)
        self._recent.clear()
        if first == last:
            return
        try:
            self._bucket.put(self._path(first, last), lines, content_type=_CONTENT_TYPE)
            self._bucket.delete([self._path(number) for number in range(first, last + 1)])
        except BucketError:
            pass

    def _join(self, found: Sequence[Segment]) -> None:
        """Join the segments of one run, and delete those that are then covered."""
        parts = uncovered(found)
        if len(parts) > 1:
            with tempfile.NamedTemporaryFile(prefix="venice-batch-") as file:
                with Path(file.name).open("wb") as joined:
                    if not _copy_all(self._bucket, parts, joined):
                        return  # somebody else is joining them
                first, last = parts[0], max(part.last for part in parts)
                path = f"{FOLDER}/{first.run}/{_number(first.first)}-{_number(last)}.jsonl"
                self._bucket.put(path, Path(file.name), content_type=_CONTENT_TYPE)
        else:
            path = parts[0].path
        gone = [segment.path for segment in found if segment.path != path]
        if gone:
            self._bucket.delete(gone)


def segments(bucket: Bucket) -> list[Segment]:
    """Return all segments of a bucket, each once. Raises BucketError."""
    listed = (segment_of(entry.path, entry.size_bytes) for entry in bucket.list(FOLDER))
    return sorted({segment for segment in listed if segment is not None})


def copy(bucket: Bucket, target: BinaryIO) -> int:
    """Write all records of a bucket to the seekable file `target`, oldest run first; return their bytes.

    Without a journal these are the records of `manifest.jsonl`, if the bucket has one.

    Raises:
        BucketError: the store refused, or cannot be reached.
        OSError: the file cannot be written.
    """
    start = target.tell()
    for _ in range(_MOST_LISTINGS):
        target.seek(start)
        target.truncate()
        parts = uncovered(segments(bucket))
        if not parts:
            _copy_one(bucket, MANIFEST, target)
            return target.tell() - start
        if _copy_all(bucket, parts, target):
            return target.tell() - start
    raise BucketError(bucket.address, "its journal changes while it is read; try again when no run is under way")


def read(bucket: Bucket) -> Iterator[bytes]:
    """Yield all records of a bucket as lines, oldest run first. Raises as `copy` does."""
    with tempfile.TemporaryFile(prefix="venice-batch-") as file:
        copy(bucket, file)
        file.seek(0)
        yield from file


def _number(number: int) -> str:
    return f"{number:08d}"


def _copy_all(bucket: Bucket, parts: Sequence[Segment], target: BinaryIO) -> bool:
    """Append the content of all `parts`, several fetched at a time; return False if one is no longer there."""
    if len(parts) == 1:
        return _copy_one(bucket, parts[0].path, target)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="bucket journal") as pool:
        ahead: deque[tuple[Segment, Future[bytes | None] | None]] = deque()
        try:
            for part in parts:
                is_large = part.size_bytes > _LARGE_BYTES
                ahead.append((part, None if is_large else pool.submit(bucket.get, part.path)))
                if len(ahead) > _AHEAD and not _copy_next(bucket, ahead, target):
                    return False
            while ahead:
                if not _copy_next(bucket, ahead, target):
                    return False
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return True


def _copy_next(bucket: Bucket, ahead: deque[tuple[Segment, Future[bytes | None] | None]], target: BinaryIO) -> bool:
    part, fetching = ahead.popleft()
    if fetching is None:
        return _copy_one(bucket, part.path, target)
    data = fetching.result()
    if data is not None:
        target.write(data)
    return data is not None


def _copy_one(bucket: Bucket, path: str, target: BinaryIO) -> bool:
    """Append a large object's content through a file of its own; return False if it is not there."""
    with tempfile.NamedTemporaryFile(prefix="venice-batch-") as file:
        if not bucket.fetch(path, Path(file.name)):
            return False
        with Path(file.name).open("rb") as fetched:
            shutil.copyfileobj(fetched, target, 1 << 20)
    return True
