"""Columns of a foreign file as fields of jobs: what `--map` and `--unknown` ask for, and how a line gets it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import orjson

from venice_batch.errors import UsageError
from venice_batch.jobfile.defaults import ALL_FIELDS, field_value
from venice_batch.jobfile.fields import FIELDS, RESERVED
from venice_batch.jobfile.request_check import did_you_mean, printable, takes_json
from venice_batch.model import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Path = tuple[str | int, ...]
"""The place of a value in a line: keys, and numbers in lists."""

Unknown = Literal["error", "metadata"]
"""What happens to keys of a line that are no fields."""

METADATA = "metadata."
"""Begins targets and columns that belong into the metadata."""

FILE = "@file"
"""Stands for the jobs file's name, without folder and endings, where a column may be named."""

TARGETS = ALL_FIELDS | {"id", "endpoint", "metadata"}
"""What a column can become, besides one key of the metadata."""

_OBJECTS = ("metadata", "matrix", "vars", "parent")
"""Keys of a native line that have to be objects."""

HOLE = re.compile(r"\{([^{}]+)\}")
"""A column in a text that several columns make."""


class Need(Enum):
    """Whether it is an error if no line of the file has an entry's column."""

    ALWAYS = auto()
    """Yes: the user has asked for this column."""
    INSTEAD = auto()
    """Only if no line has the field itself either."""
    NEVER = auto()
    """No: the field is left out."""


class Mapped(NamedTuple):
    """A field, and the names of columns that it may come from, the first one that a line has.

    A name may have dots for nested values (`a.b`, `a.0`), or be a text with names in braces (`{category}-{id}`).
    `origin` says in messages what has asked for it.
    """

    field: str
    names: tuple[str, ...]
    origin: str
    need: Need = Need.NEVER

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that one of the names stands for."""
        return tuple(column for name in self.names for column in columns_of(name))


@dataclass(frozen=True, slots=True)
class FieldMap:
    """How the columns of a file become fields; `unknown` says what becomes of the others.

    Of several entries for a field the first one counts whose column is in the file. `has_suspects` warns of columns
    that go into the metadata although they look like a mistyped field.
    """

    fields: tuple[Mapped, ...] = ()
    unknown: Unknown = "error"
    has_suspects: bool = True

    def __bool__(self) -> bool:
        """Return whether it changes anything."""
        return bool(self.fields) or self.unknown == "metadata"

    @classmethod
    def of(cls, fields: Mapping[str, str | Sequence[str]], unknown: Unknown | None = None) -> FieldMap:
        """Return the map of `fields` to names of columns; the file must have all of them.

        Raises:
            UsageError: a field does not exist.
        """
        entries = [
            entry(name, names, f"--map {name}={names if isinstance(names, str) else '|'.join(names)}", need=Need.ALWAYS)
            for name, names in fields.items()
        ]
        return cls(tuple(entries), unknown or "error")


def parse_map(settings: Iterable[str], *, allow_unknown: bool = False) -> tuple[Mapped, ...]:
    """Return the entries of several `FIELD=NAME`; the last one for a field wins.

    Raises:
        UsageError: there is no "=", no such field, or no name.
    """
    found: dict[str, Mapped] = {}
    for setting in settings:
        name, equals, column = setting.partition("=")
        if not equals or not column.strip():
            raise UsageError(f"--map {printable(setting)}: expected FIELD=NAME, as in --map prompt=Caption")
        said = f"--map {printable(name.strip())}={printable(column.strip())}"
        found[name.strip()] = entry(name, column, said, need=Need.ALWAYS, allow_unknown=allow_unknown)
    return tuple(found.values())


def entry(
    name: str, names: str | Sequence[str], origin: str, *, need: Need = Need.NEVER, allow_unknown: bool = False
) -> Mapped:
    """Return the entry for a field. Raises UsageError if no job has this field."""
    name = name.strip()
    if what := target_fault(name, allow_unknown=allow_unknown):
        raise UsageError(f"{origin}: {what}")
    columns = (names,) if isinstance(names, str) else tuple(names)
    return Mapped(name, tuple(column.strip() for column in columns), origin, need)


def target_fault(name: str, *, allow_unknown: bool = False) -> str:
    """Return why `name` cannot be the field of an entry; "" if it can."""
    if name in TARGETS or (name.startswith(METADATA) and len(name) > len(METADATA)):
        return ""
    if name in RESERVED or not name:
        return f"{printable(name)!r} cannot come from a column"
    if allow_unknown:
        return ""
    hint = did_you_mean(name, TARGETS)
    return f"no job has this field{hint or f'; metadata.{printable(name)} keeps the column as metadata'}"


def columns_of(name: str) -> tuple[str, ...]:
    """Return the columns that a name of an entry stands for: itself, or those in its braces; FILE is none."""
    named = tuple(HOLE.findall(name)) or (name,)
    return tuple(column.strip() for column in named if column.strip() != FILE)


class Template(NamedTuple):
    """A text with values of columns in it: `texts` has one item more than `paths`."""

    texts: tuple[str, ...]
    paths: tuple[tuple[Path, ...], ...]

    def fill(self, record: Mapping[str, Any]) -> str | None:
        """Return the text for a line; None if it lacks one of the values."""
        found = self.texts[0]
        for paths, text in zip(self.paths, self.texts[1:], strict=True):
            value = next((value for path in paths if (value := _at(record, path)) is not None), None)
            written = None if value is None else _as_text(value)
            if written is None:
                return None
            found += written + text
        return found


class Source(NamedTuple):
    """Where a field's value comes from: one of `paths`, a `template`, or a `text` that is the same for every line."""

    paths: tuple[Path, ...] = ()
    template: Template | None = None
    text: str | None = None

    @property
    def places(self) -> tuple[Path, ...]:
        """All places that it may read."""
        inner = self.template.paths if self.template is not None else ()
        return (*self.paths, *(path for paths in inner for path in paths))


