"""Finds the jobs of a file by their id."""

from __future__ import annotations

import hashlib
from array import array
from heapq import nsmallest
from typing import TYPE_CHECKING, NamedTuple, Self

from venice_batch.jobfile.defaults import Defaults
from venice_batch.jobfile.identity import has_implicit_id
from venice_batch.jobfile.jobs import MAX_PROBLEMS, Findings, Jobs
from venice_batch.jobfile.spill import Spill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from venice_batch.jobfile.jobs import Shard
    from venice_batch.jobfile.source import Source
    from venice_batch.model import Job


class Directory:
    """From an id's hash to the places of jobs that have it, in 4 to 12 bytes a job beside the hashes.

    A hash table chained through arrays: a dict of a million ids would take ten times the memory, and looking one up
    in a sorted array five times as long. `repeated` holds the hashes that several jobs have.
    """

    __slots__ = ("_first", "_hashes", "_mask", "_next", "repeated")

    def __init__(self, hashes: array[int]) -> None:
        """Refer to each job's `hash(id)`, in the file's order; the array must not change any more."""
        self._hashes = hashes
        self._mask = (1 << len(hashes).bit_length()) - 1
        # Places count from 1 here, so that 0 ends a chain.
        first = self._first = array("I", bytes(4 * (self._mask + 1)))
        chain = self._next = array("I", bytes(4))
        mask = self._mask
        self.repeated: set[int] = set()
        for place, hashed in enumerate(hashes, start=1):
            bucket = hashed & mask
            other = first[bucket]
            chain.append(other)
            first[bucket] = place
            while other:
                if hashes[other - 1] == hashed:
                    self.repeated.add(hashed)
                    break
                other = chain[other]

    def places(self, hashed: int) -> list[int]:
        """Every place of a job whose id has this hash: one at most, but for a rare coincidence."""
        found = []
        place = self._first[hashed & self._mask]
        while place:
            if self._hashes[place - 1] == hashed:
                found.append(place - 1)
            place = self._next[place]
        return found


class Repeat(NamedTuple):
    """Where a job stands that has the id of another before it, which is on line `first`.

    `number` counts the file's jobs from 0, `offset` is that of the line, `sub` the place within it.
    """

    number: int
    offset: int
    line: int
    sub: int
    first: int


class Ids:
    """The ids of a file's jobs, told apart by 128 bits of BLAKE2, on disk but for what is under examination.

    Use it as a context. Memory is a megabyte and about a byte for each job.
    """

    def __init__(self) -> None:
        self._spill = Spill("<16sQIIH")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spill.__exit__()

    def add(self, job: Job, offset: int, sub: int) -> None:
        """Take in a job, in the file's order. Raises FolderError where the temporary file cannot be written."""
        digest = hashlib.blake2b(job.id.encode(), digest_size=16).digest()
        self._spill.add(digest, offset, job.line, job.index, sub)

    def repeats(self, most: int) -> tuple[list[Repeat], int]:
        """Return the first `most` jobs with the id of an earlier one, in the file's order, and how many there are.

        Raises:
            FolderError: the temporary file cannot be read.
        """
        total = 0

        def counted() -> Iterator[Repeat]:
            nonlocal total
            for repeat in self._repeats():
                total += 1
                yield repeat

        return nsmallest(most, counted()), total

    def _repeats(self) -> Iterator[Repeat]:
        for records in self._spill.groups():
            lines: dict[bytes, int] = {}
            for digest, offset, line, index, sub in records:
                if digest in lines:
                    yield Repeat(index, offset, line, sub, lines[digest])
                else:
                    lines[digest] = line


def complaint(job: Job, first: int) -> str:
    """Return what is wrong with a job whose id is used on the line `first` already."""
    if has_implicit_id(job):
        if first == job.line:
            return "the matrix makes the same request twice; give the line an id to have both"
        return f"the request is that of line {first}, where no id tells them apart; give each an id"
    return f"{job.id!r} is used on line {first} already"


_LAST = 0xFFFF_FFFF


