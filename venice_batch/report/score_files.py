"""Files of scores, as scorers write them: rows from JSON lines, a JSON array or a table, and the values in a row."""

from __future__ import annotations

import csv
import json
import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from venice_batch.errors import UsageError, one_line

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
    except UnicodeDecodeError as error:
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


def _array(name: str, text: str) -> Iterator[Row]:
    try:
        found = _decoded(text)
    except ValueError as error:
        raise UsageError(one_line(f"{name}: not valid JSON: {error}")) from None
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
    lists = [key for key, value in found.items() if isinstance(value, list)] if isinstance(found, dict) else []
    path = "".join(f".{key}" if key.isidentifier() else f".[{json.dumps(key)}]" for key in lists[:1])
    if path:
        return one_line(
            f"holds one JSON object; its rows are in {lists[0]!r}: jq -c '{path}[]' FILE | venice-batch annotate OUT -"
        )
    return "holds one JSON object; expected one a line: jq -c . FILE | venice-batch annotate OUT -"


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
    reader = csv.reader(lines[first:], delimiter=delimiter)
    header: list[str] = []
    try:
        for cells in reader:
            line = first + reader.line_num
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
            yield Row(line, dict(zip(header, cells, strict=False)))
    except csv.Error as error:
        raise UsageError(f"{name}:{first + reader.line_num}: not a valid table: {error}") from None


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
