"""The clients behind a bucket, one for each timeout, and the repeated tries of a call.

The library's own retries are off: they repeat a 501 for minutes, but neither a 409 nor a conditional write that hangs.
"""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from mmap import mmap
from typing import TYPE_CHECKING, Any, Protocol, cast

from venice_batch.bucket.address import client_settings
from venice_batch.bucket.faults import (
    Fault,
    classify,
    explain,
    first_line,
    lacks_credentials,
    secrets_in,
    without_secrets,
)
from venice_batch.errors import UsageError
from venice_batch.pacing.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

    from venice_batch.bucket.address import BucketAddress

TIMEOUTS_S = (10.0, 30.0, 120.0)
"""A request's timeouts. A hanging one is noticed soon; each further try has the next one, for slow connections."""
FIRST_PATIENCE_S = 15.0
"""How long to try while no call has succeeded yet: then a wrong endpoint is likelier than an outage."""

_SLOWEST_BYTES_S = 500_000
_BACKOFF = Backoff(base_s=0.2, cap_s=8.0)


class Client(Protocol):
    """The methods of a store of obstore that a bucket uses; they raise obstore's exceptions and FileNotFoundError."""

    def put(self, path: str, file: Any, **options: Any) -> Mapping[str, Any]:  # noqa: ANN401
        """Store an object; return its `e_tag` and `version`."""
        ...

    def get(self, path: str, **options: Any) -> Any:  # noqa: ANN401
        """Return an object: `meta`, `attributes` and `bytes()`."""
        ...

    def list(self, prefix: str | None) -> Iterable[Sequence[Mapping[str, Any]]]:
        """Return the objects below a prefix, page by page."""
        ...

    def delete(self, paths: str | Sequence[str]) -> None:
        """Delete one object or several."""
        ...


def import_obstore(address: str) -> ModuleType:
    """Return the library, which is an extra.

    Raises:
        UsageError: it is not installed.
    """
    try:
        # Not as statements: types are checked where the extra is not installed too.
        obstore = import_module("obstore")
        for part in ("exceptions", "store"):
            import_module(f"obstore.{part}")
    except ImportError:
        raise UsageError(f"{address}: buckets need obstore; pip install 'venice-batch[bucket]'") from None
    return obstore


def connector(address: BucketAddress, environ: Mapping[str, str]) -> Callable[[float], Client]:
    """Return a function that makes a client whose requests have the given timeout in seconds.

    Raises:
        UsageError: a variable is invalid.
    """
    obstore = import_obstore(str(address))
    settings = client_settings(address.scheme, environ)
    make = {"s3": obstore.store.S3Store, "az": obstore.store.AzureStore, "gs": obstore.store.GCSStore}[address.scheme]

    def connect(timeout_s: float) -> Client:
        try:
            client = make(
                address.bucket,
                config=settings.config,
                client_options={
                    "timeout": timedelta(seconds=timeout_s),
                    "connect_timeout": timedelta(seconds=5),
                    "allow_http": settings.allow_http,
                },
                retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=timeout_s)},
            )
            return cast("Client", client)
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise UsageError(without_secrets(f"{address}: {first_line(error)}", secrets_in(environ))) from None

    return connect


class Clients:
    """The clients of one bucket, made when first needed; any thread may ask for one."""

    def __init__(self, connect: Callable[[float], Client]) -> None:
        self._connect = connect
        self._making = threading.Lock()
        self._made: dict[int, Client] = {}
        self.has_answered = False
        """Whether any call has succeeded."""

    def get(self, level: int) -> Client:
        """Return the client with the timeout `TIMEOUTS_S[level]`."""
        with self._making:
            if level not in self._made:
                self._made[level] = self._connect(TIMEOUTS_S[level])
            return self._made[level]


@dataclass(frozen=True)
class Patience:
    """How long, and with what pauses, a failing call is repeated.

    Attributes:
        total_s: from the first try to the last.
        sleep: waits between two tries.
        now: seconds on a clock that never steps back.
    """

    total_s: float
    sleep: Callable[[float], object] = time.sleep
    now: Callable[[], float] = time.monotonic
    rng: random.Random = field(default_factory=random.Random)


class Tries:
    """The tries of one call: which client the next one uses, how long to wait before it, and when to give up."""

    def __init__(
        self, clients: Clients, patience: Patience, address: str, redact: Callable[[str], str], *, size_bytes: int = 0
    ) -> None:
        """Begin the first try of a call that moves `size_bytes`."""
        self._clients = clients
        self._patience = patience
        self._address = address
        self._redact = redact
        self._began_s = patience.now()
        self._failures = 0
        wanted_s = TIMEOUTS_S[0] / 2 + size_bytes / _SLOWEST_BYTES_S
        self._level = next((level for level, limit_s in enumerate(TIMEOUTS_S) if limit_s >= wanted_s), self._last)

    @property
    def client(self) -> Client:
        """The client for this try."""
        return self._clients.get(self._level)

    def succeeded(self) -> None:
        """Note that the store has answered as it should; later failures count anew."""
        self._clients.has_answered = True
        self._began_s = self._patience.now()
        self._failures = 0

    def failed(self, error: Exception) -> None:
        """Wait before the next try.

        Raises:
            BucketError: another try does not help, or patience is at its end.
        """
        fault = classify(error)
        tried_s = self._patience.now() - self._began_s
        patience_s = self._patience.total_s
        if fault is Fault.UNREACHABLE and not self._clients.has_answered:
            patience_s = 0.0 if lacks_credentials(error) else min(patience_s, FIRST_PATIENCE_S)
        if fault in (Fault.FINAL, Fault.MISSING) or tried_s >= patience_s:
            raise explain(self._address, error, self._redact, tried_s=tried_s) from None
        if fault is Fault.SLOW and self._level < self._last and TIMEOUTS_S[self._level + 1] <= self._patience.total_s:
            self._level += 1
        self._failures += 1
        self._patience.sleep(min(_BACKOFF.wait_s(self._failures, self._patience.rng), patience_s - tried_s))

    @property
    def _last(self) -> int:
        return len(TIMEOUTS_S) - 1


class Memory:
    """Contents of files in memory for uploads; bounds what all threads hold together. A larger file goes alone."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._taken_bytes = 0
        self._changed = threading.Condition()

    @contextmanager
    def content(self, path: Path) -> Iterator[mmap | bytes]:
        """Give the content of a file while the block lasts.

        It has pages of its own. Allocated as usual, each thread's arena would keep megabytes when it is freed.

        Raises:
            OSError: the file cannot be read, or shrinks.
        """
        with path.open("rb", buffering=0) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if not size_bytes:
                yield b""
                return
            with self.taken(size_bytes):
                data = mmap(-1, size_bytes)
                try:
                    with memoryview(data) as rest:
                        position = 0
                        while position < size_bytes:
                            count = file.readinto(rest[position:])
                            if not count:
                                raise OSError(errno.EIO, "the file became shorter while it was read")
                            position += count
                    yield data
                finally:
                    with suppress(BufferError):  # a request that was given up may hold it a moment longer
                        data.close()

    @contextmanager
    def taken(self, size_bytes: int) -> Iterator[None]:
        """Wait until there is room, and hold it while the block lasts."""
        size_bytes = min(size_bytes, self._most_bytes)
        with self._changed:
            self._changed.wait_for(lambda: self._taken_bytes + size_bytes <= self._most_bytes)
            self._taken_bytes += size_bytes
        try:
            yield
        finally:
            with self._changed:
                self._taken_bytes -= size_bytes
                self._changed.notify_all()
