"""Write the table of a manifest as a CSV or Parquet file."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from venice_batch.errors import UsageError
from venice_batch.report.export.columns import INT64, ColumnType, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from venice_batch.model import Outcome
    from venice_batch.report.export.columns import Cell, Column, Row


_ACTIVE = tuple("=+-@\t\r\n＝＋－＠'")
"""Characters that make a cell a formula in some spreadsheet (OWASP, "CSV Injection"), and the apostrophe."""


def write_csv(records: Iterable[Outcome], table: list[Column], file: BinaryIO) -> int:
    """Write the rows of `records` to `file` in UTF-8, with line ends as in RFC 4180; returns the number of rows.

    Text that a spreadsheet might run as a formula gets an apostrophe in front, and so does text that begins with an
    apostrophe, so that one at the start of a cell is never part of the text. Numbers stay as they are.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        writer = csv.writer(text)
        writer.writerow(column.name for column in table)
        count = 0
        for row in rows(records):
            writer.writerow([csv_text(column.cell(row)) for column in table])
            count += 1
        text.flush()
        return count
    finally:
        text.detach()


def csv_text(cell: Cell) -> str:
    """Return a cell as CSV has it: nothing for None; text that a spreadsheet might run begins with an apostrophe."""
    match cell:
        case None:
            return ""
        case str():
            return f"'{cell}" if cell.startswith(_ACTIVE) else cell
        case bool():
            return "true" if cell else "false"
        case datetime():
            return cell.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case _:
            return str(cell)


BATCH_ROWS = 10_000
"""Rows in memory at a time, and in each row group of the file."""


def require_parquet() -> None:
    """Import pyarrow, which takes a moment.

    Raises:
        UsageError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401 - to fail before anything is written
    except ModuleNotFoundError as error:
        raise UsageError("--parquet needs pyarrow: pip install 'venice-batch[parquet]'") from error


def _parquet_cell(column: Column) -> Callable[[Row], Cell]:
    """Return the function that makes the column's cells; a number beyond 64 bits is an empty cell."""
    if column.kind is not ColumnType.INT:
        return column.cell

    def cell(row: Row) -> Cell:
        value = column.cell(row)
        return (
            value if isinstance(value, int) and value in INT64 else None
        )  # for other types than int, a range would be searched one by one

    return cell


def write_parquet(records: Iterable[Outcome], table: list[Column], file: BinaryIO) -> int:
    """Write the rows of `records` to `file`, a batch at a time; returns their number. Call `require_parquet` first."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    types = {
        ColumnType.BOOL: pyarrow.bool_(),
        ColumnType.INT: pyarrow.int64(),
        ColumnType.FLOAT: pyarrow.float64(),
        ColumnType.TEXT: pyarrow.string(),
        ColumnType.TIME: pyarrow.timestamp("ms", tz="UTC"),
    }
    schema = pyarrow.schema([(column.name, types[column.kind]) for column in table])
    count = 0
    left = rows(records)
    with ParquetWriter(file, schema, compression="zstd") as writer:
        while batch := list(islice(left, BATCH_ROWS)):
            cells = [pyarrow.array(map(_parquet_cell(column), batch), types[column.kind]) for column in table]
            writer.write_batch(pyarrow.RecordBatch.from_arrays(cells, schema=schema))
            count += len(batch)
    return count
