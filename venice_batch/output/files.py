"""Whether the files of a record are there."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from venice_batch.output.record import FileView


def have_sizes(prefix: str, files: Sequence[FileView]) -> bool:
    """Whether there is a file, and each is there with its size; paths are put behind `prefix`."""
    try:
        for file in files:
            if os.stat(prefix + file.path).st_size != file.bytes:
                return False
    except (OSError, ValueError):
        return False
    return bool(files)


def have_hashes(prefix: str, files: Sequence[FileView]) -> bool:
    """As `have_sizes`, and each has its hash too."""
    if not have_sizes(prefix, files):
        return False
    try:
        for file in files:
            with open(prefix + file.path, "rb") as image:
                if hashlib.file_digest(image, "sha256").hexdigest() != file.sha256:
                    return False
    except OSError:
        return False
    return True
