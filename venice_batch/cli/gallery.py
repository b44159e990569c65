"""Write a gallery and report its progress on standard error."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from venice_batch.cli.env import environment
from venice_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from venice_batch.gallery import GalleryPage

EVERY_S = 5.0
"""Seconds between two lines about thumbnails."""


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
    made = page.write(on_progress=_silent if quiet else Progress())
    messages = environment().messages
    if made.refused and (not quiet or messages.log is not None):
        messages.notice(f"warning: {made.refused}" if messages.log is None else str(made.refused))
    return made.path


class Progress:
    """Reports how many thumbnails are made, every few seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._printed_s = now()

    def __call__(self, made: int, of: int) -> None:
        now_s = self._now()
        if now_s - self._printed_s >= EVERY_S:
            self._printed_s = now_s
            if (log := environment().messages.log) is None:
                click.echo(f"thumbnails: {made:,} of {of:,}", err=True)
            else:
                from venice_batch.report.log_lines import ThumbnailsLine

                log.write(ThumbnailsLine(done=made, total=of))


def _silent(made: int, of: int) -> None:
    """Print nothing."""
