"""An output folder as it is now, and the changes since any earlier moment."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from venice_batch.errors import FolderError
from venice_batch.gallery.cards import annotated
from venice_batch.gallery.page import PageData
from venice_batch.gallery.thumbnails import thumbnail_name
from venice_batch.model import SUMMARY, ImageFile, Outcome
from venice_batch.output import manifest, marks, run_file
from venice_batch.output.annotations import NAME as ANNOTATIONS
from venice_batch.output.annotations import decoded, with_changes
from venice_batch.output.folder import HoldWatch, unusable
from venice_batch.output.followed import FollowedFile
from venice_batch.output.manifest import NO_RECORD
from venice_batch.output.marks import Mark
from venice_batch.output.run_file import Running

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from venice_batch.gallery.cards import Annotated
    from venice_batch.output.annotations import Value

    Image = tuple[str, str, int]


Content = TypeVar("Content")


def check(root: Path) -> None:
    """Raise FolderError unless `root` is an output folder that can be shown."""
    path = root / manifest.NAME
    if not path.is_file():
        raise FolderError(root, f"holds no {manifest.NAME}; is it a run's output folder?")
    for name in (manifest.NAME, marks.NAME, ANNOTATIONS):
        path = root / name
        try:
            manifest.opened(path).close()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise unusable(path, error) from error


class State(msgspec.Struct, frozen=True):
    """Whether a run holds the folder, and how many jobs are done: of how many, where that is known."""

    running: bool
    done: int
    jobs: int | None = None
    pending: int | None = None


class Changes(NamedTuple):
    """The jobs' cards, as JSON, and the marks that changed after one position and up to another."""

    position: int
    cards: list[bytes]
    marks: list[Mark]


class _Card(NamedTuple):
    position: int
    json: bytes
    run_id: str


class _Marked(NamedTuple):
    position: int
    mark: Mark


class _Annotated(NamedTuple):
    position: int
    values: dict[str, Value]


class _Totals(msgspec.Struct, frozen=True):
    """The part of the last run's summary that the page shows."""

    jobs: int
    pending: int


class _Name(msgspec.Struct, frozen=True):
    """The part of a record that shows which job it is about."""

    id: str


