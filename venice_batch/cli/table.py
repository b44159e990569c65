"""Plain tables for standard output."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from venice_batch.cli.text import cropped, text_width
from venice_batch.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    width: int | None = None,
    groups: Iterable[int] = (),
    right: Collection[str] = (),
) -> str:
    """Columns two spaces apart, numbers and the columns named in `right` to the right; None shows as "-".

    What is wider than `width` (None: nothing is) goes on in a table below, which begins with the first column again;
    `groups` are the sizes of runs of columns after the first that stay together. Nothing trailing, and no control
    characters, as what is listed comes from a server.
    """
    cells = [list(header), *([_text(cell) for cell in row] for row in rows)]
    if width is not None:
        for row in cells:
            row[0] = cropped(row[0], max(8, width // 3))
    count = len(header)
    widths = [max(text_width(row[column]) for row in cells) for column in range(count)]
    numeric = [
        header[column] in right or all(isinstance(row[column], int | float | None) for row in rows)
        for column in range(count)
    ]
    made = ["\n".join(_line(row, block, widths, numeric) for row in cells) for block in _blocks(widths, groups, width)]
    return "\n\n".join(made)


def _blocks(widths: Sequence[int], groups: Iterable[int], width: int | None) -> list[list[int]]:
    """The columns of each table: the first, then as many groups as fit."""
    columns = iter(range(1, len(widths)))
    runs = [run for size in groups if (run := list(islice(columns, size)))]
    runs += [[column] for column in columns]
    blocks, used = [[0]], widths[0]
    for run in runs:
        needed = sum(2 + widths[column] for column in run)
        if width is not None and used + needed > width and len(blocks[-1]) > 1:
            blocks.append([0])
            used = widths[0]
        blocks[-1] += run
        used += needed
    return blocks


def _line(row: Sequence[str], block: Sequence[int], widths: Sequence[int], right: Sequence[bool]) -> str:
    parts = []
    for column in block:
        gap = " " * (widths[column] - text_width(row[column]))
        parts.append(gap + row[column] if right[column] else row[column] + gap)
    return "  ".join(parts).rstrip()


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:g}"
    return one_line(str(cell))
