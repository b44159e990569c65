"""Rewrite tables and plain prompts as JSON lines, keeping their line numbers."""

from __future__ import annotations

import csv
import io
import re
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from venice_batch.errors import Findings, JobsFileError, Problem
from venice_batch.jobfile.columns import FIELDS, of_header, request_text, suspects
from venice_batch.jobfile.defaults import ALL_FIELDS, field_value
from venice_batch.jobfile.mapping import METADATA, FieldMap, LineMap
from venice_batch.jobfile.reading import MAX_LINE_BYTES, TooLong, lines, temporary
from venice_batch.jobfile.rewritten import Copies, Rewritten
from venice_batch.jobfile.variables import is_comment
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

DELIMITERS = {".csv": ",", ".tsv": "\t"}

_MARK = "\ufeff"
_MARK_INSIDE = "holds a byte order mark (U+FEFF), as after joining two files without a line end between them; remove it"
_NOT_UTF8 = "not valid UTF-8{}; save the file as UTF-8"
_SEP = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""A first line that names the table's delimiter to Excel."""

_SPELLINGS = {name.lower().replace("_", ""): name for name in FIELDS}


_MOST_NUMBERS = 5
"""Lines that a notice names."""


@contextmanager
def as_lines(
    name: str, file: BinaryIO, suffix: str, field_map: FieldMap | None = None, stem: str = ""
) -> Iterator[tuple[BinaryIO, Rewritten]]:
    """Rewrite a table (`.csv`, `.tsv`) or a file of prompts (`.txt`); every job keeps its line number.

    The columns of a table become fields by `field_map`, which may name the file's `stem`.

    Yields the JSON lines, and what they do not say.

    Raises:
        JobsFileError: not UTF-8, a row that does not fit the header, or a header that makes no sense or lacks a column.
    """
    with temporary() as spool:
        if suffix == ".txt":
            found = _prompts(name, file, spool)
        else:
            found = _rows(name, file, spool, DELIMITERS[suffix], field_map or FieldMap(), stem)
        spool.flush()
        yield spool, found


def _prompts(name: str, file: BinaryIO, spool: BinaryIO) -> Rewritten:
    """Write every prompt as a JSON line, without the comments."""
    written = 0
    comments: list[int] = []
    copies = Copies()
    for number, _, line in lines(file):
        if isinstance(line, TooLong):
            raise _refusal(name, number, f"line is {line.size / 1e6:.1f} MB; expected a prompt a line")
        try:
            prompt = line.decode()
        except UnicodeDecodeError:
            raise _refusal(name, number, _NOT_UTF8.format("")) from None
        if _MARK in prompt:
            raise _refusal(name, number, _MARK_INSIDE)
        prompt = prompt.strip()
        if is_comment(prompt):
            comments.append(number)
            continue
        # Blank lines keep the line numbers right.
        spool.write(b"\n" * (number - written - 1) + orjson.dumps({"prompt": prompt}) + b"\n")
        written = number
        copies.add(prompt, number)
    if comments and not written:
        raise _refusal(name, 0, "holds no jobs, only comments")
    notices = (_comments_notice(name, comments),) if comments else ()
    return Rewritten(has_ids=False, copies=copies.by_line(), notices=notices)


def _comments_notice(name: str, numbers: Sequence[int]) -> str:
    some = ", ".join(map(str, numbers[:_MOST_NUMBERS])) + (", …" if len(numbers) > _MOST_NUMBERS else "")
    found = f"{counted(len(numbers), 'comment')} (line {some})"
    return f"{name}: {found} left out; a # and a space begin a comment"


def _rows(name: str, file: BinaryIO, spool: BinaryIO, delimiter: str, field_map: FieldMap, stem: str) -> Rewritten:
    """Write every row as a JSON line."""
    file.seek(0)
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    findings = Findings()
    table = _Table(text, delimiter)
    try:
        header = [cell.strip() for cell in table.header()]
        if not header:
            raise _refusal(name, 0, "holds no jobs")
        mapping = _mapping(name, header, field_map, stem) if field_map else None
        names = _names(name, header, table.line, mapping)
        spool.write(b"\n" * table.line)
        written = table.line
        has_ids = "id" in names or (mapping is not None and "id" in mapping.targets)
        kept = mapping.keys if mapping is not None else frozenset()
        copies = Copies()
        for row in table:
            first, written = written + 1, table.line
            is_header = [cell.strip() for cell in row] == header
            what = ""
            if first in table.marked and not is_header:
                what = "another table begins here, with other columns; put it into a file of its own"
            elif len(row) > len(names):
                what = (
                    f"has {len(row)} cells, the header has {len(names)}; put cells that contain a delimiter in quotes"
                )
            elif any(_MARK in cell for cell in row):
                what = _MARK_INSIDE
            elif any(row) and not is_header:  # tables that were joined repeat their header
                job = _job(names, row) if mapping is None else _mapped(names, row, kept)
                for field_name, fault in mapping.apply(job) if mapping is not None else ():
                    findings.add(first, field_name, fault, name)
                spool.write(orjson.dumps(job))
                if mapping is not None and not has_ids:
                    copies.add(request_text(job), first)
            if what:
                findings.add(first, "", what, name)
            # A row may span several lines; its job is on the first of them.
            spool.write(b"\n" * (written - first + 1))
    except csv.Error as error:
        raise _refusal(name, table.line, f"not a valid table: {error}") from error
    except UnicodeDecodeError:
        raise _refusal(name, table.line + 1, _NOT_UTF8.format(" near here")) from None
    finally:
        text.detach()
    findings.raise_any()
    doubts = suspects(mapping or LineMap(), names) if field_map.has_suspects else {}
    return Rewritten(doubts, has_ids=has_ids, copies=copies.by_line())


