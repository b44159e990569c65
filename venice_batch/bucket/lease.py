"""The lock of a bucket: created or taken over, renewed while the run lasts, given back at its end."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from venice_batch.bucket.store import Bucket

LOCK = ".lock"
TTL_S = 60.0
"""A lock that has not changed for this many seconds, as watched by this process, belongs to a dead run."""
BEAT_S = 15.0
"""How often a holder renews its lock."""
POLL_S = 2.0
"""How often a waiting run looks at the lock."""


class Lease:
    """A held lock, renewed by a thread of its own. Use it as a context manager; leaving it gives the lock back."""

    def check(self) -> None:
        """Check that no other run can have taken the lock over.

        Raises:
            BucketError: another run has it, or it could not be renewed for `TTL_S` seconds.
        """
        raise NotImplementedError

    def release(self) -> None:
        """Stop renewing and give the lock back, unless it is lost; a store that does not answer is left alone."""
        raise NotImplementedError

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()


class Contender:
    """One run's attempts at the lock. It watches the present holder's beats, so keep it over all attempts."""

    def __init__(
        self,
        bucket: Bucket,
        run_id: str,
        *,
        now: Callable[[], float] = time.monotonic,
        ttl_s: float = TTL_S,
        beat_s: float = BEAT_S,
    ) -> None:
        """Prepare; nothing is sent. `now` returns seconds on a clock that never steps back."""
        raise NotImplementedError

    @property
    def is_undecided(self) -> bool:
        """Whether the holder that the last attempt met has not renewed the lock since it was first seen.

        It may be dead: attempts go on until it renews the lock or `ttl_s` has passed, also without --lock-wait.
        """
        raise NotImplementedError

    def attempt(self) -> Lease:
        """Take the lock if it is free, or if its holder has been dead for `ttl_s` while this object watched.

        Raises:
            FolderHeldError: another run holds it, or may; attempt again in `POLL_S` seconds.
            BucketError: the store refused, or cannot be reached.
        """
        raise NotImplementedError


@contextlib.contextmanager
def acquire(
    bucket: Bucket,
    run_id: str,
    *,
    wait_s: float = 0.0,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Lease]:
    """Hold the lock while the block lasts. Waits `wait_s` for a living holder, and one TTL for a dead one.

    Raises:
        FolderHeldError: another run holds it.
        BucketError: the store refused, or cannot be reached.
    """
    raise NotImplementedError
    yield
