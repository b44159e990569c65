"""Images of other output folders that jobs can take instead of buying their own.

A job can take the images of a record for the same request. Each purchase serves one job: who asks twice for the same
request wants two images, and a request without a seed makes another one each time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from venice_batch.errors import FolderError
from venice_batch.jobfile.pictures import FIELD
from venice_batch.model import Outcome, Reused, Status
from venice_batch.output import manifest
from venice_batch.output.folder import unusable
from venice_batch.output.manifest import NO_RECORD, FileView, PassedOver, RecordView
from venice_batch.output.marks import read_marks
from venice_batch.output.originals import shown
from venice_batch.output.plain_files import PlainFiles
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from venice_batch.jobfile import JobIndex
    from venice_batch.model import Job
    from venice_batch.output.marks import Mark
    from venice_batch.output.resume import Resume

Purchase = tuple[str, str]
"""The run and the job that bought images."""

_SUCCEEDED = Status.SUCCEEDED.value
_TAKES_PICTURES = frozenset(map(str, FIELD))
_LOST = "missing or changed"
_REJECTED = "rejected by a person"
_SANDBOX = "made by the sandbox"
_REAL = "not made by the sandbox"


class _Flags(msgspec.Struct, frozen=True):
    content_violation: bool = False


class _View(RecordView, frozen=True):
    """The part of a record that decides whether its images can be taken."""

    run_id: str = ""
    endpoint: str = ""
    flags: _Flags = _Flags()
    reused: Reused | None = None

    @property
    def purchase(self) -> Purchase:
        return (self.reused.run_id, self.reused.id) if self.reused else (self.run_id, self.id)


class Found(NamedTuple):
    """A record whose images can be taken: the number of its folder, its position in the manifest there, its id."""

    folder: int
    position: int
    id: str


class ReusableImages:
    """The images of other folders that jobs of an index can take.

    A record serves a job if it is for the same request, its images are whole and none was rejected by a person. It
    serves one job only, and none if a job of the output folder has its images already. A job with the record's own id
    comes first, then the others in the file's order. A job that works on another's image finds its record once that
    image is known.

    `notices` say what could not be taken, a sentence for each folder and reason, and which lines hold no record.

    Args:
        index: the jobs.
        known: what their own folder holds of them.
        root: that folder.
        folders: the others; the first one with a record counts.
        is_settled: jobs that need nothing.
        sandbox: take only what a sandbox made; False: only what none made; None: either.

    Raises:
        FolderError: one of the folders is not an output folder, cannot be read, or has a manifest without any record.
    """

    def __init__(
        self,
        index: JobIndex,
        known: Resume,
        root: Path,
        folders: Sequence[Path],
        *,
        is_settled: Callable[[int], bool],
        sandbox: bool | None,
    ) -> None:
        for folder in folders:
            if not (folder / manifest.NAME).is_file():
                raise FolderError(folder, f"holds no {manifest.NAME}; is it a run's output folder?")
        self._index = index
        self._known = known
        self._folders = folders
        self._sandbox = sandbox
        self._is_settled = is_settled
        self._root = root
        self._requests = index.requests()
        self._spoilt: set[Found] = set()
        self._match()

    def _match(self) -> None:
        """Find records for the jobs that need images."""
        self._taken: set[int] = set()  # hashes of purchases, of which there may be a million
        self._found: dict[int, Found] = {}
        self._for_chains: defaultdict[str, list[Found]] = defaultdict(list)
        self._left_out: dict[tuple[int, str], Counter[str]] = {}
        self._passed_over: dict[int, PassedOver] = {}
        self._read_own(self._root)
        spare: list[tuple[Found, str]] = []
        for number in range(len(self._folders)):
            spare += self._read(number)
        for found, request_hash in spare:
            self._give(found, request_hash)

    def __len__(self) -> int:
        """Return how many jobs can take images; of those that work on others' images, only once they are known."""
        return len(self._found)

    def __contains__(self, place: object) -> bool:
        """Return whether the job at a place can take images, as far as that is known."""
        return place in self._found

    @property
    def notices(self) -> tuple[str, ...]:
        """What could not be read or taken, a sentence for each folder and reason."""
        passed_over = (
            text
            for number, lines in self._passed_over.items()
            if (text := lines.notice(f"{shown(self._folders[number])}/{manifest.NAME}"))
        )
        left_out = (
            f"{shown(self._folders[number])}: images of {counted(len(ids), 'job')} with the same request are not "
            f"reused, because they are {reason} ({', '.join(list(ids)[:3])}{', …' if len(ids) > 3 else ''})"
            for (number, reason), ids in self._left_out.items()
        )
        return (*passed_over, *left_out)

    def places(self) -> Iterator[tuple[int, Found]]:
        """Yield each job that can take images, by its place, with the record.

        Of jobs that work on others' images those come whose parents are done by then: take each job's images, or note
        them in `known`, before asking for the next.
        """
        yield from sorted(self._found.items())
        if not self._for_chains:
            return
        for place in self._index.chains.order:
            if not self._known.may_go(place):
                continue
            self._known.judge(place)
            images = None if self._is_settled(place) else self._known.parents.chosen(place)
            if images is None:
                continue
            records = self._for_chains.get(self._known.parents.job(place, images).request_hash)
            if records:
                of_its_id = (record for record in records if self._index.has_id(place, record.id))
                found = next(of_its_id, records[0])
                records.remove(found)
                self._found[place] = found
                yield place, found

    def look_again(self, spoilt: Iterable[Found]) -> None:
        """Find records again for the jobs that still need images: others than these, whose images could not be taken.

        A copy in the next folder may be whole. Raises FolderError.
        """
        self._spoilt.update(spoilt)
        self._match()

    def job(self, place: int) -> Job:
        """Return a job that can take images; one that works on others' images has them in its request.

        Raises:
            JobsFileError: the jobs file has changed.
        """
        images = self._known.parents.chosen(place) if place in self._index.chains.links else None
        return self._known.parents.job(place, images) if images else self._index.job(place)

    def record(self, found: Found) -> Outcome:
        """Return a record that was found, whole. Raises FolderError if it is no longer there."""
        path = self._folders[found.folder] / manifest.NAME
        try:
            with manifest.opened(path) as lines:
                lines.seek(found.position)
                return msgspec.json.decode(lines.readline(), type=Outcome)
        except OSError as error:
            raise unusable(path, error) from error
        except NO_RECORD as error:
            raise FolderError(path, "has changed since it was read") from error

    def folder(self, found: Found) -> Path:
        """Return the folder of a record that was found."""
        return self._folders[found.folder]

    def note_all(self) -> None:
        """Count every job that can take images as done in `known`, without taking them, for a plan."""
        chained = self._index.chains.ids
        for place, found in self.places():
            view = RecordView("", "", _SUCCEEDED)
            if place in chained:
                record = self.record(found)
                files = tuple(FileView(file.path, file.bytes, file.sha256) for file in record.files)
                view = RecordView(chained[place], record.request_hash, _SUCCEEDED, files)
            self._known.note(place, view)

    def _read_own(self, root: Path) -> None:
        """Note the purchases that jobs of the output folder have already."""
        if not (root / manifest.NAME).exists():
            return
        places = self._index.directory().places
        for record, _ in _records(root):
            if record.status == _SUCCEEDED and any(
                self._known.is_done(place) and self._asks(place, record) for place in places(hash(record.id))
            ):
                self._taken.add(hash(record.purchase))

    def _asks(self, place: int, record: _View) -> bool:
        # The request of a job that works on another's image is not in the index.
        return place in self._index.chains.links or self._index.has_request(place, record.request_hash)

    def _read(self, number: int) -> Iterable[tuple[Found, str]]:
        """Give the records of a folder to the jobs of the same id; return those without such a job."""
        root = self._folders[number]
        plain, marks = PlainFiles(root), read_marks(root)
        has_chains = bool(self._index.chains)
        spare: dict[int, tuple[Found, str]] = {}
        passed_over = self._passed_over[number] = PassedOver()
        is_empty = True
        for record, position in _records(root, passed_over):
            is_empty = False
            if record.status != _SUCCEEDED or not record.files or record.flags.content_violation:
                continue
            if Found(number, position, record.id) in self._spoilt:
                continue
            is_wanted = bool(self._wanting(record.request_hash))
            if not is_wanted and not (has_chains and record.endpoint in _TAKES_PICTURES):
                continue
            reason = self._fault(record, plain, marks)
            if reason:
                if is_wanted:
                    self._left_out.setdefault((number, reason), Counter())[record.id] += 1
                continue
            self._left_out.get((number, _LOST), Counter()).pop(record.id, None)
            if hash(record.purchase) in self._taken:
                continue
            spare[hash((record.id, record.request_hash))] = (Found(number, position, record.id), record.request_hash)
            self._taken.add(hash(record.purchase))
        if is_empty and passed_over.count:
            raise manifest.without_records(f"{shown(root)}/{manifest.NAME}", passed_over.count)
        self._left_out = {key: ids for key, ids in self._left_out.items() if ids}
        return [(found, hashed) for found, hashed in spare.values() if not self._give(found, hashed, same_id=True)]

    def _wanting(self, request_hash: str) -> list[int]:
        """Return the places of jobs that still need images of this request."""
        waiting = self._index.chains.links
        return [
            place
            for place in self._requests.places(hash(request_hash))
            if place not in self._found and place not in waiting and not self._is_settled(place)
        ]

    def _give(self, found: Found, request_hash: str, *, same_id: bool = False) -> bool:
        """Let a job have the record; return False if none needs it."""
        wanting = sorted(self._wanting(request_hash))
        place = next((place for place in wanting if not same_id or self._index.has_id(place, found.id)), None)
        if place is not None:
            self._found[place] = found
        elif not same_id and self._index.chains:
            self._for_chains[request_hash].append(found)
        return place is not None

    def _fault(self, record: _View, plain: PlainFiles, marks: dict[tuple[str, str, int], Mark]) -> str:
        """Return why a record's images cannot be taken; "" if they can."""
        if self._sandbox is not None and record.sandbox != self._sandbox:
            return _SANDBOX if record.sandbox else _REAL
        for number, file in enumerate(record.files, 1):
            mark = marks.get((record.id, file.sha256, number))
            if file.pruned or (mark is not None and mark.mark == "rejected"):
                return _REJECTED
            try:
                if plain.size(file.path) != file.bytes:
                    return _LOST
            except (OSError, ValueError):
                return _LOST
        return ""


def _records(root: Path, passed_over: PassedOver | None = None) -> Iterator[tuple[_View, int]]:
    """Yield each record of a folder with its position in the manifest; count the other lines. Raises FolderError."""
    path = root / manifest.NAME
    decode = msgspec.json.Decoder(_View).decode
    position = 0
    try:
        with manifest.opened(path) as lines:
            for number, line in enumerate(lines, 1):
                try:
                    record = decode(line)
                except NO_RECORD:
                    record = None
                if record is not None:
                    yield record, position
                elif passed_over is not None and line.strip():
                    passed_over.note(number)
                position += len(line)
    except OSError as error:
        raise unusable(path, error) from error
