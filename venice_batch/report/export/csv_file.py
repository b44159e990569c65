"""The table of a manifest as CSV."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO

from venice_batch.report.export.columns import rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from venice_batch.model import Outcome
    from venice_batch.report.export.columns import Cell, Column


_ACTIVE = tuple("=+-@\t\r\n＝＋－＠'")
"""What makes a formula of a cell in some spreadsheet (OWASP, "CSV Injection"), and the mark that keeps it from it."""


def write(records: Iterable[Outcome], table: list[Column], file: BinaryIO) -> int:
    """Write the rows of `records` to `file` as UTF-8, lines ending as RFC 4180 has them; returns their number.

    Text that a spreadsheet might run as a formula gets an apostrophe in front of it, as does text that begins with
    one: an apostrophe at the start of a cell is never part of its text. Numbers are left as they are.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        writer = csv.writer(text)
        writer.writerow(column.name for column in table)
        count = 0
        for row in rows(records):
            writer.writerow([_written(column.cell(row)) for column in table])
            count += 1
        text.flush()
        return count
    finally:
        text.detach()


def _written(cell: Cell) -> str:
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
