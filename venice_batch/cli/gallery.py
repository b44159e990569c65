"""Make a gallery and report its progress on standard error."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from venice_batch.errors import UsageError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVERY_S = 5.0
"""Seconds between two lines about thumbnails."""


def make_gallery(output: Path, page: Path | None = None, *, quiet: bool = False) -> Path:
    """Write the gallery of the folder `output` to `page` (default: into the folder); return its path.

    Reports on standard error how many thumbnails are made and what they lack, unless `quiet`.

    Raises:
        FolderError: it cannot be written.
        UsageError: `page` does not end in .html.
    """
    from venice_batch.gallery import write_gallery

    if page is not None and page.suffix.lower() not in (".html", ".htm"):
        # Under another name a browser shows it as text, or it overwrites something else.
        raise UsageError(f"--html {page}: give a name that ends in .html")
    made = write_gallery(output, page, told=_silent if quiet else Progress())
    if made.refused and not quiet:
        click.echo(one_line(f"venice-batch: warning: {made.refused}"), err=True)
    if made.images and not made.has_thumbnails and not quiet:
        click.echo("no thumbnails, so the page shows the images: pip install 'venice-batch[gallery]'", err=True)
    return made.path


class Progress:
    """Reports how many thumbnails are made, every few seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._said_s = now()

    def __call__(self, made: int, of: int) -> None:
        now_s = self._now()
        if now_s - self._said_s >= EVERY_S:
            self._said_s = now_s
            click.echo(f"thumbnails: {made:,} of {of:,}", err=True)


def _silent(made: int, of: int) -> None:
    """Say nothing."""