class JobIndex:
    """The jobs of one file: how many, in which lanes, and each of them on demand.

    Reads its source again, which has to stay open as long. Iterators are independent of each other.
    """

    __slots__ = (
        "_counts",
        "_directory",
        "_first",
        "_hashes",
        "_ids",
        "_jobs",
        "_lanes",
        "_lines",
        "_next",
        "_numbers",
        "_offsets",
        "_source",
        "_subs",
    )

    def __init__(self, source: Source, defaults: Defaults) -> None:
        """Make an empty index; `build` makes a full one."""
        self._source = source
        self._jobs = Jobs(source, defaults)
        self._offsets = array("Q")
        self._lines = array("I")
        self._subs = array("H")  # place within a line of several jobs; a matrix makes 10,000 at most
        self._numbers = array("I")  # Job.index, which counts the jobs of other shares too
        # Python's own hash of the id is ready at hand, 64 bits of the request's are enough beside it.
        self._ids = array("q")
        self._hashes = array("Q")
        self._directory = Directory(self._ids)
        # A lane is a chain: its first job, and from each job the next of the same lane.
        self._next = array("I")
        self._first: list[int] = []
        self._counts: list[int] = []
        self._lanes: dict[str, int] = {}

    @classmethod
    def build(
        cls,
        source: Source,
        *,
        defaults: Defaults | None = None,
        max_problems: int = MAX_PROBLEMS,
        examine: Callable[[Job], Iterable[tuple[str, str]]] | None = None,
        shard: Shard | None = None,
    ) -> JobIndex:
        """Read and check all of the file, once.

        `examine` is shown every valid job in the file's order; what it returns, as (field, complaint), is a
        problem of the job's line like any other. With a `shard` only that share's jobs are shown to it and indexed,
        which may be none; all lines are read.

        Raises:
            JobsFileError: any line has a problem, an id is used twice, or there is no job at all. Holds the
                first `max_problems` in the file's order and the number of all.
        """
        index = cls(source, defaults or Defaults())
        findings = Findings(max_problems)
        last: list[int] = []
        for job, offset, sub in index._jobs.valid(findings, examine=examine, shard=shard):
            index._append(job, offset, sub, last)
        index._directory = Directory(index._ids)
        index._find_duplicates(findings)
        findings.raise_any()
        return index

    @property
    def lanes(self) -> tuple[str, ...]:
        """The models' names, in the order of first use; a lane's number is its place here."""
        return tuple(self._lanes)

    def __len__(self) -> int:
        """Return the number of jobs, a matrix counted as what it makes."""
        return len(self._offsets)

    def count(self, lane: int) -> int:
        """Return the number of jobs in a lane."""
        return self._counts[lane]

    def pending(self, lane: int, is_settled: Callable[[int], bool]) -> Iterator[Job]:
        """Yield the jobs of a lane in the file's order, without those at places that are settled.

        A settled job is not read. Raises JobsFileError when the file has changed since `build`.
        """
        return self._read(place for place in self._chain(lane) if not is_settled(place))

    def jobs_in_order(self) -> Iterator[Job]:
        """Yield every job in the file's order; raises as `jobs`."""
        return self._read(range(len(self)))

    def places_of(self, lane: int) -> Iterator[int]:
        """Yield the place in this index of every job of a lane, in the file's order."""
        return self._chain(lane)

    def line(self, place: int) -> int:
        """Return the number of the line that the job at `place` stands on."""
        return self._lines[place]

    def has_request(self, place: int, request_hash: str) -> bool:
        """Tell whether the job at `place` makes the request of this hash; False for what is no hash."""
        try:
            return int(request_hash[:16], 16) == self._hashes[place]
        except ValueError:
            return False

    def directory(self) -> Directory:
        """Return the directory of the jobs by id."""
        return self._directory

    def _append(self, job: Job, offset: int, sub: int, last: list[int]) -> None:
        place = len(self._offsets)
        self._offsets.append(offset)
        self._lines.append(job.line)
        self._subs.append(sub)
        self._numbers.append(job.index)
        self._ids.append(hash(job.id))
        self._hashes.append(int(job.request_hash[:16], 16))
        self._next.append(_LAST)
        lane = self._lanes.setdefault(job.model, len(self._lanes))
        if lane == len(self._counts):
            self._counts.append(1)
            self._first.append(place)
            last.append(place)
        else:
            self._counts[lane] += 1
            self._next[last[lane]] = place
            last[lane] = place

    def _find_duplicates(self, findings: Findings) -> None:
        # Equal hashes are rare enough to read their lines again, which makes the answer exact.
        suspects = self._directory.repeated
        if not suspects:
            return
        users: dict[str, int] = {}
        places = (place for place, hashed in enumerate(self._ids) if hashed in suspects)
        for job in self._read(places):
            if job.id in users:
                findings.add(job.line, "id", complaint(job, users[job.id]), self._source.name)
            else:
                users[job.id] = job.line

    def _chain(self, lane: int) -> Iterator[int]:
        place = self._first[lane]
        while place != _LAST:
            yield place
            place = self._next[place]

    def _read(self, places: Iterable[int]) -> Iterator[Job]:
        again = self._jobs.again()
        for place in places:
            line = self._lines[place]
            job = again.job(self._offsets[place], line, self._numbers[place], self._subs[place])
            # A change that left size and time alone is seen here, unless it left the job alone too.
            if hash(job.id) != self._ids[place] or not self.has_request(place, job.request_hash):
                raise again.changed(line)
            yield job
