"""A table of results as text, Markdown or CSV, and numbers with their intervals as text."""

from __future__ import annotations

import csv
import html
import io
import math
import re
import statistics
from typing import TYPE_CHECKING, NamedTuple

from venice_batch.cli.text import table, text_width
from venice_batch.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from venice_batch.report.export.columns import Cell
    from venice_batch.report.intervals import Estimate

FORMATS = ("text", "markdown", "csv", "json")

MOST_ROWS = 1_000
"""Rows that are shown as text."""

_MOST_DECIMALS = 6
_LARGE = 1e9

_MARKUP = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)")
"""Characters that Markdown acts on within a line; a single `_` inside a word is none."""


class Shown(NamedTuple):
    """A table as people read it: the first `labels` columns say which row it is, the others hold figures."""

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    labels: int = 1


def text_table(shown: Shown, width: int | None) -> str:
    """Return a table for a terminal of `width` columns (None: any).

    If it does not fit, the labels stand in one column, and columns that still find no room follow in a table below.
    Of a very long table the first rows are shown.
    """
    header, labels = tuple(map(one_line, shown.header)), shown.labels
    rows = shown.rows[:MOST_ROWS]
    right = header[labels:]
    columns = zip(header, *rows, strict=True)
    if width is not None and sum(max(map(text_width, column)) + 2 for column in columns) - 2 > width and labels > 1:
        header = (", ".join(header[:labels]), *header[labels:])
        rows = [(" / ".join(filter(None, row[:labels])), *row[labels:]) for row in rows]
    made = table(header, rows, width=width, right=right)
    left_out = len(shown.rows) - len(rows)
    return f"{made}\n… and {left_out:,} more rows; --format csv has them all" if left_out else made


def markdown_table(shown: Shown) -> str:
    """Return a table in GitHub's Markdown."""
    labels = shown.labels
    lines = [
        list(map(markdown_text, shown.header)),
        ["---"] * labels + ["--:"] * (len(shown.header) - labels),
        *([*map(markdown_text, row[:labels]), *row[labels:]] for row in shown.rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_text(text: str) -> str:
    """Return text for a table's cell or a line in Markdown, where it makes no markup, no link and no new column."""
    return html.escape(_MARKUP.sub(r"\\\g<0>", one_line(text)), quote=False)


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> bytes:
    """Return a table as CSV in UTF-8, with the cells that `export --csv` writes."""
    from venice_batch.report.export.table_files import csv_row

    made = io.BytesIO()  # io.StringIO would take four times as much memory
    text = io.TextIOWrapper(made, "utf-8", "replace", newline="")
    writer = csv.writer(text)
    writer.writerow(csv_row(header))
    writer.writerows(map(csv_row, rows))
    text.flush()
    return made.getvalue()


def percent_text(share: Estimate | None) -> str:
    """Return a share with its interval in percent: "97.5% [91.3, 99.3]"; "-" for none."""
    if share is None:
        return "-"
    mean, low, high = (
        f"{100 * (value or 0.0):.1f}".removesuffix(".0") for value in (share.mean, share.low, share.high)
    )
    return f"{mean}% [{low}, {high}]"


def estimate_texts(column: Sequence[Estimate | None]) -> list[str]:
    """Return means with their intervals, such as "0.812 [0.790, 0.834]", all with the same number of decimals.

    There are as many decimals as two digits of a typical interval's width need.
    """
    widths = [one.high - one.low for one in column if one and one.low is not None and one.high is not None]
    widths = [width for width in widths if width > 0]
    means = [abs(one.mean) for one in column if one and one.mean]
    scale = statistics.median(widths) if widths else max(means, default=1.0) / 10
    decimals = min(_MOST_DECIMALS, max(0, 1 - math.floor(math.log10(scale))))
    return [_estimate_text(one, decimals) for one in column]


def _estimate_text(one: Estimate | None, decimals: int) -> str:
    if one is None:
        return "-"
    mean = number_text(one.mean, decimals)
    if one.low is None or one.high is None:
        return mean
    return f"{mean} [{number_text(one.low, decimals)}, {number_text(one.high, decimals)}]"


def number_text(value: float, decimals: int) -> str:
    """Return a number with this many decimals; a very large one has six digits and its power of ten."""
    return f"{value:.{decimals}f}" if abs(value) < _LARGE else f"{value:.6g}"
