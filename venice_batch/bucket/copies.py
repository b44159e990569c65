"""Copies of output folders in buckets, for commands that read a folder: records at once, images as they are read."""

from __future__ import annotations

import os
import random
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from venice_batch.bucket.journal import Journal
from venice_batch.bucket.store import Bucket, BucketError
from venice_batch.errors import FolderError
from venice_batch.model import SUMMARY
from venice_batch.output import annotations, manifest, marks
from venice_batch.output.atomic_file import whole_file
from venice_batch.output.folder import IMAGES, REJECTED, UNRECOGNISED, unusable
from venice_batch.output.originals import copied
from venice_batch.output.plain_files import on_disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FOLLOW_S = 5.0
"""Seconds between two looks at a bucket whose changes are followed: one list request a second would be felt in a bill."""

_THREADS = 16
_APPENDED = (marks.NAME, annotations.NAME)
"""Files that several programs append to. In a bucket each append writes its file anew, by compare-and-swap."""
_MOST_SWAPS = 12
_FOLDERS = (IMAGES, REJECTED, UNRECOGNISED, "thumbnails")


class Copy:
    """The copy in the folder `root` of an output folder in a bucket; the original of that folder (`output.originals`).

    Records, marks, annotations and the summary are there when it is opened. All other files are brought when they are
    read, and listed when the first one is asked about. `name` is the bucket's address.

    Raises:
        FolderError: the bucket cannot be read, or this disk not written.
    """

    def __init__(self, bucket: Bucket, root: Path) -> None:
        self.bucket = bucket
        self.root = root
        self._sizes: dict[str, int] = {}
        self._is_listed = False
        self._is_followed = False
        self._journal: tuple[str, ...] = ()
        self._seen: dict[str, int] = {}
        self._listing = threading.Lock()
        self._appending = threading.Lock()
        self._fetching: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self.refresh()

    @property
    def name(self) -> str:
        return self.bucket.address

    def refresh(self) -> None:
        """Bring records, marks, annotations and the summary up to date. Without news it takes a few list requests."""
        journal = tuple(sorted(f"{entry.path} {entry.size_bytes}" for entry in self.bucket.list("journal/")))
        plain = {entry.path: entry.size_bytes for name in (*_APPENDED, SUMMARY) for entry in self.bucket.list(name)}
        if journal != self._journal or not self._journal:
            self._bring_records()
            self._journal = journal
        for name in (*_APPENDED, SUMMARY):
            with self._appending:
                if name in plain and plain[name] != self._seen.get(name):
                    data = self.bucket.get(name)
                    if data is not None:
                        self._write(name, data)

    def size(self, path: str) -> int | None:
        """Return the size of a file of the original, by one listing of them all; see `output.originals`."""
        with self._listing:
            if not self._is_listed:
                for folder in _FOLDERS:
                    self._sizes |= {entry.path: entry.size_bytes for entry in self.bucket.list(f"{folder}/")}
                self._is_listed = True
        size = self._sizes.get(path)
        if size is None and self._is_followed and (meta := self.bucket.head(path)) is not None:
            size = self._sizes[path] = meta.size_bytes
        return size

    def names(self, folder: str) -> set[str]:
        """Return the paths of all files in a folder of the original."""
        self.size("")
        return {path for path in self._sizes if path.startswith(f"{folder}/")}

    def fetch(self, path: str) -> None:
        """Bring a file, whole, unless it is there; see `output.originals`."""
        place = self.root / on_disk(path)
        with self._guard:
            lock = self._fetching.setdefault(path, threading.Lock())
        with lock:
            if os.path.lexists(place):
                return
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                part = place.with_name(f".{threading.get_ident():x}.part")
                try:
                    if not self.bucket.fetch(path, part):
                        raise FileNotFoundError(2, "is not in the bucket", path)
                    os.replace(part, place)
                finally:
                    part.unlink(missing_ok=True)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise unusable(self.root, error) from error

    def fetch_all(self, paths: Iterable[str]) -> None:
        """Bring those of the files that the original has, several at the same time."""
        listed = [path for path in dict.fromkeys(paths) if self.size(path) is not None]

        def bring(path: str) -> None:
            with suppress(FileNotFoundError):  # somebody has removed it since it was listed
                self.fetch(path)

        with ThreadPoolExecutor(_THREADS, "bucket") as threads:
            try:
                for _ in threads.map(bring, listed):
                    pass
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def append(self, name: str, lines: bytes) -> None:
        """Append lines by compare-and-swap, so that those of other programs stay; see `output.originals`.

        Raises:
            BucketError: others write all the time, or the bucket ignores conditions: then lines could be lost.
        """
        with self._appending:
            for attempt in range(_MOST_SWAPS):
                if attempt:
                    time.sleep(random.uniform(0, min(2.0, 0.05 * 2**attempt)))  # noqa: S311 - a wait, not a secret
                meta = self.bucket.head(name)
                before = b"" if meta is None else self.bucket.get(name)
                if before is None:
                    continue
                if before.endswith(lines):  # they are there: the answer to an earlier attempt was lost
                    self._write(name, before)
                    return
                gap = b"\n" if before and not before.endswith(b"\n") else b""
                data = before + gap + lines
                kind = {"content_type": "application/jsonl"}
                if meta is None:
                    version = self.bucket.create(name, data, **kind)
                else:
                    version = self.bucket.replace(name, data, meta.version, **kind)
                if version is not None:
                    self._write(name, data)
                    return
        raise BucketError(f"{self.name}/{name}", "other programs change it all the time", "run this again later")

    def _bring_records(self) -> None:
        """Write the manifest: the same file with more lines if all that was there is still the beginning."""
        path = self.root / manifest.NAME
        found = False
        lines = Journal.read(self.bucket)
        with tempfile.NamedTemporaryFile(dir=self.root, prefix=".records.", suffix=".part", delete=False) as file:
            part = Path(file.name)
            try:
                for line in lines:
                    found = True
                    file.write(line if line.endswith(b"\n") else line + b"\n")
                file.close()
                if found:
                    os.replace(part, path)
            except OSError as error:
                raise unusable(self.root, error) from error
            finally:
                part.unlink(missing_ok=True)

    def _write(self, name: str, data: bytes) -> None:
        self._seen[name] = len(data)
        with whole_file(self.root / name, follow=False, tidy=False) as file:
            file.write(data)


