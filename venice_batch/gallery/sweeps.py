"""Sweeps: jobs that differ only in a few fields, laid out as a grid of those fields."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_AXES = 4
"""Jobs that differ in more fields than this are no sweep, unless a matrix made them."""
MIN_FILLED = 0.5
"""More than this share of a grid's cells must hold a job, unless a matrix made the grid."""
LONGEST_LABEL = 60
"""Characters of a value that its label shows."""


class Axis(msgspec.Struct, frozen=True):
    """A field that varies, with its values in order of first occurrence; numbers are sorted."""

    field: str
    values: tuple[str, ...]


class Sweep(msgspec.Struct, frozen=True):
    """Jobs on a grid. Each cell holds a job's place on every axis, then its number on the page."""

    name: str
    axes: tuple[Axis, ...]
    cells: tuple[tuple[int, ...], ...]


class _Group:
    """Jobs that belong together, with the fields that may vary."""

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


class SweepFinder:
    """Find the sweeps among jobs; prompts are not kept, only their digests.

    Jobs of one matrix are recognised by their ids, `<base>__<field>-<value>…`. Other jobs are a sweep if they share
    their prompt and fill most of a grid of at most `MAX_AXES` fields.
    """

    def __init__(self) -> None:
        self._of_matrix: dict[tuple[str, ...], _Group] = {}
        self._of_prompt: dict[tuple[bytes, ...], _Group] = {}

    def add(self, number: int, job_id: str, request: Mapping[str, Any]) -> None:
        """Add a job; `number` is its number on the page."""
        base, fields = matrix_fields(job_id, request)
        if fields:
            group = self._of_matrix.setdefault((base, *fields), _Group(base))
            group.jobs.append((number, {name: request[name] for name in fields}))
        elif isinstance(prompt := request.get("prompt"), str):
            rest = {name: value for name, value in request.items() if name != "prompt"}
            key = (_digest(prompt), *(name.encode() for name in sorted(rest)))
            self._of_prompt.setdefault(key, _Group(_label(prompt))).jobs.append((number, rest))

    def sweeps(self) -> list[Sweep]:
        """Return the sweeps among the jobs so far, in the order of their first jobs."""
        found = [group.sweep(key[1:]) for key, group in self._of_matrix.items() if len(group.jobs) > 1]
        for group in self._of_prompt.values():
            if 1 <= len(varying := group.varying()) <= MAX_AXES:
                sweep = group.sweep(varying)
                if _filled(sweep) > MIN_FILLED:
                    found.append(sweep)
        return sorted(found, key=lambda sweep: min(cell[-1] for cell in sweep.cells))


def matrix_fields(job_id: str, request: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return the base of a matrix job's id and the fields that the matrix set; no fields if no matrix made the job."""
    base, *parts = job_id.split("__")
    fields: list[str] = []
    while parts:
        part = parts.pop()
        # A field's name may contain a dash too: take the longest name that fits.
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
