"""Finds the jobs of a file by their id."""

from __future__ import annotations

from array import array


class Directory:
    """From an id's hash to the places of jobs that have it, in 4 to 12 bytes a job beside the hashes.

    A hash table chained through arrays: a dict of a million ids would take ten times the memory, and looking one up
    in a sorted array five times as long. `repeated` holds the hashes that several jobs have.
    """

    __slots__ = ("_first", "_hashes", "_mask", "_next", "repeated")

    def __init__(self, hashes: array[int]) -> None:
        """Refer to each job's `hash(id)`, in the file's order; the array must not change any more."""
        self._hashes = hashes
        self._mask = (1 << len(hashes).bit_length()) - 1
        # Places count from 1 here, so that 0 ends a chain.
        first = self._first = array("I", bytes(4 * (self._mask + 1)))
        chain = self._next = array("I", bytes(4))
        mask = self._mask
        self.repeated: set[int] = set()
        for place, hashed in enumerate(hashes, start=1):
            bucket = hashed & mask
            other = first[bucket]
            chain.append(other)
            first[bucket] = place
            while other:
                if hashes[other - 1] == hashed:
                    self.repeated.add(hashed)
                    break
                other = chain[other]

    def places(self, hashed: int) -> list[int]:
        """Every place of a job whose id has this hash: one at most, but for a rare coincidence."""
        found = []
        place = self._first[hashed & self._mask]
        while place:
            if self._hashes[place - 1] == hashed:
                found.append(place - 1)
            place = self._next[place]
        return found