class LiveFolder:
    """The output folder `root`, followed.

    `position` counts the changes. `update`, `page` and `since` must not overlap each other, as they may run in threads;
    all other methods can be called at any time.
    """

    def __init__(self, root: Path) -> None:
        self.position = 0
        self.state = State(running=False, done=0)
        self._root = root
        self._manifest = FollowedFile(root / manifest.NAME)
        self._marks_file = FollowedFile(root / marks.NAME)
        self._annotations_file = FollowedFile(root / ANNOTATIONS)
        self._summary = FollowedFile(root / SUMMARY)
        self._run_file = FollowedFile(root / run_file.NAME)
        self._watch = HoldWatch(root)
        self._ended: _Totals | None = None
        self._running: Running | None = None
        self._made_by: Counter[str] = Counter()
        self._data = PageData(root, live=True)
        self._counts_all = True
        self._cards: dict[str, _Card] = {}
        self._marks: dict[Image, _Marked] = {}
        self._annotations: dict[Image, _Annotated] = {}
        self._images: set[Image] = set()
        self._files: dict[str, ImageFile] = {}
        self._thumbnails: dict[str, ImageFile] = {}
        self._decode = msgspec.json.Decoder(Outcome).decode

    def update(self) -> bool:
        """Read what is new on disk; return whether the page has to change.

        Raises:
            FolderError: the manifest, the marks or the annotations cannot be read.
        """
        before = self.position, self.state
        self._update_jobs()
        self._update_marks()
        self._update_annotations()
        self._update_state()
        return before != (self.position, self.state)

    def page(self) -> bytes:
        """Return the page as it is now."""
        if not self._counts_all:
            self._count_anew()
        said = [marked.mark for marked in self._marks.values() if not is_empty(marked.mark)]
        scored = [annotated(key, found.values) for key, found in self._annotations.items() if found.values]
        return b"".join(self._data.rendered((card.json for card in self._cards.values()), said, scored))

    def since(self, position: int) -> Changes:
        """Return the latest of everything that changed after `position`."""
        if position == self.position:
            return Changes(position, [], [])
        cards = [card.json for card in self._cards.values() if card.position > position]
        said = [marked.mark for marked in self._marks.values() if marked.position > position]
        return Changes(self.position, cards, said)

    def annotated_since(self, position: int) -> list[Annotated]:
        """Return all annotations of each image where one has changed after `position`."""
        if position == self.position:
            return []
        return [annotated(key, found.values) for key, found in self._annotations.items() if found.position > position]

    def has_image(self, job_id: str, sha256: str, image: int) -> bool:
        """Return whether a record of the folder names, or named, this as the job's image of that number from 1."""
        return (job_id, sha256, image) in self._images

    def file(self, path: str) -> ImageFile | None:
        """Return the image that a record calls `path`."""
        return self._files.get(path)

    def thumbnail_of(self, name: str) -> ImageFile | None:
        """Return the image whose thumbnail has this name."""
        return self._thumbnails.get(name)

    def thumbnails(self) -> list[str]:
        """Return the names of all thumbnails that the page may ask for."""
        return list(self._thumbnails)

    def _update_jobs(self) -> None:
        try:
            new = self._manifest.look()
        except OSError as error:
            raise unusable(self._root / manifest.NAME, error) from error
        if new is None:
            return
        gone = set(self._cards) if new.is_anew else set()
        self._counts_all = self._counts_all and not new.is_anew
        for outcome in self._latest(new):
            gone.discard(outcome.id)
            self._add(outcome)
        for job_id in gone:  # an open page keeps them until it is loaded again
            self._made_by[self._cards.pop(job_id).run_id] -= 1

    def _latest(self, lines: Iterable[bytes]) -> Iterator[Outcome]:
        """Yield the last whole record of each id. The lines are read twice, as there may be very many."""
        name = msgspec.json.Decoder(_Name).decode
        last: dict[str, int] = {}
        for number, line in enumerate(lines):
            with suppress(*NO_RECORD):
                last[name(line).id] = number
        wanted = set(last.values())
        for number, line in enumerate(lines):
            if number in wanted:
                with suppress(*NO_RECORD):
                    yield self._decode(line)

    def _add(self, outcome: Outcome) -> None:
        known = self._cards.get(outcome.id)
        json = self._data.add(outcome) if known is None else self._data.card(outcome)
        position = known.position if known is not None and known.json == json else self.position + 1
        if known is not None:
            self._made_by[known.run_id] -= 1
            if known.json != json:
                del self._cards[outcome.id]  # the latest record's place counts, as on the page that `report` writes
                self._counts_all = False
        self.position = max(self.position, position)
        self._cards[outcome.id] = _Card(position, json, sys.intern(outcome.run_id))
        self._made_by[outcome.run_id] += 1
        for number, file in enumerate(outcome.files, 1):
            self._images.add((outcome.id, file.sha256, number))
            self._files[file.path] = file
            if (thumbnail := thumbnail_name(file)) is not None:
                self._thumbnails[thumbnail] = file

    def _count_anew(self) -> None:
        """Read all records again for the page's figures, which cannot take back what a replaced record added."""
        self._data, before = PageData(self._root, live=True), self._cards
        self._cards = {}
        for outcome in self._latest(self._manifest.all_lines()):
            json = self._data.add(outcome)
            known = before.get(outcome.id)
            if known is None or known.json != json:  # an image was removed, for example
                self.position += 1
                known = _Card(self.position, json, outcome.run_id)
            self._cards[outcome.id] = known
        self._counts_all = True

    def _update_marks(self) -> None:
        try:
            new = self._marks_file.look()
        except OSError as error:
            raise unusable(self._root / marks.NAME, error) from error
        if new is None:
            return
        gone = set(self._marks) if new.is_anew else set()
        decode = msgspec.json.Decoder(Mark).decode
        for line in new:
            with suppress(*NO_RECORD):
                mark = decode(line)
                gone.discard(mark.key)
                self._say(mark)
        for key in gone:
            self._say(msgspec.structs.replace(self._marks[key].mark, mark=None, rating=None))

    def _say(self, mark: Mark) -> None:
        known = self._marks.get(mark.key)
        if known is not None and (known.mark.mark, known.mark.rating) == (mark.mark, mark.rating):
            return
        self.position += 1
        self._marks[mark.key] = _Marked(self.position, mark)

    def _update_annotations(self) -> None:
        try:
            new = self._annotations_file.look()
        except OSError as error:
            raise unusable(self._root / ANNOTATIONS, error) from error
        if new is None:
            return
        found: dict[Image, dict[str, Value]] = {}
        for line in new:
            if (one := decoded(line)) is None:
                continue
            key = (one.id, one.sha256, one.image)
            if key not in found:
                before = None if new.is_anew else self._annotations.get(key)
                found[key] = before.values if before else {}
            found[key] = with_changes(found[key], one.values)
        gone = self._annotations.keys() - found if new.is_anew else ()
        for key, values in (*found.items(), *((key, {}) for key in gone)):
            if (before := self._annotations.get(key)) is None or before.values != values:
                self.position += 1
                self._annotations[key] = _Annotated(self.position, values)

    def _update_state(self) -> None:
        self._ended = _content(self._summary, _Totals, self._ended)
        self._running = _content(self._run_file, Running, self._running)
        is_running, jobs, done = self._watch.is_held(), None, len(self._cards)
        if is_running and self._running is not None:
            jobs, done = self._running.jobs, self._running.done + self._made_by[self._running.run_id]
        elif not is_running and self._ended is not None:
            jobs, done = self._ended.jobs, self._ended.jobs - self._ended.pending
        self.state = State(is_running, done, jobs, None if jobs is None else max(0, jobs - done))


def _content(file: FollowedFile, kind: type[Content], before: Content | None) -> Content | None:
    """Return what a JSON file holds now: `before` if that is unchanged or cannot be read, None if it is no `kind`."""
    with suppress(OSError):
        if (lines := file.look()) is not None:
            with suppress(*NO_RECORD):
                return msgspec.json.decode(b"".join(lines), type=kind)
            return None
    return before


def is_empty(mark: Mark) -> bool:
    """Return whether the mark says that its image is unmarked."""
    return mark.mark is None and mark.rating is None
