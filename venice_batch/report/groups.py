"""The records of a folder in groups: counts, success, cost, the server's time and the means of annotations."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import msgspec

from venice_batch.errors import UsageError, one_line
from venice_batch.model import Percentiles, Status
from venice_batch.money import MICRO_PER_USD
from venice_batch.report.group_fields import ANNOTATION, cluster_of, key_of, sort_key, value_of
from venice_batch.report.intervals import ClusteredSample, Estimate, Resamples, Sample, is_number, wilson
from venice_batch.report.seeds import IgnoredSeed, SeedCheck
from venice_batch.report.summary import Histogram, percentiles_of
from venice_batch.report.tables import MOST_USD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from venice_batch.model import Outcome
    from venice_batch.output.annotations import Annotations, Value
    from venice_batch.report.group_fields import GroupField, Key

MOST_ANNOTATIONS = 12
"""Annotations that a table has unless others are chosen: the first ones that came."""

_FEW = 20
"""Up to this many durations of a group are kept as they are."""


class GroupRow(msgspec.Struct, frozen=True, gc=False):
    """The jobs of one group; `values` are those of the fields by which the table is grouped.

    `success` is the share of the jobs that succeeded. `cost_usd` includes what jobs may have cost without an image;
    `unpriced` counts jobs whose cost no record gives, and `sandbox_usd` is the part that a sandbox pretended to charge.
    `server_s` covers the jobs that succeeded. `annotations` holds the mean of each annotation over the images that have
    one, null if none has.
    """

    values: dict[str, Any]
    jobs: int
    succeeded: int
    failed: int
    rejected: int
    success: Estimate | None
    images: int
    cost_usd: float | None
    unpriced: int
    sandbox_usd: float
    server_s: Percentiles
    annotations: dict[str, Estimate | None]


class GroupTable(msgspec.Struct, frozen=True):
    """The jobs of a folder in groups.

    `total` covers all of them; `images` counts all images of the folder, also those that do not count here. `left_out`
    counts annotations that the table has no room for. `ignored_seeds` are the models that gave requests with different
    seeds the same files. `cluster` is the field whose values the bootstrap draws as a whole, null if it draws images.
    """

    by: tuple[str, ...]
    cluster: str | None
    seed: int
    groups: tuple[GroupRow, ...]
    total: GroupRow
    images: int
    left_out: int = 0
    ignored_seeds: tuple[IgnoredSeed, ...] = ()


class GroupBuilder:
    """Sort outcomes, one for each job, into groups, without keeping them.

    A job is in the group of its values. If the table is grouped by an annotation or restricted to some images
    (`where`), each image is in the group of its own values: a job counts once in each group that has one of its images,
    and its cost is divided among its images.

    Parameters:
        fields: by which the table is grouped.
        annotations: the values of the images.
        means: the annotations to average; None: the first `MOST_ANNOTATIONS` with numbers. Others are left out.
        cluster: jobs with the same value of this field are drawn together in a bootstrap; None: each image alone.
        where: says whether an image with these annotations counts; None: all jobs count, also those without an image.
    """

    def __init__(
        self,
        fields: Sequence[GroupField],
        annotations: Annotations,
        *,
        means: Sequence[str] | None = None,
        cluster: GroupField | None = None,
        where: Callable[[dict[str, Value]], bool] | None = None,
    ) -> None:
        self._fields = fields
        self._annotations = annotations
        self._where = where
        self._cluster = cluster
        self._sample = Sample if cluster is None else ClusteredSample
        names = annotations.names if means is None else means
        # More than the table has room for, as some may be texts: which ones have numbers shows only later.
        self._means = tuple(names[: 4 * MOST_ANNOTATIONS] if means is None else names)
        self._unseen = len(names) - len(self._means)
        self._most = MOST_ANNOTATIONS if means is None else len(self._means)
        self._by_image = where is not None or any(field.annotation for field in fields)
        self._groups: dict[tuple[Key, ...], _Group] = {}
        self._total = _Group(self._sample)
        self._seeds = SeedCheck()
        self._valued = [False] * len(fields)
        self._images = 0

    def add(self, outcome: Outcome) -> None:
        """Count one job."""
        self._seeds.add(outcome)
        self._images += len(outcome.files)
        keys = [key_of(field.of(outcome)) for field in self._fields]
        all_images = range(1, len(outcome.files) + 1)
        values: list[dict[str, Value]] = []
        if all_images and (self._means or self._by_image) and len(self._annotations):
            values = [self._annotations.of(outcome, number) for number in all_images]
        if not self._by_image:
            self._count(tuple(keys), outcome, all_images, values)
            self._total.add(outcome, all_images)
            return
        values = values or [{} for _ in all_images]
        kept = [number for number in all_images if self._where is None or self._where(values[number - 1])]
        if not kept and self._where is not None:
            return
        parts: dict[tuple[Key, ...], list[int]] = {}
        for number in kept:
            own = values[number - 1]
            of_image = (
                key_of(own.get(field.annotation)) if field.annotation else key
                for field, key in zip(self._fields, keys, strict=True)
            )
            parts.setdefault(tuple(of_image), []).append(number)
        for key, numbers in (parts or {tuple(keys): []}).items():
            self._count(key, outcome, numbers, values)
        self._total.add(outcome, kept)

    def _count(
        self, key: tuple[Key, ...], outcome: Outcome, numbers: Sequence[int], values: Sequence[dict[str, Value]]
    ) -> None:
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(self._sample)
            self._valued = [had or part is not None for had, part in zip(self._valued, key, strict=True)]
        group.add(outcome, numbers)
        if values:
            cluster = cluster_of(self._cluster, outcome) if self._cluster else 0
            for number in numbers:
                own = values[number - 1]
                for name in self._means:
                    value = own.get(name)
                    if is_number(value):
                        group.sample(name).add(value, cluster)
                        self._total.sample(name).add(value, cluster)

    @property
    def empty_fields(self) -> list[GroupField]:
        """The fields that no job so far has a value of."""
        if not self._groups:
            return []
        return [field for field, valued in zip(self._fields, self._valued, strict=True) if not valued]

    def table(self, *, seed: int = 0, sort: str = "") -> GroupTable:
        """Return the table of the jobs so far. Call it once.

        Parameters:
            seed: of the bootstrap.
            sort: the column to sort by, the largest first after a "-"; "": by the fields' values.

        Raises:
            UsageError: there is no such column.
        """
        numeric = [name for name in self._means if name in self._total.samples]
        names = numeric[: self._most]
        shares = {name for name in names if self._total.samples[name].is_share}
        resamples = Resamples(seed)
        # Samples of one size share their draws, so groups of the same size follow each other; each group goes when its
        # row is made, because of the memory.
        left = sorted(self._groups.items(), key=lambda item: item[1].images)
        self._groups = {}
        rows = []
        while left:
            key, group = left.pop()
            values = {field.name: value_of(part) for field, part in zip(self._fields, key, strict=True)}
            rows.append(group.row(values, names, shares, resamples))
        rows.sort(key=lambda row: [sort_key(value) for value in row.values.values()])
        return GroupTable(
            tuple(field.name for field in self._fields),
            self._cluster.name if self._cluster else None,
            seed,
            tuple(_sorted(rows, sort, names)),
            self._total.row({}, names, shares, resamples),
            self._images,
            self._unseen + len(numeric) - len(names),
            self._seeds.ignored(),
        )


class _Group:
    """What is counted of one group; what most groups do not need is made when it comes."""

    __slots__ = (
        "_failed", "_few", "_is_priced", "_kind", "_micro_usd", "_rejected", "_sandbox_micro_usd", "_server",
        "_succeeded", "images", "samples", "unpriced",
    )  # fmt: skip

    def __init__(self, kind: type[Sample] | type[ClusteredSample]) -> None:
        self._kind = kind
        self._succeeded = self._failed = self._rejected = 0
        self._micro_usd = self._sandbox_micro_usd = 0
        self._is_priced = False
        self._few: array[float] | None = array("d")
        self._server: Histogram
        self.unpriced = self.images = 0
        self.samples: dict[str, Sample | ClusteredSample] = {}

    def add(self, outcome: Outcome, numbers: Sequence[int]) -> None:
        """Count a job with those of its images."""
        status = outcome.status
        self._succeeded += status is Status.SUCCEEDED
        self._failed += status is Status.FAILED
        self._rejected += status is Status.REJECTED
        self.images += len(numbers)
        self.unpriced += outcome.is_unpriced
        spent_usd = outcome.spent_usd
        if spent_usd is not None:
            micro_usd = _share(round(max(min(spent_usd, MOST_USD), -MOST_USD) * MICRO_PER_USD), outcome, numbers)
            self._is_priced = True
            self._micro_usd += micro_usd
            self._sandbox_micro_usd += micro_usd if outcome.sandbox else 0
        if status is Status.SUCCEEDED and outcome.timing.ttfb_s is not None:
            self._add_server(outcome.timing.ttfb_s)

    def _add_server(self, server_s: float) -> None:
        # Of the many groups of a fine table most have a few jobs, and a histogram for each takes much memory.
        if self._few is None:
            self._server.add(server_s)
            return
        self._few.append(server_s)
        if len(self._few) > _FEW:
            self._server, self._few = _histogram(self._few), None

    def _server_s(self) -> Percentiles:
        if self._few is None:
            return self._server.percentiles()
        return percentiles_of(self._few) if self._few else Percentiles()

    def sample(self, name: str) -> Sample | ClusteredSample:
        """Return the values of an annotation."""
        found = self.samples.get(name)
        if found is None:
            found = self.samples[name] = self._kind()
        return found

    def row(
        self, values: dict[str, Any], names: Sequence[str], shares: set[str], resamples: Resamples
    ) -> GroupRow:  # fmt: skip
        """Return the group as a row; `shares` are the annotations that are 0 or 1 in all groups."""
        jobs = self._succeeded + self._failed + self._rejected
        means = {
            name: self.samples[name].estimate(resamples, as_share=name in shares) if name in self.samples else None
            for name in names
        }
        return GroupRow(
            values,
            jobs,
            self._succeeded,
            self._failed,
            self._rejected,
            wilson(self._succeeded, jobs),
            self.images,
            self._micro_usd / MICRO_PER_USD if self._is_priced else None,
            self.unpriced,
            self._sandbox_micro_usd / MICRO_PER_USD,
            self._server_s(),
            means,
        )


def _histogram(values_s: Iterable[float]) -> Histogram:
    found = Histogram()
    for value_s in values_s:
        found.add(value_s)
    return found


def _share(micro_usd: int, outcome: Outcome, numbers: Sequence[int]) -> int:
    """Return the part of a job's cost that falls on some of its images; the parts of all add up exactly."""
    of = len(outcome.files)
    if len(numbers) == of:
        return micro_usd
    return sum(micro_usd * number // of - micro_usd * (number - 1) // of for number in numbers)


COLUMNS: dict[str, Callable[[GroupRow], float | None]] = {
    "jobs": lambda row: row.jobs,
    "succeeded": lambda row: row.succeeded,
    "failed": lambda row: row.failed,
    "rejected": lambda row: row.rejected,
    "success": lambda row: row.success.mean if row.success else None,
    "images": lambda row: row.images,
    "cost": lambda row: row.cost_usd,
    "p50": lambda row: row.server_s.p50,
    "p95": lambda row: row.server_s.p95,
}
"""The columns by which a table can be sorted, besides its fields and annotations."""


def _sorted(rows: Sequence[GroupRow], sort: str, names: Sequence[str]) -> list[GroupRow]:
    """Return rows in the order of a column; those without a value last, equal ones as they were."""
    if not sort or not rows:
        return list(rows)
    of = _column(sort.removeprefix("-"), rows[0], names)
    valued = [row for row in rows if of(row) is not None]
    valued.sort(key=lambda row: sort_key(of(row)), reverse=sort.startswith("-"))
    return [*valued, *(row for row in rows if of(row) is None)]


def _column(name: str, row: GroupRow, names: Sequence[str]) -> Callable[[GroupRow], Any]:
    """Return the function that takes a column's value from a row. Raises UsageError."""
    if name in row.values:
        return lambda row: row.values[name]
    if name in COLUMNS:
        return COLUMNS[name]
    short = name.removeprefix(ANNOTATION)
    if short in names:
        return lambda row: row.annotations[short].mean if row.annotations[short] else None  # type: ignore[union-attr]
    known = ", ".join((*row.values, *COLUMNS, *names))
    raise UsageError(one_line(f"--sort: the table has no column {name!r}; it has {known}"))
