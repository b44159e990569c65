"""Where every job of a file stands, in some 50 bytes a job.

A run of a million jobs keeps their places, not the jobs; a job is read again when its turn comes.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from venice_batch.jobfile.defaults import Defaults
from venice_batch.jobfile.directory import Directory
from venice_batch.jobfile.duplicates import complaint
from venice_batch.jobfile.findings import MAX_PROBLEMS, Findings
from venice_batch.jobfile.jobs import Jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from venice_batch.jobfile.shard import Shard
    from venice_batch.jobfile.source import Source
    from venice_batch.model import Job

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
