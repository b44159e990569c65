"""Fields of records by which a table is grouped: parsed from text, and looked up in records."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from venice_batch.errors import UsageError, one_line
from venice_batch.jobfile.defaults import ALL_FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from venice_batch.model import Outcome
    from venice_batch.output.annotations import Annotations

MODEL = "model"
"""The field that tables are grouped by unless another one is given."""

ANNOTATION = "annotation."

_RECORD: dict[str, Callable[[Outcome], Any]] = {
    MODEL: lambda record: record.lane,
    "lane": lambda record: record.lane,
    "status": lambda record: str(record.status),
    "endpoint": lambda record: str(record.endpoint),
    "run_id": lambda record: record.run_id,
    "date": lambda record: record.timing.enqueued_at[:10],
    "error": lambda record: record.error.kind if record.error else None,
    "sandbox": lambda record: record.sandbox,
    "id": lambda record: record.id,
}
"""Fields of a record by their names. A request's fields go by their own names too, unless they are among these."""

_OBJECTS: dict[str, Callable[[Outcome], Any]] = {
    "request.": lambda record: record.request,
    "metadata.": lambda record: record.metadata,
    "vars.": lambda record: (record.metadata or {}).get("vars"),
}
"""Objects of a record, by the first part of the names of what they hold."""

_SEEN = 10_000
"""Records that are searched for names like one that no record has."""

_MOST_NAMES = 1_000
"""Names that are compared with it."""

_EXACT = 1e15
"""Below this, each integer is a float too."""

Key = str | bytes | None
"""A value that can be compared: a text, anything else as JSON, or none."""


@dataclass(frozen=True, slots=True)
class GroupField:
    """A field by its name. `of` returns a record's value, None if it has none.

    The value of an annotation is an image's: `annotation` is its name then, else "".
    """

    name: str
    of: Callable[[Outcome], Any]
    annotation: str = ""


def field_names() -> list[str]:
    """Return the names of fields, and the beginnings of the others."""
    return [*_RECORD, *_OBJECTS, ANNOTATION, *sorted(ALL_FIELDS - _RECORD.keys())]


def cluster_field(text: str) -> GroupField:
    """Return the field that `--cluster` names. Raises UsageError."""
    field = _field(text.strip(), "--cluster")
    if field.annotation:
        raise UsageError(one_line(f"--cluster {field.name}: give a field of jobs, not an annotation of images"))
    return field


def group_fields(text: str) -> tuple[GroupField, ...]:
    """Return the fields that a text names, separated by commas. Raises UsageError."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not name:
            raise UsageError(one_line(f"--by {text!r}: a name is empty; give fields with commas between them"))
        if names.count(name) > 1:
            raise UsageError(one_line(f"--by {text}: names {name!r} twice"))
    return tuple(map(_field, names))


def _field(name: str, option: str = "--by") -> GroupField:
    if name in _RECORD:
        return GroupField(name, _RECORD[name])
    if name in ALL_FIELDS:
        return GroupField(name, lambda record: record.request.get(name))
    start = name[: name.find(".") + 1]
    path = name.removeprefix(start)
    if path and start == ANNOTATION:
        return GroupField(name, lambda record: None, path)
    if path and start in _OBJECTS:
        of = _OBJECTS[start]
        return GroupField(name, lambda record: value_at(of(record), path))
    close = difflib.get_close_matches(name[:80], [*_RECORD, *ALL_FIELDS], n=1, cutoff=0.7)
    if close:
        hint = f"did you mean {close[0]!r}?"
    elif start:
        hint = f"names with a dot begin with {', '.join((*_OBJECTS, ANNOTATION))}"
    else:
        hint = f"is it metadata.{name} or annotation.{name}? Fields are {', '.join(_RECORD)} and those of a request"
    raise UsageError(one_line(f"{option}: a record has no field {name!r}; {hint}"))


def value_at(value: object, path: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return what lies at `path` below an object or a list, as `a.b` or `a.0`; None if there is nothing.

    Names may hold dots too: the name as it is goes before the way into an object.
    """
    if isinstance(value, dict):
        if path in value:
            return value[path]
        for at, char in enumerate(path):
            if char == "." and path[:at] in value:
                return value_at(value[path[:at]], path[at + 1 :])
    elif isinstance(value, list):
        place, _, rest = path.partition(".")
        if place.isdecimal() and len(place) < 10 and int(place) < len(value):
            item = value[int(place)]
            return value_at(item, rest) if rest else item
    return None


def key_of(value: object) -> Key:
    """Return a value as one that can be compared: 1 and 1.0 are equal, 1, "1" and true are not."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        value = int(value)
    return msgspec.json.encode(value, order="sorted")


def cluster_of(field: GroupField, record: Outcome) -> int:
    """Return a number for a record's value: equal for equal values. A job without a value has its own."""
    key = key_of(field.of(record))
    return hash((record.id,) if key is None else key)


def value_of(key: Key) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value behind a key."""
    return msgspec.json.decode(key) if isinstance(key, bytes) else key


def sort_key(value: object) -> tuple[int, float | int, str, str]:
    """Return the key that sorts values of any type: numbers by size, then texts, then others, then none."""
    if value is None:
        return 4, 0, "", ""
    if isinstance(value, bool):
        return 1, value, "", ""
    if isinstance(value, int | float):
        return 0, value, "", ""
    if isinstance(value, str):
        return 2, 0, value.casefold(), value
    return 3, 0, "", value_text(value)


def value_text(value: object) -> str:
    """Return a value as text: a text as it is, anything else as JSON, "-" for none."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else msgspec.json.encode(value, order="sorted").decode()


def refuse_absent(
    fields: Iterable[GroupField], records: Iterable[Outcome], annotations: Annotations, *, option: str = "--by"
) -> None:
    """Raise UsageError if no record or image has the first of `fields`, with the most similar names that they have.

    Call it with fields that had no value: a value that is null everywhere is no mistake.
    """
    for field in fields:
        if field.annotation:
            known = {f"{ANNOTATION}{name}" for name in annotations.names}
        else:
            known = set(islice(_names(records), _MOST_NAMES))
        start = field.name[: field.name.find(".") + 1]
        if field.name in known or not start:
            continue
        alike = sorted(name.removeprefix(start) for name in known if name.startswith(start))
        close = difflib.get_close_matches(field.name.removeprefix(start)[:80], alike, n=3, cutoff=0.5) or alike[:3]
        nearest = ", ".join(f"{start}{name}" for name in close)
        hint = f"nearest: {nearest}" if close else f"none has any {start.removesuffix('.')}"
        raise UsageError(one_line(f"{option} {field.name}: no record has it ({hint})"))


def _names(records: Iterable[Outcome]) -> Iterator[str]:
    seen: set[str] = set()
    for record in islice(records, _SEEN):
        for start, of in _OBJECTS.items():
            for name in _paths(of(record), start):
                if name not in seen:
                    seen.add(name)
                    yield name


def _paths(value: object, start: str, depth: int = 4) -> Iterator[str]:
    if isinstance(value, dict) and depth:
        for name, item in value.items():
            yield f"{start}{name}"
            yield from _paths(item, f"{start}{name}.", depth - 1)
