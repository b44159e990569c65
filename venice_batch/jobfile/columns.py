"""Find the columns that a map names in a file, however the file spells them, and name those that it lacks."""

from __future__ import annotations

import difflib
import shlex
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from venice_batch.errors import JobsFileError, Problem
from venice_batch.jobfile.defaults import ALL_FIELDS
from venice_batch.jobfile.fields import RESERVED
from venice_batch.jobfile.mapping import FILE, HOLE, METADATA, LineMap, Need, Source, Template, columns_of, is_own_shape
from venice_batch.jobfile.reading import lines
from venice_batch.jobfile.request_check import printable
from venice_batch.jobfile.rewritten import Copies

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from venice_batch.jobfile.mapping import FieldMap, Path

_MOST_NAMES = 8
"""Columns that a message lists."""

_SAMPLE = 200
"""Lines in which a message looks for nested names."""

FIELDS = ALL_FIELDS | {"id", "endpoint"}
"""What a column may be mistyped for."""


def of_lines(name: str, file: BinaryIO, field_map: FieldMap, *, stem: str, kind: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `Source` that a map gives a file of JSON lines: the map for its lines, and their ids.

    `kind` holds the fields that the kind of the file has given already. Equal lines without ids are counted, so that
    each is a job of its own.

    Raises:
        JobsFileError: a column is not in the file.
    """
    columns, keys, has_others = Columns(field_map), dict[str, None](), False
    for _, record in _records(file):
        if is_own_shape(record):
            has_others = True
            continue
        columns.look(record)
        if not record.keys() <= keys.keys():
            keys |= dict.fromkeys(record)
    check(name, field_map, columns, keys, lambda: _names(file), is_mixed=has_others or "endpoint" in keys)
    found = line_map(field_map, columns, stem=stem)
    doubts = dict(kind.get("suspects", {}))
    if field_map.has_suspects and found.keep_unknown:
        doubts |= suspects(found, [key for key in keys if key not in RESERVED])
    has_ids = "id" in found.targets or (kind.get("has_ids", True) and ("id" in keys or has_others))
    fields = {"mapping": found, "suspects": doubts, "has_ids": has_ids}
    return fields if has_ids else {**fields, "copies": _copies(file, found)}


def of_header(name: str, header: Sequence[str], fields: Collection[str], field_map: FieldMap, *, stem: str) -> LineMap:
    """Return the map for the rows of a table whose columns have the names `header`.

    `fields` are those that columns are without a map.

    Raises:
        JobsFileError: a column is not in the table.
    """
    columns = Columns(field_map)
    columns.look(dict.fromkeys(header, ""))
    check(name, field_map, columns, fields, lambda: header, is_mixed="endpoint" in fields)
    return replace(line_map(field_map, columns, stem=stem), keep_unknown=True, is_table=True)


def check(
    source: str,
    field_map: FieldMap,
    columns: Columns,
    given: Collection[str],
    names: Callable[[], Sequence[str]],
    *,
    is_mixed: bool,
) -> None:
    """Raise JobsFileError if the file lacks columns that it needs: one problem for each field.

    `given` are fields that its lines have under their own names, `names` returns its columns. `is_mixed`: some of its
    lines are of another kind, so that a prompt set need not fit.
    """
    problems = []
    settled: set[str] = set()
    for one in field_map.fields:
        missing = columns.lacks(one.names) if one.field not in settled else []
        if not missing:
            settled.add(one.field)
        elif one.need is Need.ALWAYS or (one.need is Need.INSTEAD and one.field not in given and not is_mixed):
            settled.add(one.field)
            is_asked = one.need is Need.ALWAYS
            what = _no_column(missing[0], columns.rivals(missing[0]), names(), "" if is_asked else one.field)
            problems.append(Problem(source, 0, one.origin, what))
    if problems:
        raise JobsFileError(problems)


def _no_column(column: str, rivals: Sequence[str], names: Sequence[str], field: str) -> str:
    """Return the message about a column that is not in the file; `field` is what a prompt set takes from it."""
    if rivals:
        either = " or ".join(repr(printable(name)) for name in rivals[:3])
        return f"{printable(column)!r} could be {either}; spell it as the file does"
    by_case = {name.casefold(): name for name in reversed(names)}
    close = difflib.get_close_matches(column.casefold(), by_case, n=1)
    nearest = printable(by_case[close[0]]) if close else ""
    listed = ", ".join(map(printable, names[:_MOST_NAMES])) + (", …" if len(names) > _MOST_NAMES else "")
    what = f"nothing is called {printable(column)!r} in this file"
    if field:
        others = "" if nearest else f", which has {listed}"
        wanted = shlex.quote(f"{field}={nearest or 'NAME'}")
        return f"{what}{others}; add --map {wanted}"
    return f"{what}; did you mean {nearest!r}?" if nearest else f"{what}; the file has {listed}"


def suspects(found: LineMap, names: Iterable[str]) -> dict[str, str]:
    """Return those of `names` that go into the metadata but look like a field that no column is, with a message."""
    names = [name for name in names if not name.startswith(METADATA)]
    lacking = sorted(FIELDS.difference(names, found.targets))
    used = found.keys
    doubts = {}
    for name in names:
        if name not in FIELDS and name not in used:
            close = difflib.get_close_matches(name.lower(), lacking, n=1, cutoff=0.8)
            if close:
                what = f"is not a field and goes into metadata; did you mean {close[0]!r}? (if not: {METADATA}NAME)"
                doubts[name] = what
    return doubts


def _records(file: BinaryIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the lines that are objects, with their numbers; the check reports the others."""
    for number, _, line in lines(file):
        if isinstance(line, bytes):
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if type(record) is dict:
                yield number, record


def _names(file: BinaryIO) -> list[str]:
    """Return the names of the first lines' values, nested ones with dots."""
    found: dict[str, None] = {}
    for _, record in islice(_records(file), _SAMPLE):
        found |= dict.fromkeys(_dotted(record))
    return list(found)


def _dotted(record: Mapping[str, Any], depth: int = 3) -> Iterator[str]:
    for key, value in record.items():
        yield key
        if isinstance(value, dict) and depth:
            yield from (f"{key}.{inner}" for inner in _dotted(value, depth - 1))


def _copies(file: BinaryIO, found: LineMap) -> Sequence[int]:
    copies = Copies()
    for number, record in _records(file):
        if not is_own_shape(record):
            found.apply(record)
            copies.add(request_text(record), number)
    return copies.by_line()


def request_text(record: Mapping[str, Any]) -> bytes:
    """Return a native line without its metadata, with its keys in order; equal requests have equal ones."""
    request = {key: value for key, value in record.items() if key != "metadata"}
    try:
        return orjson.dumps(request, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:  # nested too deeply, which the check reports
        return b""


def line_map(field_map: FieldMap, names: Columns, *, stem: str = "") -> LineMap:
    """Return the map for the lines in which `names` has found the columns; `stem` is the jobs file's.

    Entries whose columns are not there are left out; of several for a field the first one counts.
    """
    fields: dict[str, tuple[tuple[Source, ...], str]] = {}
    for one in field_map.fields:
        sources = tuple(found for name in one.names if (found := _source(name, names, stem)) is not None)
        if sources:
            fields.setdefault(one.field, (sources, one.origin))
    listed = tuple((name, sources, origin) for name, (sources, origin) in fields.items())
    return LineMap(listed, keep_unknown=field_map.unknown == "metadata")


class Columns:
    """The places in lines where the columns of a map were found: as they are spelled, else ignoring case."""

    __slots__ = ("_exact", "_loose")

    _MOST = 8
    """Places of one column that are remembered."""

    def __init__(self, field_map: FieldMap) -> None:
        wanted = [column for one in field_map.fields for column in one.columns]
        self._exact: dict[str, list[Path]] = {column: [] for column in wanted}
        self._loose: dict[str, list[Path]] = {column: [] for column in wanted}

    def look(self, record: Mapping[str, Any]) -> None:
        """Look for all columns in a line."""
        for column, exact in self._exact.items():
            for path in paths_in(record, column):
                if path not in exact and len(exact) < self._MOST:
                    exact.append(path)
            if not exact:
                loose = self._loose[column]
                loose += [path for path in paths_in(record, column, fold=True) if path not in loose][: self._MOST]

    def places(self, column: str) -> tuple[Path, ...]:
        """Return where a column is; () if nowhere, or if several names differ from it in case alone."""
        if self._exact[column]:
            return tuple(self._exact[column])
        return tuple(self._loose[column]) if not self.rivals(column) else ()

    def rivals(self, column: str) -> list[str]:
        """Return the names that differ from the column's in case alone, if there are several."""
        names = [path_text(path) for path in self._loose[column]]
        return [] if self._exact[column] or len(names) < 2 else names

    def lacks(self, names: Sequence[str]) -> list[str]:
        """Return the columns that are missing so that none of the `names` of an entry can be used; [] if one can."""
        missing = [[column for column in columns_of(name) if not self.places(column)] for name in names]
        return [] if not all(missing) else missing[0]


def paths_in(value: object, name: str, *, fold: bool = False) -> Iterator[Path]:
    """Yield the places of `name` in a value: as one key, or by its dots; with `fold` in any case."""
    if isinstance(value, dict):
        if name in value:
            yield (name,)
        elif fold:
            yield from ((key,) for key in value if key.casefold() == name.casefold())
        dot = name.find(".")
        while dot >= 0:
            head, rest = name[:dot], name[dot + 1 :]
            heads = [key for key in value if key.casefold() == head.casefold()] if fold else [head]
            for key in heads:
                if isinstance(value.get(key), dict | list):
                    yield from ((key, *path) for path in paths_in(value[key], rest, fold=fold))
            dot = name.find(".", dot + 1)
    elif isinstance(value, list):
        head, _, rest = name.partition(".")
        if head.isascii() and head.isdecimal() and int(head) < len(value):
            if not rest:
                yield (int(head),)
            else:
                yield from ((int(head), *path) for path in paths_in(value[int(head)], rest, fold=fold))


def path_text(path: Path) -> str:
    """Return a place as it is written in options."""
    return ".".join(map(str, path))


def _source(name: str, names: Columns, stem: str) -> Source | None:
    """Return the source that a name of an entry stands for; None if one of its columns is nowhere."""
    if names.lacks([name]):
        return None
    pieces = HOLE.split(name)
    if len(pieces) == 1:
        return Source(text=stem) if name == FILE else Source(names.places(name))
    texts, paths = [pieces[0]], []
    for column, text in zip(pieces[1::2], pieces[2::2], strict=True):
        if column.strip() == FILE:
            texts[-1] += stem + text
        else:
            paths.append(names.places(column.strip()))
            texts.append(text)
    return Source(template=Template(tuple(texts), tuple(paths)))
