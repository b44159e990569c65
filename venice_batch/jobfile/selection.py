"""A part of a file's jobs: those with certain ids or names, some chosen at random, the first few."""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from venice_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from venice_batch.model import Job


@dataclass(frozen=True, slots=True)
class Part:
    """Which jobs to take; the conditions apply in this order.

    Parameters:
        ids: patterns, in which `*`, `?` and `[…]` work as in a shell; a job's id or its image's name must match one.
        sample: take this many, chosen at random. Which ones depends only on their ids and on `seed`: a larger sample
            contains the smaller ones, and lines may move.
        seed: another seed chooses others.
        limit: take the first ones in the file's order.
    """

    ids: tuple[str, ...] = ()
    sample: int | None = None
    seed: int = 0
    limit: int | None = None

    def __bool__(self) -> bool:
        return bool(self.ids) or self.sample is not None or self.limit is not None

    @property
    def text(self) -> str:
        """The conditions as they are written on the command line."""
        words = [f"--id {pattern}" for pattern in self.ids]
        words += [] if self.sample is None else [f"--sample {self.sample}"]
        words += [f"--seed {self.seed}"] if self.sample is not None and self.seed else []
        words += [] if self.limit is None else [f"--limit {self.limit}"]
        return " ".join(words)


class Selection:
    """Takes the jobs of a part while a file is read in order.

    `name_of` returns the name of a job's images without extension. `last_drawn` is the result of `draw` over the same
    jobs. Jobs with an id of `needed` are taken too: others of the part work on their images. `left_out` counts the jobs
    that were not taken.
    """

    def __init__(
        self,
        part: Part,
        name_of: Callable[[Job], str],
        last_drawn: int | None = None,
        needed: Collection[str] = frozenset(),
    ) -> None:
        self._part = part
        self._name_of = name_of
        self._last_drawn = last_drawn
        self._needed = needed
        self._unmet = dict.fromkeys(part.ids)
        self._taken = 0
        self.left_out = 0

    def takes(self, job: Job) -> bool:
        """Return whether the job belongs to the part."""
        part = self._part
        is_of_part = (
            self.is_named(job)
            and (self._last_drawn is None or _key(job.id, part.seed) <= self._last_drawn)
            and (part.limit is None or self._taken < part.limit)
        )
        self._taken += is_of_part
        is_taken = is_of_part or job.id in self._needed
        self.left_out += not is_taken
        return is_taken

    def is_named(self, job: Job) -> bool:
        """Return whether the job's id or name matches, if patterns are given."""
        if not self._part.ids:
            return True
        names = (job.id, self._name_of(job))
        # An id may contain characters that have a meaning in a pattern.
        found = [
            one for one in self._part.ids if any(name and (one == name or fnmatchcase(name, one)) for name in names)
        ]
        for pattern in found:
            self._unmet.pop(pattern, None)
        return bool(found)

    def refuse_unmet(self, source: str) -> None:
        """Raise UsageError for a pattern that no job has matched: a typing mistake must not silently drop a job."""
        if self._unmet:
            pattern = next(iter(self._unmet))
            raise UsageError(f"--id {pattern}: no job of {source} has such an id or name; `expand` lists the ids")

    def draw(self, jobs: Iterable[Job], size: int) -> int | None:
        """Return the key of the last job that a sample of this size takes; None if it takes all."""
        keys = array("Q", (_key(job.id, self._part.seed) for job in jobs if self.is_named(job)))
        return sorted(keys)[size - 1] if size < len(keys) else None


def _key(job_id: str, seed: int) -> int:
    """Return the job's place in a random order."""
    text = f"{seed}\0{job_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8, person=b"sample").digest())
