"""Tables and plain prompts, rewritten as JSON lines with their line numbers kept."""

from __future__ import annotations

import csv
import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from venice_batch.errors import JobsFileError, Problem
from venice_batch.jobfile.defaults import ALL_FIELDS, field_value
from venice_batch.jobfile.reading import MAX_LINE_BYTES, TooLong, lines
from venice_batch.jobfile.spool import temporary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DELIMITERS = {".csv": ",", ".tsv": "\t"}

MAX_PROBLEMS = 1000


@contextmanager
def as_lines(name: str, file: BinaryIO, suffix: str) -> Iterator[BinaryIO]:
    """Rewrite a table (`.csv`, `.tsv`) or a prompt a line (`.txt`); a job stands on the line it stood on.

    Raises:
        JobsFileError: not UTF-8, a row that does not fit its header, a header that makes no sense.
    """
    with temporary() as spool:
        if suffix == ".txt":
            _prompts(name, file, spool)
        else:
            _rows(name, file, spool, DELIMITERS[suffix])
        spool.flush()
        yield spool


def _prompts(name: str, file: BinaryIO, spool: BinaryIO) -> None:
    written = 0
    for number, _, line in lines(file):
        if isinstance(line, TooLong):
            raise _refusal(name, number, f"line is {line.size / 1e6:.1f} MB; expected a prompt a line")
        try:
            prompt = line.decode()
        except UnicodeDecodeError:
            raise _refusal(name, number, "not valid UTF-8; save the file as UTF-8") from None
        # Blank lines keep the numbers right.
        spool.write(b"\n" * (number - written - 1) + orjson.dumps({"prompt": prompt.strip()}) + b"\n")
        written = number


def _rows(name: str, file: BinaryIO, spool: BinaryIO, delimiter: str) -> None:
    file.seek(0)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    # Tab-separated values know no quotes (IANA text/tab-separated-values), and lists of prompts in the wild
    # hold cells that merely begin with one; those that a spreadsheet has quoted are told apart below.
    tabs = delimiter == "\t"
    # strict: a stray quote is told instead of swallowing the lines up to the next one.
    reader = csv.reader(
        _bounded(text), delimiter=delimiter, quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL, strict=True
    )
    problems: list[Problem] = []
    total = 0
    try:
        names = _names(name, next(row for row in reader if row), reader.line_num)
        spool.write(b"\n" * reader.line_num)
        written = reader.line_num
        for row in reader:
            first, written = written + 1, reader.line_num
            if tabs:
                row = [_unquoted(cell) for cell in row]
            if len(row) > len(names):
                total += 1
                if len(problems) < MAX_PROBLEMS:
                    what = f"has {len(row)} cells, the header {len(names)}; put cells with a delimiter in quotes"
                    problems.append(Problem(name, first, "", what))
            elif any(row):
                spool.write(orjson.dumps(_job(names, row)))
            # A row may span lines; its job stands on the first of them.
            spool.write(b"\n" * (written - first + 1))
    except csv.Error as error:
        raise _refusal(name, reader.line_num, f"not a table: {error}") from error
    except UnicodeDecodeError:
        raise _refusal(name, reader.line_num + 1, "not valid UTF-8 near here; save the file as UTF-8") from None
    finally:
        text.detach()
    if problems:
        raise JobsFileError(problems, total)


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


def _bounded(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(MAX_LINE_BYTES):
        if len(line) == MAX_LINE_BYTES:
            raise csv.Error("a line of more than 1 MB")
        yield line


def _names(source: str, header: Sequence[str], line: int) -> list[str]:
    """Return what each column is called: fields by their own names, the rest as the header has it."""
    columns = [column.strip() for column in header]
    names = [
        column.lower() if column.lower() in ALL_FIELDS | {"id", "endpoint"} else column or f"column {number}"
        for number, column in enumerate(columns, 1)
    ]
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if twice:
        raise _refusal(source, line, f"the header names {twice[0]!r} twice")
    return names


def _job(names: Sequence[str], row: Sequence[str]) -> dict[str, Any]:
    """Return a row as a native line; an empty cell is a field left out."""
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
            metadata[name] = cell
    return {**job, "metadata": metadata} if metadata else job


def _refusal(name: str, line: int, what: str) -> JobsFileError:
    return JobsFileError([Problem(name, line, "", what)])
