"""Copies of output folders in buckets, for commands that read a folder: records at once, images as they are read."""

from __future__ import annotations

import errno
import os
import random
import shlex
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from venice_batch.bucket import journal
from venice_batch.bucket.store import Bucket
from venice_batch.errors import BucketError, FolderError
from venice_batch.model import SUMMARY
from venice_batch.output import manifest
from venice_batch.output.annotations import NAME as ANNOTATIONS
from venice_batch.output.atomic_file import whole_file
from venice_batch.output.folder import FOLDERS, PART_SUFFIX, unusable
from venice_batch.output.marks import NAME as MARKS
from venice_batch.output.originals import copied
from venice_batch.output.plain_files import on_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from venice_batch.bucket.store import Entry, Version

FOLLOW_S = 5.0
"""Seconds between two looks at a bucket that is followed; each takes four requests, so 3,000 an hour."""

THUMBNAILS = "thumbnails"

_THREADS = 16
_APPENDED = (MARKS, ANNOTATIONS)
"""Files that several programs append to. In a bucket each append writes its file anew, by compare-and-swap."""
_MOST_SWAPS = 12
_FOLDERS = (*FOLDERS, THUMBNAILS)
_JSON_LINES = "application/jsonl"


class Copy:
    """The copy in the folder `root` of an output folder in a bucket; the original of that folder (`output.originals`).

    Records, marks, annotations and the summary are there when it is opened. All other files are brought when they are
    read, and listed when the first one is asked about. `name` is the bucket's address.

    Raises:
        FolderError: the bucket cannot be read, or this disk not written.
    """

    def __init__(self, bucket: Bucket, root: Path, *, wait: Callable[[float], object] = time.sleep) -> None:
        self.bucket = bucket
        self.root = root
        self.is_followed = False
        self._wait = wait
        self._sizes: dict[str, int] = {}
        self._is_listed = False
        self._knows_conditions = False
        self._segments: tuple[Entry, ...] = ()
        self._versions: dict[str, Version] = {}
        self._listing = threading.Lock()
        self._appending = threading.Lock()
        self._fetched: dict[str, tuple[int, ...]] = {}
        self._fetching: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self.refresh()

    @property
    def name(self) -> str:
        return self.bucket.address

    def refresh(self) -> None:
        """Bring records, marks, annotations and the summary up to date. Without news it takes four small requests."""
        segments = tuple(sorted(set(self.bucket.list(journal.FOLDER))))
        if segments and segments != self._segments:
            self._bring_records()
            self._segments = segments
        elif not segments:  # a folder that was copied into the bucket from a disk
            self._bring(manifest.NAME)
        for name in (*_APPENDED, SUMMARY):
            with self._appending:
                self._bring(name)

    def size(self, path: str) -> int | None:
        """Return the size of a file of the original, by one listing of them all; see `output.originals`."""
        if path in self._fetched:  # it may have come in this very moment; gone again, it was removed on purpose
            with suppress(OSError):
                return (self.root / on_disk(path)).lstat().st_size
            return None
        with self._listing:
            if not self._is_listed:
                for folder in _FOLDERS:
                    self._sizes |= {entry.path: entry.size_bytes for entry in self.bucket.list(folder)}
                self._is_listed = True
        size = self._sizes.get(path)
        if size is None and self.is_followed and (meta := self.bucket.head(path)) is not None:
            size = self._sizes[path] = meta.size_bytes
        return size

    def list_again(self) -> None:
        """Forget which files the original has: they are listed when the next one is asked about."""
        with self._listing:
            self._sizes = {}
            self._is_listed = False

    def note(self, path: str, size_bytes: int) -> None:
        """Note a file that has come into the original since it was listed."""
        with self._listing:
            self._sizes[path] = size_bytes

    def names(self, folder: str) -> list[str]:
        """Return the paths of all files in a folder of the original."""
        self.size("")
        return [path for path in self._sizes if path.startswith(f"{folder}/")]

    def fetch(self, path: str) -> None:
        """Bring a file, whole, unless it has come before; see `output.originals`."""
        with self._guard:
            lock = self._fetching.setdefault(path, threading.Lock())
        with lock:
            if path not in self._fetched:
                try:
                    self._fetch(path)
                except FileNotFoundError:
                    raise
                except OSError as error:
                    raise unusable(self.root, error) from error

    def _fetch(self, path: str) -> None:
        place = self.root / on_disk(path)
        if path.startswith("/") or ".." in path.split("/"):
            raise FileNotFoundError(errno.ENOENT, "is not a path of an output folder", path)
        if os.path.lexists(place):
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{threading.get_ident():x}.part")
        try:
            if not self.bucket.fetch(path, part):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            os.replace(part, place)
        finally:
            part.unlink(missing_ok=True)
        self._fetched[path] = _state(place)

    def fetch_all(self, paths: Iterable[str]) -> None:
        """Bring those of the files that the original has, several at the same time."""
        listed = [path for path in dict.fromkeys(paths) if self.size(path) is not None]

        def bring(path: str) -> None:
            with suppress(FileNotFoundError):  # somebody has removed it since it was listed
                self.fetch(path)

        in_threads(bring, listed)

    def changed(self) -> list[str]:
        """Return the paths of the images and answers that are new in the copy, or have another content there."""
        found = []
        for folder in FOLDERS:
            for inner, _, names in os.walk(self.root / folder):
                for name in names:
                    place = Path(inner, name)
                    path = place.relative_to(self.root).as_posix()
                    if not name.endswith(PART_SUFFIX) and self._fetched.get(path) != _state(place):
                        found.append(path)
        return sorted(found)

    def removed(self) -> list[str]:
        """Return the paths of the files that were brought and are in the copy no longer."""
        return sorted(path for path in self._fetched if not os.path.lexists(self.root / on_disk(path)))

    def append(self, name: str, lines: bytes) -> None:
        """Append lines by compare-and-swap, so that those of other programs stay; see `output.originals`.

        Raises:
            BucketError: other programs write all the time, or the store ignores conditions: then lines could be lost.
        """
        with self._appending:
            if not self._knows_conditions:
                self._knows_conditions = self.bucket.knows_conditions()
                if not self._knows_conditions:
                    what = f"this store ignores conditions, so lines of {name} could be lost"
                    raise BucketError(self.name, f"{what}; bring the folder here first: {merge_command(self.name)}")
            for attempt in range(_MOST_SWAPS):
                if attempt:
                    self._wait(random.uniform(0, min(2.0, 0.05 * 2**attempt)))
                if self._appended(name, lines):
                    return
        raise BucketError(f"{self.name}/{name}", "other programs change it all the time; run this again later")

    def _appended(self, name: str, lines: bytes) -> bool:
        """Try once to append; return False if another program was faster."""
        there = self.bucket.read(name)
        before = b"" if there is None else there.data
        gap = b"\n" if before and not before.endswith(b"\n") else b""
        data = before + gap + lines
        if there is None:
            version = self.bucket.create(name, data, content_type=_JSON_LINES)
        else:
            version = self.bucket.replace(name, data, there.version, content_type=_JSON_LINES)
        if version is None:
            return False
        self._write(name, data, version)
        return True

    def _bring(self, name: str) -> None:
        """Bring one of the small files if it has changed."""
        if (meta := self.bucket.head(name)) is not None and meta.version != self._versions.get(name):
            there = self.bucket.read(name)
            if there is not None:
                self._write(name, there.data, there.version)

    def _bring_records(self) -> None:
        path = self.root / manifest.NAME
        with whole_file(path, follow=False, tidy=False) as file:
            journal.copy(self.bucket, file)

    def _write(self, name: str, data: bytes, version: Version) -> None:
        with whole_file(self.root / name, follow=False, tidy=False) as file:
            file.write(data)
        self._versions[name] = version


def merge_command(address: str) -> str:
    """Return the command that brings the output folder at `address` to a folder of this machine."""
    return shlex.join(["venice-batch", "merge", address, "-o", "DIR"])


def in_threads(call: Callable[[str], object], paths: Sequence[str]) -> None:
    """Call a function with each path, several at the same time; the first exception ends it."""
    if len(paths) < 2:
        for path in paths:
            call(path)
        return
    with ThreadPoolExecutor(min(_THREADS, len(paths)), "bucket") as threads:
        try:
            for _ in threads.map(call, paths):
                pass
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _state(place: Path) -> tuple[int, ...]:
    state = place.lstat()
    return state.st_ino, state.st_size, state.st_mtime_ns


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
            raise unusable(Path(tempfile.gettempdir()), error) from error
        copy = Copy(bucket, root)
        stack.enter_context(copied(root, copy))
        if follow_s is not None:
            stack.enter_context(_followed(copy, follow_s))
        yield copy


@contextmanager
def _followed(copy: Copy, every_s: float) -> Iterator[None]:
    ended = threading.Event()
    copy.is_followed = True

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
