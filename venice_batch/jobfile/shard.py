"""A share of a file's jobs, the same wherever and in whatever order they stand."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from venice_batch.errors import UsageError


@dataclass(frozen=True, slots=True)
class Shard:
    """Share `number`, from 1, of `count` shares that have every job once between them.

    A job's share depends on its id and on `count` alone, so that lines may be added or moved, and machines need
    not agree on anything else. Shares of many jobs are about equal.
    """

    number: int
    count: int

    @classmethod
    def of(cls, text: str) -> Self:
        """Read `I/N`, as in `2/3`. Raises UsageError."""
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f"--shard {text!r} is no share; give I/N with I from 1 to N, as in 1/3")
        return cls(int(found[1]), int(found[2]))

    def holds(self, job_id: str) -> bool:
        """Whether the job is in this share."""
        digest = hashlib.blake2b(job_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1
