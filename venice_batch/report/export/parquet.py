"""The table of a manifest as Parquet."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from venice_batch.errors import UsageError
from venice_batch.report.export.columns import INT64, ColumnType, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from venice_batch.model import Outcome
    from venice_batch.report.export.columns import Cell, Column, Row


BATCH_ROWS = 10_000
"""How many rows are in memory at a time, and in a row group of the file."""


def require() -> None:
    """Load what writing needs, which takes a moment.

    Raises:
        UsageError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401 - loaded here to be there later
    except ModuleNotFoundError as error:
        raise UsageError("--parquet needs pyarrow: pip install 'venice-batch[parquet]'") from error


def _fitting(column: Column) -> Callable[[Row], Cell]:
    """What fills the column's cells; empty where a record has a number that its type does not hold."""
    if column.kind is not ColumnType.INT:
        return column.cell

    def cell(row: Row) -> Cell:
        value = column.cell(row)
        return value if isinstance(value, int) and value in INT64 else None  # anything else is looked for one by one

    return cell


def write(records: Iterable[Outcome], table: list[Column], file: BinaryIO) -> int:
    """Write the rows of `records` to `file`, a batch at a time; returns their number. Call `require` before."""
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
            cells = [pyarrow.array(map(_fitting(column), batch), types[column.kind]) for column in table]
            writer.write_batch(pyarrow.RecordBatch.from_arrays(cells, schema=schema))
            count += len(batch)
    return count
