"""Files of scores, as scorers write them: rows from JSON lines, a JSON array or a table, and the values in a row."""

from __future__ import annotations

import csv
import json
import math
import re
import shlex
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import orjson

from venice_batch.errors import UsageError, one_line
from venice_batch.jobfile.content import columns, compression, not_text
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from venice_batch.output.annotations import Value

LONGEST_NAME = 100
"""Characters of an annotation's name; a longer one is cut."""
LONGEST_TEXT = 2_000
"""Characters of a text; a longer one is cut."""

_MOST_DEPTH = 20
_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d{0,17})(?:\.\d*)?(?:[eE][+-]?\d{1,3})?|[+-]?\.\d+(?:[eE][+-]?\d{1,3})?")
_NOT_FINITE = {"nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"}
_WORDS: Mapping[str, bool] = {"true": True, "false": False}
_NO_NAME = re.compile("[<>=!≤≥≠\x00-\x1f\x7f]+")
"""Characters that would make a condition on the name ambiguous."""
_INT64 = range(-(2**63), 2**63)
_PLAIN_KEY = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_HEAD_BYTES = 4096
_SEP = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


class Row(NamedTuple):
    """One row: its line in the file, from 1 (in an array its number), and its cells by their columns."""

    line: int
    cells: dict[str, Any]


def rows(name: str, data: bytes) -> Iterator[Row]:
    """Yield the rows of a file of scores; its content decides the format, not its name.

    A file that begins with `{` holds JSON lines, one that begins with `[` a JSON array of objects; all others are
    tables with a header, with cells parted by commas, semicolons or tabs. NaN and infinite numbers are read.

    Raises:
        UsageError: it is not UTF-8, holds no rows, or a row is not as it should be; the message names its line.
    """
    try:
        text = data.decode("utf-8-sig")
        if "\0" in text and (why := _no_text(data)):
            raise UsageError(f"{name}: {why}")
    except UnicodeDecodeError as error:
        if why := _no_text(data):
            raise UsageError(f"{name}: {why}") from None
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{name}:{line}: not valid UTF-8; save the file as UTF-8 text") from None
    if not (start := text.lstrip()):
        raise UsageError(f"{name}: holds no rows")
    if start[0] == "[":
        yield from _array(name, text)
    elif start[0] == "{":
        yield from _lines(name, text)
    else:
        yield from _table(name, text)


def _no_text(data: bytes) -> str | None:
    """Return why a file is no text, and what to do; None if its first bytes do not say it."""
    head = data[:_HEAD_BYTES]
    if packed := compression(head):
        unpack = {"gzip": "gunzip -c", "zstd": "zstd -dc"}[packed]
        return f"is packed with {packed}; unpack it: {unpack} FILE | venice-batch annotate OUT -"
    if kind := columns(head):
        return f"is a table in {kind} format; save it as CSV or JSON lines"
    return not_text(head, packed="unpack it first")


def _array(name: str, text: str) -> Iterator[Row]:
    try:
        found = _decoded(text)
    except ValueError as error:
        raise UsageError(one_line(f"{name}: not valid JSON: {error}")) from None
    if not found:
        raise UsageError(f"{name}: holds no rows: the list is empty")
    for number, cells in enumerate(found, 1):
        if not isinstance(cells, dict):
            raise UsageError(f"{name}: element {number} is no object; every element needs keys, such as id and score")
        yield Row(number, cells)


