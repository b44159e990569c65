"""Where a run's output goes unless it is said, and the temporary files of its jobs."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_PACKED = (".gz", ".zst")
_LEAST_BYTES = 64 << 20
"""Room that should do for jobs that have no size yet, as those of standard input."""


def default_output(jobs: str) -> Path:
    """`output/<stem>`, the stem without any of the endings that a jobs file may have."""
    name = "stdin" if jobs == "-" else Path(jobs).name
    for ending in (*_PACKED, ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt"):
        name = name.removesuffix(ending) or name
    return Path("output") / name


def settle_temporary_files(jobs: str, output: Path) -> None:
    """Have temporary files made beside the output where their usual place cannot take a copy of the jobs.

    They have no names there, so nothing of them stays. Where there is no more room than in the usual place, that
    remains; what needs it will say what is wrong with it.
    """
    usual: str | None = None
    with suppress(FileNotFoundError):  # a root that is read-only
        usual = tempfile.gettempdir()
    needed = _LEAST_BYTES
    with suppress(OSError, ValueError):  # `-`, or what will be complained of when it is opened
        needed = os.stat(jobs).st_size * (20 if jobs.endswith(_PACKED) else 2)
    if usual is not None and _free_bytes(usual) >= needed:
        return
    place = output.absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    if os.access(place, os.W_OK | os.X_OK) and _free_bytes(str(place)) > (_free_bytes(usual) if usual else 0):
        tempfile.tempdir = str(place)


def _free_bytes(folder: str) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0
