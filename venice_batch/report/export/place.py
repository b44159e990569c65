"""Images and texts placed in a folder for other programs: a whole export at once, or nothing of it.

An export is made ready in a hidden folder inside the target, and its files get their names at the end. A journal in the
target lists them, so that a later export updates the folder and leaves alone what somebody else has put there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from venice_batch import portable
from venice_batch.errors import FolderError, TwiceError
from venice_batch.output.atomic_file import NOT_THE_NAME
from venice_batch.output.folder import unusable
from venice_batch.output.plain_files import on_disk, open_plain
from venice_batch.report.export.choice import Choice, Reason
from venice_batch.report.export.journal import PARTS, Journal, Part, is_inside, source_of
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from venice_batch.model import ImageFile, Outcome

    Rewrite = Callable[[bytes, Outcome, ImageFile, int], bytes]

_COPIED_BYTES = 1 << 20


class Placer:
    """Places images and texts in a target folder; a context manager. What was placed appears when the block ends.

    If the block ends with an exception, or the process dies, the target is as it was. Only the last step, in which the
    files get their names, can be cut in the middle. Index files get theirs last, so the export looks unfinished then,
    and the next one into the folder completes it.

    Images are hard links to those of the folder, which take no room; where the system cannot link, they are copies. A
    file of an earlier export is replaced or removed, unless somebody has changed it since: then it stays, and `kept`
    has its path. Files that no export has made are never touched.

    `images` and `bytes` count what is placed, `linked` the images of these that are links, `removed` the files of the
    earlier export that are gone.

    Args:
        folder: the output folder with the images.
        target: the folder to write; made if need be.
        copy: copy images instead of linking them.
        rewrite: makes an image's new content from its content, its record, its file in the record and its number.
        kind: the export's name, as `imagefolder`; a target holds exports of one kind and of one output folder.
        flagged: take images that are flagged or rejected, see `Choice`.

    Raises:
        FolderError: the target cannot be written, or is refused (see `Journal`).
    """

    def __init__(
        self,
        folder: Path,
        target: Path,
        copy: bool = False,
        rewrite: Rewrite | None = None,
        *,
        kind: str,
        flagged: bool = False,
    ) -> None:
        self.choice = Choice(folder, flagged=flagged)
        self.images = self.bytes = self.linked = self.removed = 0
        self.kept: list[str] = []
        self._folder = folder
        self._target = target
        self._kind = kind
        self._copy = copy
        self._rewrite = rewrite
        self._can_link, self._is_new = True, False
        self._journal: Journal
        self._wanted: dict[str, str] = {}
        self._staged: dict[str, bool] = {}
        self._of: dict[str, tuple[Part, ...]] = {}
        self._parts = target / PARTS
        self._ready = {self._parts}

    def __enter__(self) -> Self:
        source = source_of(self._folder)
        with self._translated():
            self._is_new = not self._target.exists()
            if not self._is_new and not self._target.is_dir():
                raise FolderError(self._target, "is not a folder; choose another")
            self._target.mkdir(parents=True, exist_ok=True)
            self._journal = Journal(self._target, kind=self._kind, source=source)
            try:
                self._clear_parts()
                self._parts.mkdir()
            except BaseException:
                self._journal.close()
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        try:
            if kind is None:
                with self._translated():
                    self._commit()
        finally:
            try:
                with suppress(OSError):
                    self._clear_parts()
            finally:
                self._journal.close()
            if kind is not None and not self._journal.made:
                with suppress(OSError):
                    self._journal.remove()
                    if self._is_new:
                        self._target.rmdir()

    def put(self, record: Outcome, number: int, path: str) -> bool:
        """Place the record's image `number`, from 1, at `path` below the target, with `/` between folders.

        An image that its folder has lost stays where an earlier export has placed it.

        Returns:
            False if the image is left out; `choice` counts why.

        Raises:
            FolderError: the way is blocked by what no export has made, or leads out of the target; TwiceError if taken.
        """
        image = record.files[number - 1]
        reason = self.choice.reason(record, number)
        if reason is Reason.MISSING and self._has_copy(path, image):
            self._claim(path, image.sha256)
        elif reason is not None:
            self.choice.leave_out(record, number, reason)
            return False
        elif self._rewrite is not None:
            data = self.choice.read(record, number)
            if data is None:
                return False
            with self.writing(path) as file:
                file.write(self._rewrite(data, record, image, number))
        else:
            with self._translated():
                if not self._place(record, number, path):
                    return False
        self._of[path] = (Part(image.sha256, record.id, number),)
        self.images += 1
        self.bytes += image.bytes
        return True

    def content(self, record: Outcome, number: int) -> bytes | None:
        """Return the image's content, rewritten if images are, to be put into another file; count it as placed.

        Returns:
            None if the image is left out; `choice` counts why.
        """
        image = record.files[number - 1]
        data = self.choice.read(record, number)
        if data is None:
            return None
        self.images += 1
        self.bytes += image.bytes
        return data if self._rewrite is None else self._rewrite(data, record, image, number)

    @contextmanager
    def writing(self, path: str, *, index: bool = False, of: tuple[Part, ...] = ()) -> Iterator[BinaryIO]:
        """Open a file at `path` below the target for writing, without seeking; it appears with all the others.

        An `index` describes the other files and gets its name after them. It is an error if somebody has changed the
        earlier one; any other file that was changed is kept. `of` holds the images that the file is made of; the
        journal keeps them, so that scores of the file find the images.

        Raises:
            FolderError: as `put`.
        """
        with self._translated():
            self._claim(path, "")
            part = self._part(path)
            with open(part, "xb") as plain:
                file = _Hashing(plain)
                yield cast("BinaryIO", file)
            self._wanted[path] = file.sha256
            self._of[path] = of
            is_there = path in self._journal.made and self._sha256(path) == file.sha256
            if not is_there and self._may_replace(path, index=index):
                self._staged[path] = index
            else:
                os.unlink(part)

    def keeps(self, path: str, of: tuple[Part, ...]) -> bool:
        """Keep a file that an earlier export of this kind has made of the same images; False if it is not there."""
        made = self._journal.made.get(path, set())
        before = [part.sha256 for part in self._journal.of.get(path, ())]
        is_same = self._rewrite is None and path not in self._journal.rewritten and before == [one.sha256 for one in of]
        if not is_same or len(made) != 1 or self._sha256(path) not in made:
            return False
        self._claim(path, *made)
        self._of[path] = of
        return True

    def lines(self) -> list[str]:
        """Return a line for the user about each thing that an export left out or left alone."""
        found = self.choice.lines()
        if self.kept:
            more = f", and {len(self.kept) - 1} more" if len(self.kept) > 1 else ""
            what = counted(len(self.kept), "file")
            found.append(f"kept {what} that somebody has changed since the last export: {self.kept[0]}{more}")
        return found

    def _place(self, record: Outcome, number: int, path: str) -> bool:
        image = record.files[number - 1]
        self._claim(path, image.sha256)
        source = self.choice.path(image)
        if self._is_there(source, path, image):
            self.linked += not self._copy
            return True
        if not self._may_replace(path):
            return True
        part = self._part(path)
        is_linked = self._can_link and not self._copy and self._link(source, part)
        if not is_linked and not self._copied(image, part):
            del self._wanted[path]
            self.choice.leave_out(record, number, Reason.CHANGED)
            return False
        self._staged[path] = False
        return True

    def _is_there(self, source: str, path: str, image: ImageFile) -> bool:
        """Return whether the target has the image: as a link, or as a copy with the same size and time."""
        try:
            here, there = os.lstat(self._place_of(path)), os.lstat(source)
        except OSError:
            return False
        if os.path.samestat(here, there):
            return not self._copy
        is_alike = (here.st_size, here.st_mtime_ns) == (there.st_size, there.st_mtime_ns)
        return is_alike and stat.S_ISREG(here.st_mode) and self._journal.made.get(path) == {image.sha256}

    def _link(self, source: str, part: str) -> bool:
        try:
            portable.link(source, part)
        except OSError as error:
            if error.errno in NOT_THE_NAME:
                raise
            self._can_link = error.errno == errno.EMLINK  # this file alone has as many names as it can
            return False
        self.linked += 1
        return True

    def _copied(self, image: ImageFile, part: str) -> bool:
        """Copy an image with its time; return False if its content is not as recorded."""
        with open(part, "xb") as plain, self.choice.open(image) as content:
            copy = _Hashing(plain)
            shutil.copyfileobj(content, cast("BinaryIO", copy), _COPIED_BYTES)
            state = os.fstat(content.fileno())
        os.utime(part, ns=(state.st_mtime_ns, state.st_mtime_ns))
        if copy.sha256 != image.sha256:
            os.unlink(part)
        return copy.sha256 == image.sha256

    def _has_copy(self, path: str, image: ImageFile) -> bool:
        return path in self._journal.made and self._sha256(path) == image.sha256

    def _claim(self, path: str, sha256: str) -> None:
        if not is_inside(path):
            raise FolderError(self._target, f"{path!r} is no name for a file of an export")
        if path in self._wanted:
            raise TwiceError(self._place_of(path), "two files of the export would have this name")
        self._wanted[path] = sha256

    def _may_replace(self, path: str, *, index: bool = False) -> bool:
        """Return whether the place is free or holds a file of an earlier export as that made it.

        Raises:
            FolderError: the file is somebody's, or it is an index that somebody has changed.
        """
        place = self._place_of(path)
        if not os.path.lexists(place):
            return True
        if path not in self._journal.made:
            raise FolderError(place, "no export has made this file; move it away, or choose another folder")
        if self._sha256(path) in self._journal.made[path]:
            return True
        if index:
            raise FolderError(place, "was changed since it was exported; move it away, or choose another folder")
        self.kept.append(path)
        return False

    def _sha256(self, path: str) -> str:
        """Return the digest of a file in the target; "" if it is no plain file that can be read."""
        try:
            with os.fdopen(open_plain(self._place_of(path)), "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return ""

    def _place_of(self, path: str) -> Path:
        return self._target / on_disk(path)

    def _part(self, path: str) -> str:
        part = self._parts / on_disk(path)
        if part.parent not in self._ready:
            part.parent.mkdir(parents=True, exist_ok=True)
            self._ready.add(part.parent)
        return str(part)

    def _commit(self) -> None:
        """Give all files their names, and remove those of the earlier export that are not in this one."""
        made, wanted = self._journal.made, self._wanted
        stale = [path for path in made if path not in wanted]
        kept, before = set(self.kept), self._journal.of
        if self._rewrite is None:
            self._journal.rewritten &= kept
        else:
            self._journal.rewritten |= self._of.keys()
        self._journal.of = {path: before.get(path, ()) if path in kept else self._of.get(path, ()) for path in wanted}
        self._journal.note({path: wanted[path] for path in self._staged})
        indexes = [path for path, is_index in self._staged.items() if is_index]
        for path in indexes:
            with suppress(FileNotFoundError):
                os.unlink(self._place_of(path))
        for path, is_index in self._staged.items():
            if not is_index:
                self._move(path)
        for path in stale:
            self._remove(path)
        for path in indexes:
            self._move(path)
        # A file that stays although the export no longer has it is still known: it may come back.
        stay = {path: made[path] for path in stale if path in self.kept}
        self._journal.renew({path: made[path] if path in kept else {wanted[path]} for path in wanted} | stay)

    def _move(self, path: str) -> None:
        place = self._place_of(path)
        if place.parent != self._target:
            self._check_folders(path)
            place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self._part(path), place)

    def _remove(self, path: str) -> None:
        """Remove a file of an earlier export, and the folders that are empty then; keep it if somebody changed it."""
        place = self._place_of(path)
        if not os.path.lexists(place):
            return
        self._check_folders(path)
        if self._sha256(path) not in self._journal.made[path]:
            self.kept.append(path)
            return
        os.unlink(place)
        self.removed += 1
        with suppress(OSError):
            while (place := place.parent) != self._target:
                place.rmdir()

    def _check_folders(self, path: str) -> None:
        place = self._target
        for part in on_disk(path).split("/")[:-1]:
            place /= part
            if place.is_symlink():
                raise FolderError(place, "is a link, which is not followed; remove it, then export again")

    def _clear_parts(self) -> None:
        if self._parts.is_symlink():
            raise FolderError(self._parts, "is a link, which is not followed; remove it, then export again")
        if self._parts.exists():
            shutil.rmtree(self._parts)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = Path(os.fsdecode(error.filename)) if error.filename else self._target
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise unusable(self._target, error) from error
            raise FolderError(place, f"cannot be written: {error.strerror or error}") from error


class _Hashing:
    """Writes to a file and hashes what it writes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return self._file.write(data)

    @property
    def sha256(self) -> str:
        """The digest of all that was written."""
        return self._digest.hexdigest()
