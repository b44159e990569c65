"""Models that ignored the seed: equal files of requests that differ only in it."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from venice_batch.model import Status

if TYPE_CHECKING:
    from venice_batch.model import Outcome


class IgnoredSeed(msgspec.Struct, frozen=True):
    """A model that gave requests with different seeds the same files: `equal` of `pairs` pairs of such requests."""

    model: str
    pairs: int
    equal: int

    @property
    def text(self) -> str:
        """The finding in a sentence."""
        if self.equal == self.pairs:
            pairs = "1 pair has" if self.pairs == 1 else f"{self.pairs:,} of {self.pairs:,} pairs have"
            return f"{self.model} ignored the seed: {pairs} equal files"
        have = "has" if self.equal == 1 else "have"
        return f"{self.model} may ignore the seed: {self.equal:,} of {self.pairs:,} pairs {have} equal files"


class SeedCheck:
    """Compare the files of jobs that are equal but for their seeds.

    Images that the API has flagged are left out, because blurred or withheld ones can be equal anyway. Memory: about
    200 bytes for each job with a seed.
    """

    def __init__(self) -> None:
        # The first job of a request alone, later all of it by their seeds: most requests have one seed.
        self._first: dict[tuple[str, bytes], tuple[bytes, bytes]] = {}
        self._more: dict[tuple[str, bytes], dict[bytes, bytes]] = {}

    def add(self, outcome: Outcome) -> None:
        """Take a job into account."""
        request, flags = outcome.request, outcome.flags
        seed = request.get("seed")
        if seed is None or outcome.status is not Status.SUCCEEDED or not outcome.files:
            return
        if flags.blurred or flags.content_violation:
            return
        rest = {name: value for name, value in request.items() if name != "seed"}
        key = outcome.lane, _digest(msgspec.json.encode((outcome.endpoint, rest), order="sorted"))
        made = _digest(" ".join(file.sha256 for file in outcome.files).encode())
        which = msgspec.json.encode(seed)
        first = self._first.setdefault(key, (which, made))
        if first[0] == which and key not in self._more:
            self._first[key] = which, made
        else:
            self._more.setdefault(key, dict([first]))[which] = made

    def ignored(self) -> tuple[IgnoredSeed, ...]:
        """Return the models with equal files, sorted."""
        pairs, equal = Counter[str](), Counter[str]()
        for (lane, _), by_seed in self._more.items():
            pairs[lane] += _pairs(len(by_seed))
            equal[lane] += sum(map(_pairs, Counter(by_seed.values()).values()))
        return tuple(IgnoredSeed(lane, pairs[lane], equal[lane]) for lane in sorted(equal) if equal[lane])


def _pairs(count: int) -> int:
    return count * (count - 1) // 2


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=12).digest()
