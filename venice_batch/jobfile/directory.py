"""Finds the jobs of a file by their id."""

from __future__ import annotations

from array import array
from bisect import bisect_left


class Directory:
    """From an id's hash to the places of jobs that have it, in 12 bytes a job.

    A dict of a million ids would take ten times the memory; sorting takes about a second a million.
    """

    __slots__ = ("_hashes", "_places")

    def __init__(self, hashes: array[int]) -> None:
        """Take each job's `hash(id)`, in the file's order."""
        order = sorted(range(len(hashes)), key=hashes.__getitem__)
        self._places = array("I", order)
        self._hashes = array("q", map(hashes.__getitem__, order))

    def places(self, hashed: int) -> list[int]:
        """Every place of a job whose id has this hash: one at most, but for a rare coincidence."""
        at = bisect_left(self._hashes, hashed)
        found = []
        while at < len(self._hashes) and self._hashes[at] == hashed:
            found.append(self._places[at])
            at += 1
        return found