@dataclass(frozen=True, slots=True)
class LineMap:
    """A map with its columns spelled as one file spells them.

    `fields` holds the sources of each field, the first that has a value counts. `keep_unknown` moves keys that are no
    fields into the metadata; `is_table` says that the other columns are there already.
    """

    fields: tuple[tuple[str, tuple[Source, ...], str], ...] = ()
    keep_unknown: bool = False
    is_table: bool = False

    @property
    def targets(self) -> frozenset[str]:
        """The fields that come from columns."""
        return frozenset(name for name, _, _ in self.fields)

    @property
    def keys(self) -> frozenset[str]:
        """The keys of lines that hold these columns, at the top level."""
        return frozenset(str(path[0]) for _, sources, _ in self.fields for source in sources for path in source.places)

    def apply(self, record: dict[str, Any]) -> list[tuple[str, str]]:
        """Change a parsed line into a native one, in place; return what is wrong, as (field, what).

        A field whose columns have no value is missing, even if the line has a key of its name: that goes into the
        metadata, as on lines where they have one. Lines of an OpenAI batch and records of a manifest stay as they are.
        """
        if is_own_shape(record):
            return []
        complaints: list[tuple[str, str]] = []
        given: dict[str, Any] = {}
        used: dict[str | int, list[Path]] = {}
        for name, sources, origin in self.fields:
            value, path = _value(record, sources)
            if value is not None:
                given[name] = _typed(name, value)
                if path:
                    used.setdefault(path[0], []).append(path[1:])
            elif name == "id":
                complaints.append(("id", f"missing: the line has no value for it ({origin})"))
            for source in sources:
                for empty in source.paths:
                    if _at(record, empty, _ABSENT) is None:
                        used.setdefault(empty[0], []).append(empty[1:])
        for key in [key for key, paths in used.items() if _is_used_up(record[str(key)], paths)]:
            del record[str(key)]
        metadata: dict[str, Any] = {}
        for name in [name for name, _, _ in self.fields if name in record]:
            metadata[name] = record.pop(name)  # another column of that name is no field now, whatever the line has
        record |= {name: value for name, value in given.items() if not name.startswith(METADATA)}
        if self.keep_unknown:
            for key in [key for key, value in record.items() if _is_foreign(key, value)]:
                metadata[key] = record.pop(key)
        asked = {name[len(METADATA) :]: value for name, value in given.items() if name.startswith(METADATA)}
        if self.is_table and "metadata" in record:
            record["metadata"] = {key: value for key, value in record["metadata"].items() if key not in asked}
        metadata |= asked
        if metadata:
            complaints += _add_metadata(record, metadata)
        return complaints


