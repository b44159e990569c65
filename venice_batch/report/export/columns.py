"""Records as a table: one row for each image, or for a job without one."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from venice_batch.jobfile.fields import REQUESTS
from venice_batch.model import Flags, Timing
from venice_batch.output.prune import DELETED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from venice_batch.model import ImageFile, Outcome
    from venice_batch.output.annotations import Annotations

    Cell = bool | int | float | str | datetime | None


MAX_METADATA_COLUMNS = 256
"""With more keys than this in all records together, `metadata` is one column of JSON."""

INT64 = range(-(2**63), 2**63)
"""Integers that a column of integers can hold."""


class ColumnType(Enum):
    """The type of a column's cells; any cell may be empty."""

    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    TEXT = "text"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Row:
    """A job with one of its images; `number` counts from 1. Both are None for a job without an image."""

    record: Outcome
    image: ImageFile | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, its type and the function that makes its cell of a row."""

    name: str
    kind: ColumnType
    cell: Callable[[Row], Cell]


def columns(records: Iterable[Outcome], annotations: Annotations | None = None) -> list[Column]:
    """Return the columns of a table of `records`, which are read once.

    First come the columns that every table has, then `request.FIELD` for each field of any request, in the order of the
    endpoints' tables, then `metadata.KEY` for each key, sorted, then `annotation.NAME` in the order in which the names
    came. A column holds booleans, integers or numbers if all its values are of that type; otherwise text, with other
    values written as JSON.
    """
    requests: defaultdict[str, set[ColumnType | None]] = defaultdict(set)
    metadata: defaultdict[str, set[ColumnType | None]] = defaultdict(set)
    scores: defaultdict[str, set[ColumnType | None]] = defaultdict(set)
    for record in records:
        if annotations:
            for number in range(1, len(record.files) + 1):
                for name, value in annotations.of(record, number).items():
                    scores[name].add(_kind(value))
        for name, value in record.request.items():
            requests[name].add(_kind(value))
        if len(metadata) <= MAX_METADATA_COLUMNS:
            for name, value in (record.metadata or {}).items():
                metadata[name].add(_kind(value))
    found = [*_FIXED, *(_request_column(name, requests[name]) for name in sorted(requests, key=_place))]
    if len(metadata) > MAX_METADATA_COLUMNS:
        found.append(Column("metadata", ColumnType.TEXT, lambda row: _typed(ColumnType.TEXT, row.record.metadata)))
    else:
        found += (_metadata_column(name, metadata[name]) for name in sorted(metadata))
    if annotations:
        found += (_annotation_column(annotations, name, scores[name]) for name in annotations.names if name in scores)
    return found


def rows(records: Iterable[Outcome]) -> Iterator[Row]:
    """Yield the rows of `records`: a job's images one after the other, or the job alone."""
    for record in records:
        if not record.files:
            yield Row(record)
        for number, image in enumerate(record.files, start=1):
            yield Row(record, image, number)


def _request_column(name: str, kinds: set[ColumnType | None]) -> Column:
    kind = _common(kinds)
    return Column(f"request.{name}", kind, lambda row: _typed(kind, row.record.request.get(name)))


def _metadata_column(name: str, kinds: set[ColumnType | None]) -> Column:
    kind = _common(kinds)
    return Column(f"metadata.{name}", kind, lambda row: _typed(kind, (row.record.metadata or {}).get(name)))


def _annotation_column(annotations: Annotations, name: str, kinds: set[ColumnType | None]) -> Column:
    kind = _common(kinds)
    return Column(
        f"annotation.{name}",
        kind,
        lambda row: None if row.number is None else _typed(kind, annotations.of(row.record, row.number).get(name)),
    )


def _kind(value: object) -> ColumnType | None:
    match value:
        case None:
            return None
        case bool():
            return ColumnType.BOOL
        case int():
            return ColumnType.INT if value in INT64 else ColumnType.TEXT
        case float():
            return ColumnType.FLOAT
        case _:
            return ColumnType.TEXT


def _common(kinds: set[ColumnType | None]) -> ColumnType:
    known = kinds - {None}
    if known == {ColumnType.INT, ColumnType.FLOAT}:
        return ColumnType.FLOAT
    (kind,) = known if len(known) == 1 else {ColumnType.TEXT}
    return kind or ColumnType.TEXT


def _typed(kind: ColumnType, value: Any) -> Cell:  # noqa: ANN401 - any JSON value
    if value is None:
        return None
    if kind is ColumnType.FLOAT:
        return float(value)
    if kind is ColumnType.TEXT and not isinstance(value, str):
        return msgspec.json.encode(value).decode()
    cell: Cell = value
    return cell


