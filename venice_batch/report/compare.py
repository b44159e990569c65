"""Two output folders compared, job by job: jobs belong together if they have the same id."""

from __future__ import annotations

from collections import Counter
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from venice_batch.model import Status
from venice_batch.money import MICRO_PER_USD
from venice_batch.report.comparison import (
    Comparison,
    GroupDifference,
    ImageDifference,
    Side,
    Some,
    StatusChange,
    ValueDifference,
)
from venice_batch.report.group_fields import cluster_of, key_of, sort_key, value_of, value_text
from venice_batch.report.intervals import ClusteredSample, Resamples, Sample, is_number, rounded
from venice_batch.report.summary import Histogram
from venice_batch.report.tables import MOST_USD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from venice_batch.model import Outcome
    from venice_batch.output.annotations import Annotations, Value
    from venice_batch.report.group_fields import GroupField, Key

FIRST_IDS = 5
"""Ids of jobs that a count names."""

MOST_ANNOTATIONS = 12
"""Annotations that are compared unless others are chosen."""


class _File(NamedTuple):
    bytes: int
    sha256: str


class _Job(NamedTuple):
    """What is kept of a job of the first folder, and taken from one of the second."""

    lane: str
    group: tuple[Key, ...]
    request_hash: str
    status: str
    micro_usd: int | None
    is_unpriced: bool
    is_sandbox: bool
    server_s: float | None
    total_s: float
    files: tuple[_File, ...]


class Comparer:
    """Compares the jobs of two folders: give it those of the first, then those of the second.

    Memory: about 700 bytes for each job of the first folder, besides the annotations.

    Parameters:
        fields: by which the table is grouped.
        annotations: the values of the two folders' images.
        means: the annotations to compare; None: the first `MOST_ANNOTATIONS`.
        cluster: jobs with the same value of this field are drawn together in a bootstrap; None: each image alone.
    """

    def __init__(
        self,
        fields: Sequence[GroupField],
        annotations: tuple[Annotations, Annotations],
        *,
        means: Sequence[str] | None = None,
        cluster: GroupField | None = None,
    ) -> None:
        self._fields = fields
        self._cluster = cluster
        self._annotations = annotations
        both = [name for name in annotations[0].names if name in annotations[1].names]
        self.left_out = max(0, len(both) - MOST_ANNOTATIONS) if means is None else 0
        self._names = tuple(both[:MOST_ANNOTATIONS] if means is None else means)
        self._jobs: dict[str, _Job] = {}
        self._only_b = _Some()
        self._changes: dict[tuple[str, str], _Some] = {}
        self._groups: dict[tuple[str | Key, ...], _Pair] = {}
        self._total = self._pair()
        self._empty = set(range(len(fields)))

    def _pair(self) -> _Pair:
        return _Pair(self._names, Sample if self._cluster is None else ClusteredSample)

    @property
    def empty_fields(self) -> list[GroupField]:
        """The fields that no job of the first folder has a value of."""
        return [self._fields[place] for place in sorted(self._empty)] if self._jobs else []

    def add_first(self, outcome: Outcome) -> None:
        """Take in a job of the first folder; each id comes once."""
        job = self._jobs[outcome.id] = self._taken(outcome)
        self._empty = {place for place in self._empty if job.group[place] is None}

    def add_second(self, outcome: Outcome) -> Iterator[ImageDifference]:
        """Compare a job of the second folder; yield its images beside the first folder's. Read them all."""
        a = self._jobs.pop(outcome.id, None)
        if a is None:
            self._only_b.add(outcome.id)
            return
        b = self._taken(outcome)
        group = tuple(
            one if one == other else _changed(one, other) for one, other in zip(a.group, b.group, strict=True)
        )
        if group not in self._groups:
            self._groups[group] = self._pair()
        pairs = (self._groups[group], self._total)
        for pair in pairs:
            pair.add_job(a, b)
        if a.status != b.status:
            self._changes.setdefault((a.status, b.status), _Some()).add(outcome.id)
        cluster = cluster_of(self._cluster, outcome) if self._cluster else 0
        for number, (one, other) in enumerate(zip_longest(a.files, b.files), 1):
            values = self._values(outcome.id, number, one, other)
            for pair in pairs:
                pair.add_values(values, cluster)
            yield _image(outcome.id, number, a, b, one, other, values)
        if not (a.files or b.files):
            yield _image(outcome.id, None, a, b, None, None, {})

    def comparison(self, a: str, b: str, *, seed: int = 0) -> Comparison:
        """Return the comparison of all jobs so far; `a` and `b` are the folders' names."""
        resamples = Resamples(seed)
        only_a = _Some()
        for job_id in self._jobs:
            only_a.add(job_id)
        names = [field.name for field in self._fields]
        groups = [
            pair.difference({name: value_of(part) for name, part in zip(names, group, strict=True)}, resamples)
            for group, pair in self._groups.items()
        ]
        groups.sort(key=lambda group: [sort_key(value) for value in group.values.values()])
        changes = sorted(self._changes.items(), key=lambda change: (-change[1].count, change[0]))
        return Comparison(
            a,
            b,
            tuple(names),
            self._cluster.name if self._cluster else None,
            seed,
            only_a.counted(),
            self._only_b.counted(),
            tuple(StatusChange(*statuses, jobs.counted()) for statuses, jobs in changes),
            tuple(groups),
            self._total.difference({}, resamples),
        )

    def _taken(self, outcome: Outcome) -> _Job:
        spent_usd = outcome.spent_usd
        return _Job(
            outcome.lane,
            tuple(key_of(field.of(outcome)) for field in self._fields),
            outcome.request_hash,
            outcome.status.value,
            None if spent_usd is None else round(max(min(spent_usd, MOST_USD), -MOST_USD) * MICRO_PER_USD),
            outcome.is_unpriced,
            outcome.sandbox,
            outcome.timing.ttfb_s,
            outcome.timing.total_s,
            tuple(_File(file.bytes, file.sha256) for file in outcome.files),
        )

    def _values(
        self, job_id: str, number: int, *files: _File | None
    ) -> dict[str, tuple[Value | None, Value | None]]:  # fmt: skip
        a, b = (
            annotations.of_image(job_id, file.sha256, number) if file is not None else {}
            for annotations, file in zip(self._annotations, files, strict=True)
        )
        return {name: (a.get(name), b.get(name)) for name in self._names if name in a or name in b}


