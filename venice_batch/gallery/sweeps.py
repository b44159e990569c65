"""Sweeps: jobs that differ only in a few fields, laid out as a grid of those fields."""

from __future__ import annotations

import hashlib
import math
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from venice_batch.jobfile.matrix import matrix_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_AXES = 4
"""Jobs that differ in more fields than this are no sweep, unless a matrix made them."""
MIN_FILLED = 0.5
"""More than this share of a grid's cells must hold a job, unless a matrix made the grid."""
LONGEST_LABEL = 60
"""Characters of a value that its label shows."""


class Axis(msgspec.Struct, frozen=True):
    """A field that varies, with the labels of its values in the order of the jobs file."""

    field: str
    values: tuple[str, ...]


class Sweep(msgspec.Struct, frozen=True):
    """Jobs on a grid. Each cell holds a job's place on every axis, then its number on the page.

    `down` is the number of the axis whose values are rows, None if there is only one axis; `across` that of the
    columns. Sweeps of the same fields have the same rows and columns, in the same order.
    """

    name: str
    axes: tuple[Axis, ...]
    cells: tuple[tuple[int, ...], ...]
    down: int | None
    across: int


class _Job(NamedTuple):
    """A job on the page: its number, the fields that may vary, and its place in the jobs file if that is known."""

    number: int
    values: dict[str, Any]
    place: int | None


def _place(job: _Job) -> tuple[int, int]:
    """Return a key that sorts jobs as their file has them; those of unknown place come last, as they ended."""
    return (sys.maxsize if job.place is None else job.place, job.number)


class _Group:
    """Jobs that belong together, with the fields that may vary."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.jobs: list[_Job] = []

    def varying(self) -> list[str]:
        """Return the fields that differ, in the order in which the file's first job has them."""
        first = min(self.jobs, key=_place).values
        return [name for name in first if any(job.values[name] != first[name] for job in self.jobs)]

    def first(self) -> tuple[int, int]:
        """Return a key that sorts groups by their first jobs in the file."""
        return min(map(_place, self.jobs))


class SweepFinder:
    """Find the sweeps among jobs; prompts are not kept, only their digests.

    Jobs of one matrix are recognised by their ids, `<base>__<field>-<value>…`. Other jobs are a sweep if they share
    their prompt and fill most of a grid of at most `MAX_AXES` fields.
    """

    def __init__(self) -> None:
        self._of_matrix: dict[tuple[str, ...], _Group] = {}
        self._of_prompt: dict[tuple[bytes, ...], _Group] = {}

    def add(self, number: int, job_id: str, request: Mapping[str, Any], index: int | None = None) -> None:
        """Add a job; `number` is its number on the page, `index` its place in the jobs file if that is known."""
        base, fields = matrix_fields(job_id, request)
        if fields:
            group = self._of_matrix.setdefault((base, *fields), _Group(base))
            group.jobs.append(_Job(number, {name: request[name] for name in fields}, index))
        elif isinstance(prompt := request.get("prompt"), str):
            rest = {name: value for name, value in request.items() if name != "prompt"}
            key = (_digest(prompt), *(name.encode() for name in sorted(rest)))
            self._of_prompt.setdefault(key, _Group(_label(prompt))).jobs.append(_Job(number, rest, index))

    def sweeps(self) -> list[Sweep]:
        """Return the sweeps among the jobs so far, in the order of their first jobs in the file."""
        groups = [(group, key[1:]) for key, group in self._of_matrix.items() if len(group.jobs) > 1]
        for group in self._of_prompt.values():
            fields = tuple(group.varying())
            if 1 <= len(fields) <= MAX_AXES and _filled(group, fields) > MIN_FILLED:
                groups.append((group, fields))
        groups.sort(key=lambda found: found[0].first())
        alike: dict[tuple[str, ...], list[_Group]] = {}
        for group, fields in groups:
            alike.setdefault(fields, []).append(group)
        values = {
            fields: [_ordered(number, fields, same) for number in range(len(fields))] for fields, same in alike.items()
        }
        return [_sweep(group, fields, values[fields]) for group, fields in groups]


def _sweep(group: _Group, fields: tuple[str, ...], values: list[dict[bytes, Any]]) -> Sweep:
    """Lay out a group; `values` holds every axis's values over all groups of these fields, in their order."""
    keys = [tuple(_canonical(job.values[field]) for field in fields) for job in group.jobs]
    axes, places = [], []
    for field, of_all, column in zip(fields, values, zip(*keys, strict=True), strict=True):
        own = set(column)
        order = [key for key in of_all if key in own]
        axes.append(Axis(field, tuple(_label(of_all[key]) for key in order)))
        places.append({key: place for place, key in enumerate(order)})
    cells = [
        (*(place[one] for place, one in zip(places, key, strict=True)), job.number)
        for key, job in zip(keys, group.jobs, strict=True)
    ]
    longest = sorted(range(len(fields)), key=lambda number: -len(values[number]))
    down, across = (longest[0], longest[1]) if len(fields) > 1 else (None, 0)
    return Sweep(group.name, tuple(axes), tuple(cells), down, across)


def _filled(group: _Group, fields: Iterable[str]) -> float:
    cells = {tuple(_canonical(job.values[field]) for field in fields) for job in group.jobs}
    return len(cells) / math.prod(len(set(column)) for column in zip(*cells, strict=True))


def _ordered(number: int, fields: tuple[str, ...], groups: Iterable[_Group]) -> dict[bytes, Any]:
    """Return an axis's values by their canonical form, in the order of the jobs file, else sorted.

    Jobs that differ only in this field follow each other in the file as its values do. Some may be missing; so the
    longest such sequence counts first, and the others add what it lacks after the value before it.
    """
    field = fields[number]
    distinct: dict[bytes, Any] = {}
    lines: dict[tuple[int, tuple[bytes, ...]], list[tuple[int, bytes]]] = {}
    for at, group in enumerate(groups):
        for job in group.jobs:
            key = _canonical(job.values[field])
            distinct[key] = job.values[field]
            if job.place is not None:
                others = tuple(_canonical(job.values[other]) for other in fields if other != field)
                lines.setdefault((at, others), []).append((job.place, key))
    order: dict[bytes, None] = {}
    for line in sorted(lines.values(), key=len, reverse=True):
        order = _merged(order, [key for _, key in sorted(line)])
    rest = {key: value for key, value in distinct.items() if key not in order}
    return {key: distinct[key] for key in (*order, *_sorted(rest))}


def _merged(order: dict[bytes, None], line: list[bytes]) -> dict[bytes, None]:
    """Return `order` with what `line` has besides, each after the value before it in the line."""
    if all(key in order for key in line):
        return order
    if not order:
        return dict.fromkeys(line)
    merged = list(order)
    place = 0
    for key in line:
        if key in order:
            place = merged.index(key) + 1
        else:
            merged.insert(place, key)
            place += 1
    return dict.fromkeys(merged)


def _sorted(values: dict[bytes, Any]) -> list[bytes]:
    """Return the keys of values whose order in the file is unknown: numbers by size, anything else by its text."""
    if all(type(value) in (int, float) for value in values.values()):
        return sorted(values, key=lambda key: values[key])
    return sorted(values, key=lambda key: (_label(values[key]).casefold(), len(key), key))


def _canonical(value: object) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _label(value: object) -> str:
    text = value if isinstance(value, str) else _canonical(value).decode()
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"
