"""Write the table of a manifest as a CSV or Parquet file."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from venice_batch.errors import UsageError
from venice_batch.report.export.columns import INT64, ColumnType, Row, rows
from venice_batch.text_format import json_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from venice_batch.model import Outcome
    from venice_batch.report.export.columns import Cell, Column


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
            writer.writerow(csv_row(column.cell(row) for column in table))
            count += 1
        text.flush()
        return count
    finally:
        text.detach()


def csv_row(cells: Iterable[Cell]) -> list[Cell]:
    """Return cells for `csv.writer`: None is empty, text that a spreadsheet might run begins with an apostrophe."""
    # Most cells of most tables are numbers, which the writer takes as they are.
    return [cell if type(cell) in _AS_IT_IS else _csv_text(cell) for cell in cells]


_AS_IT_IS = (float, int, type(None))


def _csv_text(cell: Cell) -> str:
    if isinstance(cell, str):
        return f"'{cell}" if cell.startswith(_ACTIVE) else cell
    if isinstance(cell, datetime):
        return cell.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return "true" if cell else "false"


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


def _types(table: list[Column]) -> dict[str, Any]:
    """Return the types of pyarrow for the columns of a table."""
    import pyarrow

    types = {
        ColumnType.BOOL: pyarrow.bool_(),
        ColumnType.INT: pyarrow.int64(),
        ColumnType.FLOAT: pyarrow.float64(),
        ColumnType.TEXT: pyarrow.string(),
        ColumnType.TIME: pyarrow.timestamp("ms", tz="UTC"),
    }
    return {column.name: types[column.kind] for column in table}


def write_parquet(records: Iterable[Outcome], table: list[Column], file: BinaryIO) -> int:
    """Write the rows of `records` to `file`, a batch at a time; returns their number. Call `require_parquet` first."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    types = _types(table)
    schema = pyarrow.schema(list(types.items()))
    count = 0
    left = rows(records)
    with ParquetWriter(file, schema, compression="zstd") as writer:
        while batch := list(islice(left, BATCH_ROWS)):
            cells = [pyarrow.array(map(_parquet_cell(column), batch), types[column.name]) for column in table]
            writer.write_batch(pyarrow.RecordBatch.from_arrays(cells, schema=schema))
            count += len(batch)
    return count


IMAGE_BATCH_ROWS = 100
IMAGE_BATCH_BYTES = 64 << 20
"""A row group with images ends at this many rows or bytes, so that a reader can show a few without the others."""

_FEATURES = {"info": {"features": {"image": {"_type": "Image"}}}}
"""The metadata that makes `datasets` decode the column."""


class Picture(NamedTuple):
    """A row with its image: the image's name and content, and its text."""

    row: Row
    name: str
    content: bytes
    text: str


def write_image_parquet(pictures: Iterable[Picture], table: list[Column], file: BinaryIO) -> int:
    """Write images with their texts and the cells of `table`; returns the number of rows.

    The image is a column of `bytes` and `path`, as Hugging Face's `Image` is. Call `require_parquet` first.
    """
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    types = _types(table)
    picture = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    fields = [("image", picture), ("text", pyarrow.string()), *types.items()]
    schema = pyarrow.schema(fields, metadata={"huggingface": json_bytes(_FEATURES)})
    count = 0
    # Images are compressed already, and no two are equal.
    packed = {"image.bytes": "none", "image.path": "zstd", "text": "zstd", **dict.fromkeys(types, "zstd")}
    with ParquetWriter(
        file, schema, compression=packed, use_dictionary=["text", *types], write_statistics=list(types)
    ) as writer:
        for batch in _batches(pictures):
            images = [{"bytes": picture.content, "path": picture.name} for picture in batch]
            texts = [picture.text.encode("utf-8", "replace").decode() for picture in batch]
            rest = [
                pyarrow.array((_parquet_cell(column)(picture.row) for picture in batch), types[column.name])
                for column in table
            ]
            arrays = [pyarrow.array(images, fields[0][1]), pyarrow.array(texts, pyarrow.string()), *rest]
            writer.write_batch(pyarrow.RecordBatch.from_arrays(arrays, schema=schema))
            count += len(batch)
    return count


def _batches(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    batch: list[Picture] = []
    size = 0
    for picture in pictures:
        batch.append(picture)
        size += len(picture.content)
        if len(batch) >= IMAGE_BATCH_ROWS or size >= IMAGE_BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
