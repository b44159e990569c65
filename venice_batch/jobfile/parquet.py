"""Rewrite Parquet and Arrow files as JSON lines, a batch of rows at a time. Needs pyarrow."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from venice_batch.errors import JobsFileError, Problem
from venice_batch.jobfile.reading import temporary
from venice_batch.jobfile.rewritten import Places, Rewritten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from venice_batch.jobfile.content import Columns

_ROWS = 1000
"""Rows in memory at a time, as Python objects."""

_PANDAS_INDEX = "__index_level_"
"""How the column begins in which pandas keeps the numbers of rows."""

_MOST_NAMES = 5
"""Columns that a notice names."""


@contextmanager
def as_lines(name: str, file: BinaryIO, kind: Columns) -> Iterator[tuple[BinaryIO, Rewritten]]:
    """Rewrite a Parquet or Arrow file: row number n becomes line n, an object with the names of the columns.

    Empty cells are left out, and so are columns with binary data such as images. Yields the JSON lines, and what they
    do not say.

    Raises:
        JobsFileError: pyarrow is not installed, the file is damaged, or two columns have one name.
    """
    file.seek(0)
    what = "a Parquet table" if kind == "Parquet" else "an Arrow table"
    try:
        import pyarrow
    except ModuleNotFoundError:
        what = f"is {what}, and reading it needs pyarrow; in the clone of venice-batch: pip install '.[parquet]'"
        raise _refusal(name, what) from None
    with temporary() as spool:
        try:
            if kind == "Parquet":
                found = _parquet(name, file, spool.write)
            else:
                found = _arrow(name, file, spool.write, is_stream=kind == "Arrow stream")
        # KeyError: a map repeats a key. pyarrow's own OSErrors have no number.
        except (pyarrow.ArrowException, ValueError, KeyError, OSError, MemoryError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            text = str(error) or "it asks for more memory than there is"  # a damaged length does
            first_line = text.strip().partition("\n")[0].rstrip(".")
            raise _refusal(name, f"is {what} that cannot be read: {first_line}") from error
        spool.flush()
        yield spool, found


def _parquet(name: str, file: BinaryIO, write: Callable[[bytes], object]) -> Rewritten:
    from pyarrow.parquet import ParquetFile

    with ParquetFile(file) as table:
        kept, found = _columns(name, table.schema_arrow)
        # One iterator over all row groups would keep those that have been read: twice the memory with four of them.
        for group in range(table.num_row_groups):
            for batch in table.iter_batches(batch_size=_ROWS, row_groups=[group], columns=kept):
                _write_rows(batch, write)
    return found


def _arrow(name: str, file: BinaryIO, write: Callable[[bytes], object], *, is_stream: bool) -> Rewritten:
    from pyarrow import ipc

    # Twice: which columns to read is known only from the schema.
    schema = (ipc.open_stream if is_stream else ipc.open_file)(file).schema
    file.seek(0)
    kept, found = _columns(name, schema)
    wanted = ipc.IpcReadOptions(included_fields=[schema.get_field_index(column) for column in kept])
    if is_stream:
        batches = iter(ipc.open_stream(file, options=wanted))
    else:
        reader = ipc.open_file(file, options=wanted)
        batches = map(reader.get_batch, range(reader.num_record_batches))
    for batch in batches:
        _write_rows(batch, write)
    return found


def _columns(name: str, schema: Any) -> tuple[list[str], Rewritten]:  # noqa: ANN401 - pyarrow has no types
    """Return the names of the columns to read, and what to know about them. Raises JobsFileError."""
    names: list[str] = schema.names
    twice = next((column for number, column in enumerate(names) if column in names[:number]), None)
    if twice is not None:
        raise _refusal(name, f"has two columns named {twice!r}; rename one of them")
    binary = [field.name for field in schema if _is_binary(field.type)]
    index = [column for column in names if column.startswith(_PANDAS_INDEX)]
    notices = [
        f"{name}: left out {_listed(columns)}, which {'holds' if len(columns) == 1 else 'hold'} {what}"
        for columns, what in ((binary, "binary data such as images"), (index, "the numbers of rows that pandas gave"))
        if columns
    ]
    kept = [column for column in names if column not in {*binary, *index}]
    if not kept:
        raise _refusal(name, "has no column of text or numbers")
    return kept, Rewritten(has_ids="id" in kept, notices=tuple(notices), places=Places("row"))


def _listed(columns: Sequence[str]) -> str:
    some = ", ".join(columns[:_MOST_NAMES]) + (", …" if len(columns) > _MOST_NAMES else "")
    return f"the column{'s' if len(columns) > 1 else ''} {some}"


def _is_binary(kind: Any) -> bool:  # noqa: ANN401 - pyarrow has no types
    """Return whether a column's cells hold bytes, alone or inside lists and objects."""
    from pyarrow import types

    kind = getattr(kind, "storage_type", kind)  # of an extension's type
    if types.is_dictionary(kind):
        return _is_binary(kind.value_type)
    is_bytes = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    inner = (kind.field(number).type for number in range(kind.num_fields))
    return any(test(kind) for test in is_bytes) or any(map(_is_binary, inner))


def _write_rows(batch: Any, write: Callable[[bytes], object]) -> None:  # noqa: ANN401 - pyarrow has no types
    from pyarrow import string, types

    batch.validate(full=True)  # a damaged file may have lengths that would end the process
    columns = [
        # Python's own times have no nanoseconds.
        column.cast(string()) if types.is_timestamp(column.type) else column
        for column in batch.columns
    ]
    for start in range(0, batch.num_rows, _ROWS):
        cells = [column.slice(start, _ROWS).to_pylist(maps_as_pydicts="strict") for column in columns]
        for row in zip(*cells, strict=True):
            job = {
                name: value
                for name, cell in zip(batch.schema.names, row, strict=True)
                if (value := _value(cell)) is not None
            }
            write(orjson.dumps(job, default=str, option=orjson.OPT_NON_STR_KEYS) + b"\n")


def _value(cell: object) -> object:
    """Return a cell as JSON can hold it: NaN, which pandas writes for an empty cell, is None, and 512.0 is 512."""
    match cell:
        case float():
            if not math.isfinite(cell):
                return None if math.isnan(cell) else str(cell)
            return int(cell) if cell.is_integer() and abs(cell) < 1 << 53 else cell
        case dict():
            return {key: _value(value) for key, value in cell.items()}
        case list():
            return [_value(value) for value in cell]
        case _:
            return cell


def _refusal(name: str, what: str) -> JobsFileError:
    return JobsFileError([Problem(name, 0, "", what)])
