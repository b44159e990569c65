"""Text as a terminal shows it: its width, its pieces, figures for people."""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING

from venice_batch.errors import one_line
from venice_batch.text_format import json_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from typing import TextIO


_ROOM_TO_INDENT = 8
"""Columns below which an indent leaves too little for words."""


def terminal_width(stream: TextIO | None) -> int | None:
    """How many columns the terminal behind `stream` has; None if it is none, or does not say."""
    try:
        if stream is None or not stream.isatty():
            return None
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def json_line(value: object) -> str:
    """`value` as JSON in one line. What a CI's runner would take for a command of its own is escaped in there."""
    # It stands in strings only, so it is the same JSON.
    return json_bytes(value).decode().replace("##", "#\\u0023")


def unwritten(error: OSError) -> str:
    """What kept a result from being written; where the error names no file, it was standard output."""
    return str(error) if error.filename is not None else f"standard output: {error.strerror or error}"


def text_width(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cropped(text: str, width: int) -> str:
    """As much of `text` as `width` columns hold, with an ellipsis where that is not all."""
    if text_width(text) <= width:
        return text
    from rich.cells import set_cell_size

    return set_cell_size(text, max(0, width - 1)).rstrip() + "…"


def folded(text: str, width: int | None) -> list[str]:
    """`text` in lines of `width` columns at most (None: in one), broken at spaces where there are any.

    All lines but the first are indented, where there is room for that. Of a character that is wider than `width` no
    line can be made that fits, so that character has a line of its own.
    """
    if width is None or text_width(text) <= width:
        return [text]
    indent = "  " if width >= _ROOM_TO_INDENT else ""
    from rich.cells import chop_cells

    lines, line = [], ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if text_width(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
            word = indent + word
        while text_width(word) > width:
            piece = chop_cells(word, width)[0] or word[0]
            lines.append(piece)
            rest = word[len(piece) :]
            word = indent + rest if rest else ""
        line = word
    return [*lines, line] if line or not lines else lines


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
