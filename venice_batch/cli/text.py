"""Text as a terminal shows it: its width, its pieces, figures for people."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO


def terminal_width(stream: TextIO | None) -> int | None:
    """How many columns the terminal behind `stream` has; None if it is none, or does not say."""
    try:
        if stream is None or not stream.isatty():
            return None
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


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


_INDENTED = 8
"""From this width on, lines that go on are indented."""


def folded(text: str, width: int | None) -> list[str]:
    """`text` in lines of `width` columns at most (None: in one), broken at spaces where there are any.

    All lines but the first are indented, unless that would leave no room for text. A character of two columns has a
    line of its own where there is only one.
    """
    indent = "  " if width is not None and width >= _INDENTED else ""
    if width is None or text_width(text) <= width:
        return [text]
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
            piece = chop_cells(word, max(1, width))[0] or word[0]  # at least a character, however narrow
            lines.append(piece)
            word = indent + word[len(piece) :]
        line = word
    return [*lines, line] if line else lines


def size(count: int) -> str:
    """Bytes for people, in powers of ten."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return ""  # not reached: the last unit takes any value


def seconds(value_s: float | None) -> str:
    """A duration in seconds, with as many decimals as matter; None is a dash."""
    if value_s is None:
        return "-"
    return f"{value_s:.2f}" if value_s < 9.995 else f"{value_s:.1f}" if value_s < 99.95 else f"{value_s:.0f}"


def span(seconds: float) -> str:
    """A time span for people, in its two largest units."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (left, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"