def is_own_shape(record: Mapping[str, Any]) -> bool:
    """Return whether a line is one of an OpenAI batch, or a manifest's record: these need no map."""
    if isinstance(record.get("body"), dict) and "url" in record:
        return True
    return "schema" in record and isinstance(record.get("request"), dict)


def _value(record: Mapping[str, Any], sources: Iterable[Source]) -> tuple[Any, Path]:
    """Return the first value that a line has, and its place; () for a template's, whose columns stay."""
    for source in sources:
        if source.template is not None or source.text is not None:
            text = source.text if source.template is None else source.template.fill(record)
            if text is not None:
                return text, ()
        for path in source.paths:
            value = _at(record, path)
            if value is not None:
                return value, path
    return None, ()


_ABSENT = object()


def _at(value: Any, path: Path, absent: object = None) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value at a place; `absent` if there is no such place."""
    for key in path:
        if isinstance(value, dict):
            value = value.get(key, absent)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return absent
    return value


def _is_used_up(value: object, paths: Sequence[Path]) -> bool:
    """Return whether everything in a column's value is at one of the `paths`, so that the column is needed no more."""
    if not all(paths):
        return True
    inner: dict[str | int, list[Path]] = {}
    for path in paths:
        inner.setdefault(path[0], []).append(path[1:])
    items = value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
    return all(key in inner and _is_used_up(one, inner[key]) for key, one in items)


def _typed(name: str, value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a column's value with a type that its field takes; a value that has none stays as it is."""
    if name == "id" and isinstance(value, int | float) and not isinstance(value, bool):
        return _as_text(value)
    return field_value(name, value) if isinstance(value, str) and _is_typed(name) else value


@cache
def _is_typed(name: str) -> bool:
    """Return whether a field takes anything but text somewhere."""
    return any(name in FIELDS[endpoint] and takes_json(endpoint, name) for endpoint in Endpoint)


def _as_text(value: object) -> str | None:
    """Return a value as text, as JSON has it; None if it is nested too deeply to be written."""
    if isinstance(value, str):
        return value
    # Tables of numbers with gaps hold 7.0 for 7.
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return None


def _is_foreign(key: str, value: object) -> bool:
    """Return whether a line's own key is none of a job, or cannot be the job's by its type."""
    if key in _OBJECTS:
        return value is not None and not isinstance(value, dict)
    return key not in ALL_FIELDS and key not in RESERVED


def _add_metadata(record: dict[str, Any], found: dict[str, Any]) -> list[tuple[str, str]]:
    """Add to the line's own metadata, if that is an object; return the keys that have two values."""
    own = record.get("metadata")
    if own is not None and not isinstance(own, dict):
        return []  # which the line's check reports
    twice = [key for key, value in found.items() if own and key in own and _differs(own[key], value)]
    record["metadata"] = {**(own or {}), **found}
    return [
        (f"{METADATA}{printable(key)}", f"the line has it twice; add --map metadata.NAME={printable(key)}")
        for key in twice
    ]


def _differs(one: object, other: object) -> bool:
    try:
        return one != other
    except RecursionError:  # JSON may be nested more deeply than Python compares
        return True