@contextmanager
def local_copy(address: str, environ: Mapping[str, str], *, follow_s: float | None = None) -> Iterator[Copy]:
    """Open a copy of the output folder at `address`, in a private folder of this machine that goes with the block.

    With `follow_s` it is brought up to date all that many seconds until the block ends.

    Raises:
        UsageError: there is no such kind of address, or the extra `bucket` is not installed.
        FolderError: the bucket cannot be read, or this disk not written.
    """
    with ExitStack() as stack:
        bucket = Bucket(address, environ)
        name = address.rstrip("/").rpartition("/")[2]
        try:
            # Pages and exports are named after their folder.
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="venice-batch-"))) / name
            root.mkdir()
        except OSError as error:
            raise FolderError(Path(tempfile.gettempdir()), f"no room for a copy of {address}: {error.strerror}") from error
        copy = Copy(bucket, root)
        stack.enter_context(copied(root, copy))
        if follow_s is not None:
            stack.enter_context(_followed(copy, follow_s))
        yield copy


@contextmanager
def _followed(copy: Copy, every_s: float) -> Iterator[None]:
    ended = threading.Event()
    copy._is_followed = True

    def follow() -> None:
        while not ended.wait(every_s):
            with suppress(FolderError):  # it may be on its way back
                copy.refresh()

    thread = threading.Thread(target=follow, name="bucket", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
