"""The lock of a bucket: created or taken over, renewed while the run lasts, given back at its end.

Every change is a compare-and-swap on the lock's version, so of several runs one alone succeeds. No two machines' clocks
are compared: a holder is dead when its lock has not changed for the TTL while this process watched it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from venice_batch.errors import BucketError, FolderHeldError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from venice_batch.bucket.store import Bucket, Content, Version

LOCK = ".lock"
TTL_S = 60.0
"""A lock that has not changed for this many seconds, as watched by this process, belongs to a dead run."""
BEAT_S = 15.0
"""How often a holder renews its lock."""
POLL_S = 2.0
"""How often a waiting run looks at the lock."""
NOTICE_S = 10.0
"""How long a holder that was stopped beyond the TTL has for finding out whether the lock is still its own."""

_AGAIN_S = 2.0
_RELEASE_S = 5.0
_LONGEST_TTL_S = 3600.0


class _Body(msgspec.Struct, frozen=True):
    """The content of the lock. `token` is empty while nobody holds it; `beat` makes every content another."""

    token: str = ""
    holder: str = ""
    beat: str = ""
    ttl_s: float = TTL_S


class Lease:
    """A held lock, renewed by a thread of its own. Use it as a context manager; leaving it gives the lock back."""

    def __init__(
        self,
        bucket: Bucket,
        body: _Body,
        version: Version,
        *,
        renewed_s: float,
        now: Callable[[], float],
        beat_s: float,
    ) -> None:
        """Take over a lock that holds `body` as `version` since `renewed_s` of `now`."""
        self._bucket = bucket.with_patience(beat_s)
        self._body = body
        self._version = version
        self._renewed_s = renewed_s
        self._now = now
        self._beat_s = beat_s
        self._noticed_s: float | None = None
        self._lost: BucketError | None = None
        self._trouble = ""
        self._failed_s = renewed_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="bucket lease")

    def check(self) -> None:
        """Check that no other run can have taken the lock over.

        Raises:
            BucketError: another run has it, or it could not be renewed for the TTL.
        """
        if self._lost is not None:
            raise self._lost
        now_s, expires_s = self._now(), self._renewed_s + self._body.ttl_s
        if now_s <= expires_s:
            self._noticed_s = None
            return
        # After a stop of this process (SIGSTOP, a paused container) the thread finds out first whether it is displaced.
        if self._noticed_s is None:
            self._noticed_s = now_s
        if self._failed_s > expires_s or now_s - self._noticed_s > NOTICE_S:
            why = f" ({self._trouble})" if self._trouble else ""
            what = f"its lock could not be renewed for {self._body.ttl_s:.0f} s{why}, so another run may have taken it"
            raise BucketError(self._bucket.address, f"{what}; run the same command again")

    def renew(self) -> float:
        """Renew the lock now; return the seconds until the next renewal. For the thread and for tests."""
        began_s = self._now()
        body = msgspec.structs.replace(self._body, beat=secrets.token_hex(8))
        try:
            version = self._bucket.replace(LOCK, msgspec.json.encode(body), self._version)
            if version is None:
                version = self._own_version()
        except BucketError as error:
            self._trouble = error.reason.partition("; ")[0]
            self._failed_s = self._now()
            return _AGAIN_S
        if version is not None:
            self._version, self._renewed_s = version, began_s
        return self._beat_s

    def release(self) -> None:
        """Stop renewing and give the lock back, unless it is lost; a store that does not answer is left alone."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._lost is not None:
            return
        self._bucket = self._bucket.with_patience(_RELEASE_S)
        free = msgspec.json.encode(_Body(beat=secrets.token_hex(8)))
        with contextlib.suppress(BucketError):
            if self._bucket.replace(LOCK, free, self._version) is None:
                version = self._own_version()
                if version is not None:
                    self._bucket.replace(LOCK, free, version)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def _own_version(self) -> Version | None:
        """Return the lock's version if an earlier renewal came through late; else note that the lock is lost."""
        found = self._bucket.read(LOCK)
        body = _decoded(found)
        if found is not None and body.token == self._body.token:
            return found.version
        taken = f"another run ({body.holder}) has taken over its lock" if body.token else "its lock was removed"
        self._lost = BucketError(
            self._bucket.address, f"{taken}; this run has stopped, its images and records are kept"
        )
        return None

    def _keep(self) -> None:
        wait_s = self._beat_s
        while self._lost is None and not self._ended.wait(wait_s):
            if not threading.main_thread().is_alive():
                return  # the interpreter is about to end
            wait_s = self.renew()


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
        self._bucket = bucket
        self._now = now
        self._ttl_s = ttl_s
        self._beat_s = beat_s
        self._holder = f"process {os.getpid()} on {socket.gethostname()}, run {run_id}"
        self._seen: Version | None = None
        self._since_s = 0.0
        self._has_beaten = False
        self.outlived = ""
        """The dead holder from which the lock was taken."""

    @property
    def is_undecided(self) -> bool:
        """Whether the holder that the last attempt met has not renewed the lock since it was first seen.

        It may be dead: attempts go on until it renews the lock or the TTL has passed, also without --lock-wait.
        """
        return not self._has_beaten

    def attempt(self) -> Lease:
        """Take the lock if it is free, or if its holder has been dead for the TTL while this object watched.

        Raises:
            FolderHeldError: another run holds it, or may; attempt again in `POLL_S` seconds.
            BucketError: the store refused, or cannot be reached.
        """
        began_s = self._now()
        found = self._bucket.read(LOCK)
        body = _decoded(found)
        if found is not None and body.token and not self._is_dead(found, body, began_s):
            raise FolderHeldError(self._bucket.address, body.holder)
        own = _Body(secrets.token_hex(16), self._holder, secrets.token_hex(8), self._ttl_s)
        began_s, data = self._now(), msgspec.json.encode(own)
        bucket = self._bucket
        version = bucket.create(LOCK, data) if found is None else bucket.replace(LOCK, data, found.version)
        if version is None:
            raise FolderHeldError(bucket.address, "one that has just begun")
        self.outlived = body.holder
        return Lease(bucket, own, version, renewed_s=began_s, now=self._now, beat_s=self._beat_s)

    def _is_dead(self, found: Content, body: _Body, looked_s: float) -> bool:
        """Return whether the lock has not changed for the TTL; `looked_s` is when it was asked for."""
        if self._seen is None or not self._seen.is_same(found.version):
            self._has_beaten = self._seen is not None
            self._seen, self._since_s = found.version, self._now()
            return False
        ttl_s = body.ttl_s if 0 < body.ttl_s <= _LONGEST_TTL_S else TTL_S
        return looked_s - self._since_s >= ttl_s


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
    contender = Contender(bucket, run_id, now=now)
    ends_s = now() + wait_s
    while True:
        try:
            lease = contender.attempt()
            break
        except FolderHeldError:
            if not contender.is_undecided and now() >= ends_s:
                raise
        sleep(POLL_S)
    with lease:
        yield lease


def _decoded(found: Content | None) -> _Body:
    """Return what a lock holds. One that no run has written belongs to an unknown holder."""
    if found is None:
        return _Body()
    try:
        body = msgspec.json.decode(found.data, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Body("unknown", "unknown")
    return msgspec.structs.replace(body, holder=one_line(body.holder[:200]))
