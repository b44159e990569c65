"""Text as a terminal shows it: its width, its pieces, figures for people."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from venice_batch.text_format import json_bytes

if TYPE_CHECKING:
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
