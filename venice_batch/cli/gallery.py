"""Write a gallery and report its progress on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, TextIO

from venice_batch.cli.env import environment
from venice_batch.cli.text import terminal_width
from venice_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from venice_batch.gallery import GalleryPage

EVERY_S = 5.0
"""Seconds between two lines about thumbnails."""

REDRAW_S = 0.25
"""Seconds between two changes of the one line that a terminal shows."""


def check_name(page: Path) -> None:
    """Raise UsageError unless the name of a page ends in .html.

    Under another name a browser shows it as text, or it overwrites something else.
    """
    if page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--html {page}: give a name that ends in .html")


def write_page(page: GalleryPage, *, quiet: bool = False) -> Path:
    """Write a page that has all its records; return its path.

    Unless `quiet`, report on standard error how many thumbnails are made and which files were left out.

    Raises:
        FolderError: the page cannot be written.
    """
    messages = environment().messages
    if quiet or sys.stderr is None:  # closed
        made = page.write()
    else:
        progress = Progress(sys.stderr)
        try:
            made = page.write(on_progress=progress)
        finally:
            progress.close()
    if made.refused and (not quiet or messages.log is not None):
        messages.notice(f"warning: {made.refused}" if messages.log is None else str(made.refused))
    return made.path


class Progress:
    """Reports how many thumbnails are made: on a terminal in one line that `close` erases, else now and then in lines.

    Where lines are printed, the last one has the final number. In a JSON log they are lines of it.
    """

    def __init__(self, stream: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._log = environment().messages.log
        self._is_terminal = (
            self._log is None
            and terminal_width(stream) is not None
            and os.environ.get("TERM") not in (None, "", "dumb")
        )
        self._now = now
        self._every_s = REDRAW_S if self._is_terminal else EVERY_S
        self._printed_s = now()
        self._has_printed = False

    def __call__(self, made: int, of: int) -> None:
        now_s = self._now()
        is_last = made == of and self._has_printed
        if now_s - self._printed_s >= self._every_s or is_last:
            self._printed_s = now_s
            self._has_printed = True
            if self._log is not None:
                from venice_batch.report.log_lines import ThumbnailsLine

                self._log.write(ThumbnailsLine(done=made, total=of))
                return
            start, end = ("\r", "") if self._is_terminal else ("", "\n")
            self._write(f"{start}thumbnails: {made:,} of {of:,}{end}")

    def close(self) -> None:
        """Erase the line on a terminal."""
        if self._is_terminal and self._has_printed:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a closed terminal or a full disk costs no gallery
            self._stream.write(text)
            self._stream.flush()
