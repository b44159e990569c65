"""Text as a terminal shows it: how wide it is, folded lines, tables."""

from __future__ import annotations

import io
import os
from itertools import islice
from typing import TYPE_CHECKING

from venice_batch.errors import one_line
from venice_batch.text_format import json_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from typing import TextIO


_ROOM_TO_INDENT = 8
"""Narrowest line, in columns, whose continuation is indented."""

_NARROWEST = 8
"""Narrowest column of text in a table that has to fit a width."""

_GAP = 2
"""Columns between two columns of a table."""


def terminal_width(stream: TextIO | None) -> int | None:
    """Return the width in columns of the terminal behind `stream`; None for anything else, or if it is unknown."""
    try:
        if stream is None or not stream.isatty():
            return None
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def json_line(value: object) -> str:
    """Return `value` as JSON on one line, with anything escaped that a CI runner would take for a command."""
    # "##" occurs only inside strings, so the JSON means the same.
    return json_bytes(value).decode().replace("##", "#\\u0023")


def unwritten(error: OSError) -> str:
    """Return why a result could not be written; an error without a file name is about standard output."""
    return str(error) if error.filename is not None else f"standard output: {error.strerror or error}"


def text_width(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cropped(text: str, width: int) -> str:
    """Return `text` cut to `width` columns, with an ellipsis if anything was cut."""
    if text_width(text) <= width:
        return text
    from rich.cells import set_cell_size

    return set_cell_size(text, max(0, width - 1)).rstrip() + "…"


def folded(text: str, width: int | None) -> list[str]:
    """Return `text` as lines of at most `width` columns (None: one line), broken at spaces where possible.

    Every line but the first is indented if there is room. A character wider than `width` gets a line of its own.
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
    """Return a plain table: no lines, no colours, columns two spaces apart, nothing trailing.

    Numbers, and the columns named in `right`, are aligned to the right; None shows as "-". Control characters are
    replaced and markup is shown as it is, since cells come from servers and files.

    In a table of at most `width` columns (None: any width) long text is folded. Columns that still do not fit follow
    in a table below, which repeats the first column; `groups` are the sizes of runs of columns, after the first,
    that stay together.
    """
    cells = [[_cell(cell) for cell in row] for row in rows]
    columns = list(zip(header, *cells, strict=True))
    widths = [max(map(text_width, column)) for column in columns]
    is_right = [
        name in right or all(isinstance(row[place], int | float | None) for row in rows)
        for place, name in enumerate(header)
    ]
    narrowest = widths
    if width is not None:
        narrowest = [
            full if to_right else min(full, max(_NARROWEST, width // 3))
            for full, to_right in zip(widths, is_right, strict=True)
        ]
    blocks = _blocks(narrowest, groups, width)
    if len(blocks) > 1:
        widths[0] = narrowest[0]  # the column that all of them share is as wide in each
    made = []
    for block in blocks:
        full = sum(widths[place] for place in block) + _GAP * (len(block) - 1)
        shown = [(columns[place], is_right[place]) for place in block]
        made.append(_plain(shown, full if width is None else min(full, width)))
    return "\n\n".join(made)


def one_table(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    width: int | None = None,
    right: Collection[str] = (),
    spare: Iterable[int] = (),
) -> str:
    """Return a plain table as `table` does, but never a second one below it.

    To fit into `width` columns it leaves out columns, in the order of their places in `spare`, and then cuts the text
    of the first column. Up to a third of the width (and at least `_NARROWEST`) the first column is not cut as long as
    a column can be spared.
    """
    if width is None:
        return table(header, rows, right=right)
    cells = [[_cell(cell) for cell in row] for row in rows]
    widths = [max(map(text_width, column)) for column in zip(header, *cells, strict=True)]
    first = min(widths[0], max(_NARROWEST, width // 3))
    kept = list(range(len(header)))

    def others() -> int:
        return sum(_GAP + widths[place] for place in kept[1:])

    for place in spare:
        if first + others() <= width:
            break
        kept.remove(place)
    room = max(_NARROWEST, width - others())
    shown = [[cropped(one_line(str(row[0])), room), *(row[place] for place in kept[1:])] for row in rows]
    return table([header[place] for place in kept], shown, right=right)


def _blocks(widths: Sequence[int], groups: Iterable[int], width: int | None) -> list[list[int]]:
    """Return the columns of each table: the first, then as many groups as fit."""
    columns = iter(range(1, len(widths)))
    runs = [run for size in groups if (run := list(islice(columns, size)))]
    runs += [[column] for column in columns]
    blocks, used = [[0]], widths[0]
    for run in runs:
        needed = sum(_GAP + widths[column] for column in run)
        if width is not None and used + needed > width and len(blocks[-1]) > 1:
            blocks.append([0])
            used = widths[0]
        blocks[-1] += run
        used += needed
    return blocks


def _plain(columns: Sequence[tuple[Sequence[str], bool]], width: int) -> str:
    """Return one table of `width` columns at most; each of `columns` is its cells and whether they go to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for (name, *_), to_right in columns:
        shown.add_column(Text(name), justify="right" if to_right else "left", no_wrap=to_right, overflow="fold")
    for row in zip(*(cells[1:] for cells, _ in columns), strict=True):
        shown.add_row(*map(Text, row))
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None, force_terminal=False).print(shown)
    return "\n".join(line.rstrip() for line in stream.getvalue().removesuffix("\n").split("\n"))


def _cell(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:g}"
    return one_line(str(cell))