def _lines(name: str, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            cells = _decoded(line)
        except ValueError as error:
            if number == 1 or line.strip() == "{":
                raise UsageError(
                    f"{name}: {_one_object(text) or f'line {number} is not valid JSON: {error}'}"
                ) from None
            raise UsageError(one_line(f"{name}:{number}: not valid JSON: {error}")) from None
        if not isinstance(cells, dict):
            raise UsageError(f'{name}:{number}: expected an object, such as {{"id": "fox", "score": 0.8}}')
        yield Row(number, cells)


def _one_object(text: str) -> str:
    """Return what to do with a file that is one object over several lines; "" if it is not."""
    try:
        found = _decoded(text)
    except ValueError:
        return ""
    if isinstance(found, dict) and (hint := rows_inside(found)):
        return hint
    return "holds one JSON object; expected one a line: jq -c . FILE | venice-batch annotate OUT -"


def rows_inside(cells: Mapping[str, Any]) -> str:
    """Return what to do with an object that holds the rows in a list; "" if it has no list of objects."""
    key = next((key for key, value in cells.items() if isinstance(value, list) and _begins_with_row(value)), None)
    if key is None:
        return ""
    path = f".{key}" if _PLAIN_KEY.fullmatch(key) else f".[{json.dumps(key)}]"
    command = f"jq -c {shlex.quote(f'{path}[]')} FILE | venice-batch annotate OUT -"
    return one_line(f"holds one JSON object; its rows are in {key!r}: {command}")


def _begins_with_row(value: list[Any]) -> bool:
    return bool(value) and isinstance(value[0], dict)


def _decoded(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value of a JSON text, in which Python may have written NaN and Infinity. Raises ValueError."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError(str(error)) from None


def _table(name: str, text: str) -> Iterator[Row]:
    lines = text.splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if line.strip())
    if said := _SEP.fullmatch(lines[first]):
        delimiter, first = said[1], first + 1
    else:
        delimiter = max(",;\t", key=lines[first].count)
    left = iter([*lines[first:], ""])
    reader = csv.reader(left, delimiter=delimiter)
    header: list[str] = []
    is_empty = True
    line = first
    try:
        for cells in reader:
            start, line = line + 1, first + reader.line_num
            if line > len(lines) and any(cells):
                raise UsageError(f"{name}:{start}: a quote opens in this row and is never closed")
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = [cell.strip() or f"column {number}" for number, cell in enumerate(cells, 1)]
                if twice := next((cell for number, cell in enumerate(header) if cell in header[:number]), None):
                    raise UsageError(one_line(f"{name}:{line}: the header names {twice!r} twice"))
                continue
            if len(cells) > len(header):
                what = f"has {len(cells)} cells, the header has {len(header)}"
                raise UsageError(f"{name}:{line}: {what}; put cells that contain a delimiter in quotes")
            is_empty = False
            yield Row(line, dict(zip(header, cells, strict=False)))
    except csv.Error as error:
        raise UsageError(f"{name}:{first + reader.line_num}: not a valid table: {error}") from None
    if is_empty:
        raise UsageError(one_line(f"{name}: holds no rows below its header, {delimiter.join(header)[:80]!r}"))


class Values(NamedTuple):
    """The values in a row by their names.

    `not_finite` names those that are NaN or infinite, and are left out; `cut` the texts that were too long.
    """

    found: dict[str, Value]
    not_finite: tuple[str, ...]
    cut: tuple[str, ...]


def values_in(cells: Mapping[str, Any], prefix: str = "") -> Values:
    """Return the values of a row's cells; objects become several names with dots between them.

    Text that is a number, true or false counts as such. Lists become text. Empty cells and null are left out.
    """
    found: dict[str, Value] = {}
    not_finite: list[str] = []
    cut: list[str] = []

    def add(name: str, value: Any, depth: int) -> None:  # noqa: ANN401 - any JSON value
        if isinstance(value, dict) and value and depth < _MOST_DEPTH:
            for key, inner in value.items():
                add(f"{name}.{key}", inner, depth + 1)
            return
        name = annotation_name(name)
        value = _typed(value)
        if value is None:
            return
        if isinstance(value, float) and not math.isfinite(value):
            not_finite.append(name)
            return
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            cut.append(name)
            value = value[: LONGEST_TEXT - 1] + "…"
        found[name] = value

    for column, cell in cells.items():
        add(prefix + column, cell, 0)
    return Values(found, tuple(not_finite), tuple(cut))


class NotNumbers(msgspec.Struct):
    """Of the `values` of a name `texts` are no numbers, of these `commas` look like numbers with a decimal comma.

    `first` is the first of the texts, and `at` its place.
    """

    values: int = 0
    texts: int = 0
    commas: int = 0
    first: str = ""
    at: str = ""

    def add(self, value: Value, at: str) -> None:
        """Count a value that is at the place `at`."""
        self.values += 1
        if not isinstance(value, str):
            return
        if not self.texts:
            self.first, self.at = value[:80], at
        self.texts += 1
        self.commas += _DECIMAL_COMMA.fullmatch(value) is not None

    def __str__(self) -> str:
        verb, nouns = ("is", "no number") if self.texts == 1 else ("are", "no numbers")
        advice = "write numbers with a decimal point, not a comma" if self.commas else "correct it and annotate again"
        some = f"{self.texts:,} of {counted(self.values, 'value', grouped=True)} {verb} {nouns}"
        return f"{some}, {'the first ' if self.texts > 1 else ''}{self.first!r} at {self.at}; {advice}"

    @property
    def is_likely(self) -> bool:
        """Whether the name was meant to have numbers: some of its values are, or all have a decimal comma."""
        return 0 < self.texts < self.values or 0 < self.commas == self.values


@lru_cache(maxsize=10_000)
def annotation_name(text: str) -> str:
    """Return `text` as a name that conditions can be about: without operators and control characters."""
    name = " ".join(_text(_NO_NAME.sub("_", text)).split())
    return name[:LONGEST_NAME] or "_"


def _typed(value: Any) -> Value | None:  # noqa: ANN401 - any JSON value
    """Return a cell as a value; None for an empty one."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if value in _INT64 else _float(value)
    if isinstance(value, float):
        return value
    if not isinstance(value, str):
        return _text(json.dumps(value, ensure_ascii=False)) if value else None
    text = value.strip()
    if not text:
        return None
    word = text.casefold()
    if word in _WORDS:
        return _WORDS[word]
    if word in _NOT_FINITE:
        return math.nan
    if _NUMBER.fullmatch(text):
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    return _text(text)


def _text(text: str) -> str:
    """Return `text` without halves of surrogate pairs, which UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