class _Table:
    """The rows of a table with any delimiter; `line` is the number of the line where the last row ended.

    `marked` are the lines after the first that begin with a byte order mark.
    """

    def __init__(self, text: io.TextIOWrapper, delimiter: str) -> None:
        self.marked: set[int] = set()
        self._lines = self._bounded(text)
        self._delimiter = delimiter
        self._before = 0
        self._reader = csv.reader(())

    @property
    def line(self) -> int:
        return self._before + self._reader.line_num

    def header(self) -> list[str]:
        """Find the delimiter, and return the first row; [] if there is none."""
        first = ""
        for number, first in enumerate(self._lines):
            self._before = number
            if first.strip():
                break
        begun = [first]
        if said := _SEP.fullmatch(first):
            self._delimiter, self._before, begun = said[1], self._before + 1, []
        else:
            self._delimiter = _delimiter(first, self._delimiter)
        # Tab-separated values have no quotes (IANA text/tab-separated-values), and some published lists of prompts
        # have cells that begin with one. `_unquoted` handles the cells that a spreadsheet has quoted.
        quoting: Any = csv.QUOTE_NONE if self._delimiter == "\t" else csv.QUOTE_MINIMAL
        # strict: a stray quote is an error. Otherwise it would swallow all lines up to the next quote.
        self._reader = csv.reader(chain(begun, self._lines), delimiter=self._delimiter, quoting=quoting, strict=True)
        return next((row for row in self if row), [])

    def __iter__(self) -> Iterator[list[str]]:
        for row in self._reader:
            yield [_unquoted(cell) for cell in row] if self._delimiter == "\t" else row

    def _bounded(self, text: io.TextIOWrapper) -> Iterator[str]:
        number = 0
        while line := text.readline(MAX_LINE_BYTES):
            number += 1
            if len(line) == MAX_LINE_BYTES:
                raise csv.Error("a line of more than 1 MB")
            if line.startswith(_MARK):
                line = line.removeprefix(_MARK)
                if number > 1:
                    self.marked.add(number)
            yield line


def _delimiter(header: str, own: str) -> str:
    """Return the delimiter that finds most fields in the header: spreadsheets choose it by country, not by suffix.

    If none finds a field, the one that is there decides, the suffix's own before the others; a | must find one.
    """

    def found(delimiter: str) -> tuple[int, bool]:
        cells = header.split(delimiter)
        return sum(_field(cell.strip(' "\r\n\t')) is not None for cell in cells), len(cells) > 1 and delimiter != "|"

    return max((own, ",", ";", "\t", "|"), key=found)


def _unquoted(cell: str) -> str:
    """Return a cell of a `.tsv` without the quotes that a spreadsheet put around it.

    Raises:
        csv.Error: it begins with a quote that nothing closes, as a cell of several lines does.
    """
    if not cell.startswith('"'):
        return cell
    if cell.count('"') % 2:
        raise csv.Error("a quote is not closed on its line; save the table as .csv")
    inner = cell[1:-1].replace('""', "")
    return cell[1:-1].replace('""', '"') if cell.endswith('"') and '"' not in inner else cell


def _field(column: str) -> str | None:
    """Return the field that a column is named after, ignoring case, spaces, hyphens and underscores."""
    return _SPELLINGS.get(re.sub(r"[\s_-]", "", column).lower())


def _mapping(source: str, header: Sequence[str], field_map: FieldMap, stem: str) -> LineMap:
    return of_header(source, header, [name for name in map(_field, header) if name], field_map, stem=stem)


def _names(source: str, columns: Sequence[str], line: int, mapping: LineMap | None) -> list[str]:
    """Return the columns' names: a field's own name where a column is a field, else the header's text.

    Columns that a map uses keep the header's text, and so does one that is a field which comes from another column.
    """
    kept, taken = (mapping.keys, mapping.targets) if mapping is not None else (frozenset(), frozenset())
    names, keys = [], []
    for number, column in enumerate(columns, start=1):
        field_name = None if column in kept else _field(column)
        name = column if field_name in taken else field_name or column or f"column {number}"
        names.append(name)
        is_own = name in FIELDS or column in kept
        keys.append(name if is_own else METADATA + name.removeprefix(METADATA))
    twice = [name for number, name in enumerate(names) if keys[number] in keys[:number]]
    if twice:
        raise _refusal(source, line, f"the header names {twice[0]!r} twice")
    return names


def _job(names: Sequence[str], row: Sequence[str]) -> dict[str, Any]:
    """Return a row as a native line; empty cells are left out."""
    job: dict[str, Any] = {}
    metadata = {}
    for name, cell in zip(names, row, strict=False):
        if not cell:
            continue
        if name in ALL_FIELDS:
            job[name] = field_value(name, cell)
        elif name in {"id", "endpoint"}:
            job[name] = cell
        else:
            metadata[name.removeprefix(METADATA) or name] = cell
    return {**job, "metadata": metadata} if metadata else job


def _mapped(names: Sequence[str], row: Sequence[str], kept: Collection[str]) -> dict[str, Any]:
    """Return a row with the columns `kept` for a map as they are, and the others as in a native line."""
    others = [name if name not in kept else "" for name in names]
    job = _job(others, [cell if name else "" for name, cell in zip(others, row, strict=False)])
    return {**job, **{name: cell for name, cell in zip(names, row, strict=False) if cell and name in kept}}


def _refusal(name: str, line: int, what: str) -> JobsFileError:
    return JobsFileError([Problem(name, line, "", what)])
