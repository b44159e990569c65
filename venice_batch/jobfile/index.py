"""An index of the jobs in a file, in about 60 bytes a job.

A run of a million jobs keeps their places, not the jobs; a job is read again when its turn comes.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from venice_batch.errors import MAX_PROBLEMS, Findings
from venice_batch.jobfile.chains import Chains, Found, ancestors, no_job
from venice_batch.jobfile.defaults import Defaults
from venice_batch.jobfile.identity import has_implicit_id
from venice_batch.jobfile.jobs import Jobs
from venice_batch.jobfile.selection import Selection
from venice_batch.jobfile.source import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from venice_batch.jobfile.jobs import Again, Shard
    from venice_batch.jobfile.rewritten import Places
    from venice_batch.jobfile.selection import Part
    from venice_batch.jobfile.source import Source
    from venice_batch.model import Job


class Directory:
    """Find the places of jobs by the hash of their id, in at most 12 bytes a job besides the hashes.

    A hash table chained through arrays: a dict of a million ids would take ten times the memory, and a binary search
    in a sorted array five times as long. `repeats` are the places whose hash an earlier job has too, in the file's
    order; `originals[n]` is the place of the first job with the hash at `repeats[n]`.
    """

    __slots__ = ("_first", "_hashes", "_mask", "_next", "originals", "repeats")

    def __init__(self, hashes: array[int]) -> None:
        """Take each job's `hash(id)` in the file's order; the array must not change any more."""
        self._hashes = hashes
        self._mask = (1 << len(hashes).bit_length()) - 1
        # Places count from 1 here, so that 0 ends a chain.
        first = self._first = array("I", bytes(4 * (self._mask + 1)))
        chain = self._next = array("I", bytes(4))
        mask = self._mask
        self.repeats = array("I")
        self.originals = array("I")
        for place, hashed in enumerate(hashes, start=1):
            bucket = hashed & mask
            other = first[bucket]
            while other and hashes[other - 1] != hashed:
                other = chain[other]
            if other:
                # Put it behind the first job of this hash, which the next one then meets first. Otherwise each of a
                # million jobs with one id would walk past all those before it.
                chain.append(chain[other])
                chain[other] = place
                self.repeats.append(place - 1)
                self.originals.append(other - 1)
            else:
                chain.append(first[bucket])
                first[bucket] = place

    def places(self, hashed: int) -> list[int]:
        """Return the places of all jobs whose id has this hash: two different ids very rarely share one."""
        found = []
        place = self._first[hashed & self._mask]
        while place:
            if self._hashes[place - 1] == hashed:
                found.append(place - 1)
            place = self._next[place]
        return found


_LAST = 0xFFFF_FFFF

_MOST_NAMES = 10_000
"""Jobs among which a message looks for a similar name."""


class JobIndex:
    """The jobs of one file: how many there are, in which lanes, and each of them on demand.

    Jobs are read again from the source, which has to stay open. Iterators are independent of each other. Memory is
    about 60 bytes a job. `left_out` counts the file's other jobs, which the part that was asked for does not have.
    """

    __slots__ = (
        "_counts",
        "_directory",
        "_first",
        "_hashes",
        "_ids",
        "_jobs",
        "_lanes",
        "_line_hashes",
        "_lines",
        "_next",
        "_numbers",
        "_offsets",
        "_source",
        "_subs",
        "chains",
        "left_out",
    )

    def __init__(self, source: Source, defaults: Defaults) -> None:
        """Make an empty index; `build` makes one of a file."""
        self.left_out = 0
        self._source = source
        self._jobs = Jobs(source, defaults)
        self._offsets = array("Q")
        self._lines = array("I")
        self._subs = array("H")  # place within a line of several jobs; a matrix makes 10,000 at most
        self._numbers = array("I")  # Job.index, which counts the jobs of other shares too
        # Python's own hashes of the line, of the id and of the request's hash; text keeps its hash.
        self._line_hashes = array("q")
        self._ids = array("q")
        self._hashes = array("q")
        self._directory = Directory(self._ids)
        # A lane is a chain: its first job, and for each job the next one of the same lane.
        self._next = array("I")
        self._first: list[int] = []
        self._counts: list[int] = []
        self._lanes: dict[str, int] = {}
        self.chains = Chains()

    @classmethod
    def build(
        cls,
        source: Source,
        *,
        defaults: Defaults | None = None,
        max_problems: int = MAX_PROBLEMS,
        examine: Callable[[Job], Iterable[tuple[str, str]]] | None = None,
        shard: Shard | None = None,
        part: Part | None = None,
        name_of: Callable[[Job], str] = lambda job: "",
    ) -> JobIndex:
        """Read and check the whole file, once; twice to draw a sample.

        `examine` gets every valid job in the file's order; the (field, complaint) pairs that it returns are problems
        of the job's line like any others. With a `shard` or a `part` all lines are read and checked, but only their
        jobs are examined and indexed, which may be none. `name_of` returns the name of a job's images, which the part's
        patterns match too.

        Raises:
            JobsFileError: a line has a problem, an id is used twice, a job waits for the image of one that is missing
                or for its own, or there is no job. Holds the first `max_problems` in the file's order, and the number
                of all. Uses of an id beyond those are counted by
                the ids' 64-bit hashes.
            UsageError: no job matches one of the part's patterns.
        """
        index = cls(source, defaults or Defaults())
        findings = Findings(max_problems)
        last: list[int] = []
        selection = index._selection(part, name_of, shard) if part else None
        for job, offset, line_hash, sub in index._jobs.valid(
            findings, examine=examine, shard=shard, selection=selection
        ):
            index._append(job, offset, line_hash, sub, last)
        index._directory = Directory(index._ids)
        index._find_duplicates(findings)
        if index.chains:
            index._connect_chains(findings)
        findings.raise_any(source.places)
        if selection is not None:
            selection.refuse_unmet(source.name)
            index.left_out = selection.left_out
        return index

    def _selection(self, part: Part, name_of: Callable[[Job], str], shard: Shard | None) -> Selection:
        drawn = None
        if part.sample is not None:
            # What is wrong with the lines is reported when they are read the second time.
            jobs = (job for job, *_ in self._jobs.valid(Findings(0), shard=shard))
            drawn = Selection(part, name_of).draw(jobs, part.sample)
        needed: set[str] = set()
        if waiting := self._jobs.waiting():
            chosen = Selection(part, name_of, drawn)
            needed = ancestors(
                (job.id for job, *_ in self._jobs.valid(Findings(0), shard=shard) if chosen.takes(job)), waiting
            )
        return Selection(part, name_of, drawn, needed)

    @property
    def unused_variables(self) -> tuple[str, ...]:
        """The defaults' variables that no prompt names."""
        return self._jobs.unused_variables

    @property
    def lanes(self) -> tuple[str, ...]:
        """The models' names in the order of first use; a lane's number is its place here."""
        return tuple(self._lanes)

    def __len__(self) -> int:
        """Return the number of jobs; a matrix counts as the jobs that it makes."""
        return len(self._offsets)

    def count(self, lane: int) -> int:
        """Return the number of jobs in a lane."""
        return self._counts[lane]

    def pending(self, lane: int, is_settled: Callable[[int], bool]) -> Iterator[Job]:
        """Yield the jobs of a lane in the file's order; skip settled places without reading them.

        Raises:
            JobsFileError: the file has changed since `build`.
        """
        return self._read(place for place in self._chain(lane) if not is_settled(place))

    def jobs_in_order(self) -> Iterator[Job]:
        """Yield every job in the file's order. Raises JobsFileError as `pending` does."""
        return self._read(range(len(self)))

    def whole_file(self) -> Iterator[Job]:
        """Yield every job of the file in its order, those that a shard or a part leaves out, too.

        Lines that were added since `build` are passed over.

        Raises:
            JobsFileError: the file has changed otherwise; jobs that were yielded before may be wrong.
        """
        place, size = 0, self._source.stamp[0]
        for job, offset, line_hash, sub in self._jobs.valid(Findings(0)):
            if offset >= size:
                break
            is_indexed = place < len(self) and (offset, sub) == (self._offsets[place], self._subs[place])
            if is_indexed and line_hash != self._line_hashes[place]:
                break
            place += is_indexed
            yield job
        if place < len(self) or not self._source.unchanged():
            raise refusal(self._source.name, "has changed since the check; run again")

    def job(self, place: int) -> Job:
        """Return the job at `place`. Raises JobsFileError as `pending` does."""
        return self._job_at(place, self._jobs.again())

    def places_of(self, lane: int) -> Iterator[int]:
        """Yield the places of a lane's jobs in this index, in the file's order."""
        return self._chain(lane)

    @property
    def places(self) -> Places:
        """Where a person finds the jobs of the file, by their lines."""
        return self._source.places

    def line(self, place: int) -> int:
        """Return the number of the line with the job at `place`."""
        return self._lines[place]

    def has_request(self, place: int, request_hash: str) -> bool:
        """Return whether the job at `place` makes the request with this hash; False if it is not a hash."""
        return hash(request_hash) == self._hashes[place]

    def directory(self) -> Directory:
        """Return the directory of the jobs by id."""
        return self._directory

    def requests(self) -> Directory:
        """Return a new directory of the jobs by the hash of their request, in place of the id."""
        return Directory(self._hashes)

    def has_id(self, place: int, job_id: str) -> bool:
        """Return whether the job at `place` has this id."""
        return hash(job_id) == self._ids[place]

    def _append(self, job: Job, offset: int, line_hash: int, sub: int, last: list[int]) -> None:
        place = len(self._offsets)
        self._offsets.append(offset)
        self._lines.append(job.line)
        self._line_hashes.append(line_hash)
        self._subs.append(sub)
        self._numbers.append(job.index)
        self._ids.append(hash(job.id))
        self._hashes.append(hash(job.request_hash))
        self._next.append(_LAST)
        if "image" in job.request or "images" in job.request:
            self.chains.add(place, job)
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
        repeats = self._directory.repeats
        # Reading a job again makes the answer exact. That is done for the problems that can be shown; the rest are
        # counted by the hashes of their ids.
        named = repeats[: findings.keep]
        again = self._jobs.again()
        for job, place, original in zip(self._read(named), named, self._directory.originals, strict=False):
            first = self._first_use(job, place, original, again)
            if first is not None:
                findings.add(
                    job.line,
                    "id",
                    _id_is_taken(job, self._lines[first], self._source),
                    self._source.name,
                )
        findings.total += len(repeats) - len(named)

    def _first_use(self, job: Job, place: int, original: int, again: Again) -> int | None:
        """Return an earlier place with the id of `job`, which is at `place`; None if only the ids' hashes are equal."""
        if self._job_at(original, again).id == job.id:
            return original
        others = sorted(self._directory.places(self._ids[place]))
        return next((other for other in others if other < place and self._job_at(other, again).id == job.id), None)

    def _connect_chains(self, findings: Findings) -> None:
        wanted = self.chains.wanted
        at = self.places.at
        hashed = sorted(place for name in wanted for place in self._directory.places(hash(name)))
        found: dict[str, Found] = {}
        for place, job in zip(hashed, self._read(hashed), strict=True):
            found.setdefault(job.id, Found(place, at(job.line), job.images))

        def report(place: int, field: str, what: str) -> None:
            findings.add(self._lines[place], field, what, self._source.name)

        missing = self.chains.connect(found, lambda place: at(self._lines[place]), report)
        missing = [(place, link) for place, link in missing if link.job not in self._jobs.invalid]
        if missing:
            few = range(min(len(self), _MOST_NAMES))
            names = {job.id: at(job.line) for job in self._read(few)}
            for place, link in missing:
                report(place, link.field, no_job(link.job, names))

    def _chain(self, lane: int) -> Iterator[int]:
        place = self._first[lane]
        while place != _LAST:
            yield place
            place = self._next[place]

    def _read(self, places: Iterable[int]) -> Iterator[Job]:
        again = self._jobs.again()
        return (self._job_at(place, again) for place in places)

    def _job_at(self, place: int, again: Again) -> Job:
        line, line_hash = self._lines[place], self._line_hashes[place]
        return again.job(self._offsets[place], line_hash, line, self._numbers[place], self._subs[place])


def _id_is_taken(job: Job, first: int, source: Source) -> str:
    """Return the message for a job whose id line `first` uses already."""
    if has_implicit_id(job):
        if first == job.line:
            return "the matrix makes the same request twice; give the line an id to have both"
        fix = "give each an id" if source.has_ids else "remove one of them, or give each an id in a table or in JSON"
        return f"the request is that of {source.places.at(first)}, where no id tells them apart; {fix}"
    return f"{job.id!r} is used {source.places.on(first)} already"