def _place(name: str) -> tuple[int, str]:
    """Return the sort key of a field's column: as in the endpoints' tables of fields, unknown fields last."""
    return _FIELDS.get(name, len(_FIELDS)), name


_FIELDS = {
    name: place
    for place, name in enumerate(
        dict.fromkeys(name for request in REQUESTS.values() for name in request.__struct_fields__)
    )
}


def _cost(name: str, row: Row) -> float | None:
    # Divided among the job's images, so that the column adds up to the cost of the jobs.
    cost: float | None = getattr(row.record, name)
    return cost if cost is None or row.image is None else cost / len(row.record.files)


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _of_image(name: str, row: Row) -> Cell:
    cell: Cell = getattr(row.image, name, None)
    return cell


def _path(row: Row) -> Cell:
    return None if row.image is None or row.image.pruned == DELETED else row.image.path


def _of_parent(name: str, row: Row) -> Cell:
    cell: Cell = getattr(row.record.parent, name, None)
    return cell


def _of_error(name: str, row: Row) -> Cell:
    cell: Cell = getattr(row.record.error, name, None)
    return cell


def _of_flags(name: str, row: Row) -> Cell:
    cell: Cell = getattr(row.record.flags, name)
    return cell


def _of_timing(name: str, row: Row) -> Cell:
    cell: Cell = getattr(row.record.timing, name)
    return cell


def _of_server(name: str, row: Row) -> Cell:
    cell: Cell = getattr(row.record.timing.server, name, None)
    return cell


_FIXED = (
    Column("id", ColumnType.TEXT, lambda row: row.record.id),
    Column("image", ColumnType.INT, lambda row: row.number),
    Column("status", ColumnType.TEXT, lambda row: str(row.record.status)),
    Column("lane", ColumnType.TEXT, lambda row: row.record.lane),
    Column("path", ColumnType.TEXT, _path),
    Column("format", ColumnType.TEXT, partial(_of_image, "format")),
    Column("width", ColumnType.INT, partial(_of_image, "width")),
    Column("height", ColumnType.INT, partial(_of_image, "height")),
    Column("bytes", ColumnType.INT, partial(_of_image, "bytes")),
    Column("sha256", ColumnType.TEXT, partial(_of_image, "sha256")),
    Column("cost_usd", ColumnType.FLOAT, partial(_cost, "cost_usd")),
    Column("at_most_usd", ColumnType.FLOAT, partial(_cost, "at_most_usd")),
    Column("attempts", ColumnType.INT, lambda row: len(row.record.attempts)),
    Column("error_kind", ColumnType.TEXT, partial(_of_error, "kind")),
    Column("error_status", ColumnType.INT, partial(_of_error, "status")),
    Column("error_message", ColumnType.TEXT, partial(_of_error, "message")),
    *(
        Column(name, ColumnType.BOOL if default is False else ColumnType.TEXT, partial(_of_flags, name))
        for name, default in zip(Flags.__struct_fields__, Flags.__struct_defaults__, strict=True)
    ),
    Column("enqueued_at", ColumnType.TIME, lambda row: _moment(row.record.timing.enqueued_at)),
    *(
        Column(name, ColumnType.FLOAT, partial(_of_timing, name))
        for name in Timing.__struct_fields__
        if name.endswith("_s")
    ),
    Column("server_inference_ms", ColumnType.FLOAT, partial(_of_server, "inference_duration")),
    Column("server_preprocessing_ms", ColumnType.FLOAT, partial(_of_server, "inference_preprocessing_time")),
    Column("server_queue_ms", ColumnType.FLOAT, partial(_of_server, "inference_queue_time")),
    Column("server_total_ms", ColumnType.FLOAT, partial(_of_server, "total")),
    Column("run_id", ColumnType.TEXT, lambda row: row.record.run_id),
    Column("request_hash", ColumnType.TEXT, lambda row: row.record.request_hash),
    Column("sandbox", ColumnType.BOOL, lambda row: row.record.sandbox),
    Column("endpoint", ColumnType.TEXT, lambda row: str(row.record.endpoint)),
    Column("pruned", ColumnType.TEXT, partial(_of_image, "pruned")),
    Column("parent_id", ColumnType.TEXT, partial(_of_parent, "id")),
    Column("parent_image", ColumnType.INT, partial(_of_parent, "variant")),
    Column("parent_sha256", ColumnType.TEXT, partial(_of_parent, "sha256")),
)

FIXED_NAMES = frozenset(column.name for column in _FIXED)
"""The names of the columns that every table has."""
