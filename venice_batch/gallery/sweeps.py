"""Sweeps: jobs that differ in a few fields only, laid out by these."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_AXES = 4
"""Jobs that differ in more fields are no sweep, unless a matrix made them."""
MIN_FILLED = 0.5
"""More than this share of a grid's cells has to hold a job, unless a matrix made it."""
LONGEST_LABEL = 60


class Axis(msgspec.Struct, frozen=True):
    """A field that varies, with its values in the order in which they first occur (numbers by size)."""

    field: str
    values: tuple[str, ...]


class Sweep(msgspec.Struct, frozen=True):
    """`cells` tells of each job its place on every axis, then its number."""

    name: str
    axes: tuple[Axis, ...]
    cells: tuple[tuple[int, ...], ...]


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """What is looked at of a job: its number on the page, its id, and its request."""

    number: int
    id: str
    request: Mapping[str, Any]


class _Group:
    """Jobs that belong together, with those of their fields that may vary."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.jobs: list[tuple[int, dict[str, Any]]] = []

    def sweep(self, fields: Iterable[str]) -> Sweep:
        axes = [_Values(field, [values[field] for _, values in self.jobs]) for field in fields]
        cells = tuple((*(axis.place(values[axis.field]) for axis in axes), number) for number, values in self.jobs)
        return Sweep(self.name, tuple(Axis(axis.field, axis.labels) for axis in axes), cells)

    def varying(self) -> list[str]:
        first = self.jobs[0][1]
        return [name for name in first if any(values[name] != first[name] for _, values in self.jobs)]


def find_sweeps(jobs: Iterable[Candidate]) -> list[Sweep]:
    """The sweeps among `jobs`, in the order of their first jobs; prompts are not kept.

    Jobs of one matrix are told by their ids, `<base>__<field>-<value>…`; of the others, those that share their prompt
    and fill most of a grid of at most `MAX_AXES` fields.
    """
    of_matrix: dict[tuple[str, ...], _Group] = {}
    of_prompt: dict[tuple[bytes, ...], _Group] = {}
    for job in jobs:
        base, fields = matrix_fields(job.id, job.request)
        if fields:
            group = of_matrix.setdefault((base, *fields), _Group(base))
            group.jobs.append((job.number, {name: job.request[name] for name in fields}))
        elif isinstance(prompt := job.request.get("prompt"), str):
            rest = {name: value for name, value in job.request.items() if name != "prompt"}
            key = (_digest(prompt), *(name.encode() for name in sorted(rest)))
            of_prompt.setdefault(key, _Group(_label(prompt))).jobs.append((job.number, rest))
    found = [group.sweep(key[1:]) for key, group in of_matrix.items() if len(group.jobs) > 1]
    for group in of_prompt.values():
        if 1 <= len(varying := group.varying()) <= MAX_AXES:
            sweep = group.sweep(varying)
            if _filled(sweep) > MIN_FILLED:
                found.append(sweep)
    return sorted(found, key=lambda sweep: min(cell[-1] for cell in sweep.cells))


def matrix_fields(job_id: str, request: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The base of a matrix job's id and the fields that the matrix gave it; no fields where it is of no matrix."""
    base, *parts = job_id.split("__")
    fields: list[str] = []
    while parts:
        part = parts.pop()
        # A field's name may hold a dash too; the longest that the request knows is the one.
        field = max((name for name in request if part.startswith(f"{name}-")), key=len, default=None)
        if field is None or field in fields:
            parts.append(part)
            break
        fields.append(field)
    return "__".join([base, *parts]), tuple(reversed(fields))


def _filled(sweep: Sweep) -> float:
    size = 1
    for axis in sweep.axes:
        size *= len(axis.values)
    return len({cell[:-1] for cell in sweep.cells}) / size


class _Values:
    def __init__(self, field: str, values: list[Any]) -> None:
        self.field = field
        distinct = {_canonical(value): value for value in values}
        if all(type(value) in (int, float) for value in distinct.values()):
            distinct = dict(sorted(distinct.items(), key=lambda item: item[1]))
        self._places = {key: place for place, key in enumerate(distinct)}
        self.labels = tuple(_label(value) for value in distinct.values())

    def place(self, value: object) -> int:
        return self._places[_canonical(value)]


def _canonical(value: object) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _label(value: object) -> str:
    text = value if isinstance(value, str) else _canonical(value).decode()
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"