def _changed(a: Key, b: Key) -> str:
    return f"{value_text(value_of(a))} → {value_text(value_of(b))}"


class _Some:
    """Counts jobs and keeps the first ids."""

    def __init__(self) -> None:
        self.count = 0
        self._ids: list[str] = []

    def add(self, job_id: str) -> None:
        self.count += 1
        if self.count <= FIRST_IDS:
            self._ids.append(job_id)

    def counted(self) -> Some:
        return Some(self.count, tuple(self._ids))


class _Sum:
    """One folder's share of a group."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._is_priced = False
        self._server = Histogram()

    def add(self, job: _Job) -> None:
        counts = self._counts
        counts[job.status] += 1
        counts["images"] += len(job.files)
        counts["bytes"] += sum(file.bytes for file in job.files)
        counts["unpriced"] += job.is_unpriced
        if job.micro_usd is not None:
            self._is_priced = True
            counts["micro_usd"] += job.micro_usd
            counts["sandbox_micro_usd"] += job.micro_usd if job.is_sandbox else 0
        if job.status == Status.SUCCEEDED and job.server_s is not None:
            self._server.add(job.server_s)

    def side(self) -> Side:
        counts = self._counts
        return Side(
            counts[Status.SUCCEEDED.value],
            counts["images"],
            counts["bytes"],
            counts["micro_usd"] / MICRO_PER_USD if self._is_priced else None,
            counts["unpriced"],
            counts["sandbox_micro_usd"] / MICRO_PER_USD,
            self._server.percentiles(),
        )


class _Values:
    """The values of one annotation in both folders."""

    def __init__(self, difference: Sample | ClusteredSample) -> None:
        self._n = self._changed = 0
        self._a, self._b, self._difference = Sample(), Sample(), difference

    def add(self, a: Value, b: Value, cluster: int) -> None:
        self._n += 1
        self._changed += a != b if type(a) is type(b) else key_of(a) != key_of(b)
        if is_number(a) and is_number(b):
            self._a.add(a)
            self._b.add(b)
            self._difference.add(float(b) - float(a), cluster)

    def difference(self, resamples: Resamples) -> ValueDifference:
        found = self._difference.estimate(resamples, as_share=False)
        a, b = (None if mean is None else rounded(mean) for mean in (self._a.mean, self._b.mean))
        return ValueDifference(self._n, self._changed, a, b, found)


class _Pair:
    """The jobs of one group in both folders."""

    def __init__(self, names: Iterable[str], kind: type[Sample] | type[ClusteredSample]) -> None:
        self._jobs = self._same_requests = self._compared = self._equal = 0
        self._a, self._b = _Sum(), _Sum()
        self._values = {name: _Values(kind()) for name in names}

    def add_job(self, a: _Job, b: _Job) -> None:
        self._jobs += 1
        self._same_requests += a.request_hash == b.request_hash
        self._a.add(a)
        self._b.add(b)
        for one, other in zip(a.files, b.files, strict=False):
            self._compared += 1
            self._equal += one.sha256 == other.sha256

    def add_values(self, values: dict[str, tuple[Value | None, Value | None]], cluster: int) -> None:
        for name, (a, b) in values.items():
            if a is not None and b is not None:
                self._values[name].add(a, b, cluster)

    def difference(self, values: dict[str, Any], resamples: Resamples) -> GroupDifference:
        return GroupDifference(
            values,
            self._jobs,
            self._same_requests,
            self._a.side(),
            self._b.side(),
            self._compared,
            self._equal,
            {name: pair.difference(resamples) for name, pair in self._values.items()},
        )


def _image(
    job_id: str,
    number: int | None,
    a: _Job,
    b: _Job,
    one: _File | None,
    other: _File | None,
    values: dict[str, tuple[Value | None, Value | None]],
) -> ImageDifference:
    return ImageDifference(
        job_id,
        number,
        (a.lane, b.lane),
        (a.status, b.status),
        a.request_hash == b.request_hash,
        (_cost_usd(a, one), _cost_usd(b, other)),
        (a.server_s, b.server_s),
        (a.total_s, b.total_s),
        (one and one.bytes, other and other.bytes),
        one.sha256 == other.sha256 if one and other else None,
        dict(values),
    )


def _cost_usd(job: _Job, file: _File | None) -> float | None:
    """Return the cost of one of a job's images, or of a job without any."""
    if job.micro_usd is None or (job.files and file is None):
        return None
    return job.micro_usd / MICRO_PER_USD / max(1, len(job.files))
