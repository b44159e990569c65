"""Output folders that are copies of others, as of one in a bucket: where their files come from, and where lines go."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class Original(Protocol):
    """The folder that another one is a copy of; all methods can be called from several threads.

    Each raises FolderError if it cannot be reached: a file that nobody could ask about is not missing.
    """

    @property
    def name(self) -> str:
        """What the user calls it, such as its address."""

    def size(self, path: str) -> int | None:
        """Return the size in bytes of the file that a record calls `path`; None if there is no such file."""

    def fetch(self, path: str) -> None:
        """Bring the file into the copy, whole, unless it is there. Raises FileNotFoundError if there is none."""

    def fetch_all(self, paths: Iterable[str]) -> None:
        """Bring those of the files that the original has."""

    def append(self, name: str, lines: bytes) -> None:
        """Append whole lines to a file of the original and of the copy. When it returns, both have them."""


_originals: dict[str, Original] = {}
"""The original of each copy that is open in this process."""


@contextmanager
def copied(root: Path, original: Original) -> Iterator[None]:
    """Make the folder `root` a copy of `original` for the duration of the block."""
    _originals[os.fspath(root)] = original
    try:
        yield
    finally:
        del _originals[os.fspath(root)]


def original_of(root: str | os.PathLike[str]) -> Original | None:
    """Return the original of the folder `root`; None if that is no copy."""
    return _originals.get(os.fspath(root)) if _originals else None


def bring(root: Path, paths: Iterable[str]) -> None:
    """Have files of a copy on this disk, those that its original has; do nothing for any other folder.

    Raises:
        FolderError: the original cannot be reached.
    """
    if (original := original_of(root)) is not None:
        original.fetch_all(paths)


def shown(text: object) -> str:
    """Return `text` with the path of each open copy replaced by what the user calls it."""
    found = str(text)
    for root, original in _originals.items():
        found = found.replace(root, original.name)
    return found
