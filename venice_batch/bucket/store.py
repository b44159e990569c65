"""One bucket of an object store: reads, writes and conditional writes, repeated when they fail."""

from __future__ import annotations

import copy
import dataclasses
import secrets
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from venice_batch.bucket.address import parse
from venice_batch.bucket.client import Clients, Memory, Patience, Tries, connector, import_obstore
from venice_batch.bucket.faults import Fault, classify, secrets_in, without_secrets
from venice_batch.errors import BucketError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from mmap import mmap
    from pathlib import Path

    from venice_batch.bucket.client import Client

Result = TypeVar("Result")

PATIENCE_S = 120.0
"""How long a failing call is repeated. A lock that could not be renewed for half of that is lost anyway."""
UPLOADING_BYTES = 10 * 1024 * 1024
"""Content of files that all uploads together hold in memory."""

_PART_BYTES = 8 * 1024 * 1024
_NOTHING: Mapping[str, str] = {}
_ATTEMPT = "attempt"
"""Metadata: a random word for each call that writes, by which the call recognises what it has stored."""
_STANDARD = frozenset(
    {"Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type", "Cache-Control", "Storage-Class"}
)


@dataclass(frozen=True, slots=True)
class Version:
    """One content of an object, for `Bucket.replace`. Which of the two a store knows depends on the store."""

    e_tag: str | None = None
    version: str | None = None

    def condition(self) -> dict[str, str]:
        """Return it as obstore wants it: without what is not known."""
        pairs = (("e_tag", self.e_tag), ("version", self.version))
        return {name: value for name, value in pairs if value is not None}

    def is_same(self, other: Version) -> bool:
        """Return whether both are one content; a part that one of them lacks says nothing."""
        pairs = ((self.e_tag, other.e_tag), (self.version, other.version))
        known = [one == two for one, two in pairs if one is not None and two is not None]
        return bool(known) and all(known)


@dataclass(frozen=True, slots=True)
class Meta:
    """An object without its content; `metadata` is what its writer gave to `create`, `replace` or `put`."""

    size_bytes: int
    version: Version
    metadata: Mapping[str, str] = field(default_factory=dict)


class Content(NamedTuple):
    """An object's content, and its version."""

    data: bytes
    version: Version


class Entry(NamedTuple):
    """One object of a listing; `path` is relative to the bucket's prefix."""

    path: str
    size_bytes: int


class Bucket:
    """One bucket and a prefix in it; every path is relative to that prefix.

    All calls block, so call them in threads (`output.disk.Disk`), and never in a process forked after the first. Any
    number of threads may share a bucket. A call that fails is repeated for up to `patience_s` seconds if that can help;
    then it raises BucketError, whose text holds no secret.

    A write whose answer is lost may have been stored. `create` and `replace` read the object back and recognise their
    own write, so their result is right either way.
    """

    def __init__(
        self,
        address: str,
        environ: Mapping[str, str],
        *,
        redact: Callable[[str], str] = str,
        patience_s: float = PATIENCE_S,
        connect: Callable[[float], Client] | None = None,
        sleep: Callable[[float], object] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare a client; nothing is sent.

        Args:
            address: `s3://bucket/prefix`, `az://container/prefix` or `gs://bucket/prefix`.
            environ: variables with credentials, region and endpoint.
            redact: removes the API key from error texts; the bucket's own secrets are removed anyway.
            patience_s: how long a failing call is repeated.
            connect: makes a store of obstore whose requests have the given timeout in seconds; tests pass their own.
            sleep: waits between two tries.
            now: seconds on a clock that never steps back.

        Raises:
            UsageError: the address or a variable is invalid, or obstore is not installed.
        """
        self._at = parse(address)
        self.address = str(self._at)
        self._exceptions = import_obstore(self.address).exceptions
        self._clients = Clients(connect or connector(self._at, environ))
        self._clients.get(0)  # a setting that cannot be used is reported now
        hidden = secrets_in(environ)
        self._redact: Callable[[str], str] = lambda text: redact(without_secrets(text, hidden))
        self._patience = Patience(patience_s, sleep, now)
        self._conditions = True
        self._memory = Memory(UPLOADING_BYTES)

    def with_patience(self, patience_s: float) -> Bucket:
        """Return the same bucket with another patience."""
        other = copy.copy(self)
        other._patience = dataclasses.replace(self._patience, total_s=patience_s)
        return other

    def without_conditions(self) -> Bucket:
        """Return the same bucket for a store that ignores conditions: it looks first, then writes.

        Two runs that write at the same time may replace each other's objects.
        """
        other = copy.copy(self)
        other._conditions = False
        return other

    def create(
        self, path: str, source: bytes | Path, *, content_type: str = "", metadata: Mapping[str, str] = _NOTHING
    ) -> Version | None:
        """Store `source` under a free name; return its version, or None if something else stands there.

        Raises:
            BucketError: the store refused, or cannot be reached.
            OSError: the file cannot be read.
        """
        if not self._conditions:
            return self._store(path, source, content_type, metadata) if self.head(path) is None else None
        return self._store_if(path, source, None, content_type, metadata)

    def replace(
        self,
        path: str,
        source: bytes | Path,
        version: Version,
        *,
        content_type: str = "",
        metadata: Mapping[str, str] = _NOTHING,
    ) -> Version | None:
        """Replace an object if it still has `version` (compare-and-swap); return the new version, None if it has not.

        Raises:
            BucketError: the store refused, cannot be reached, or has given no version.
            OSError: the file cannot be read.
        """
        if not version.condition():
            raise BucketError(self.address, "the store gives objects no ETag; use another store")
        if not self._conditions:
            found = self.head(path)
            is_same = found is not None and found.version.is_same(version)
            return self._store(path, source, content_type, metadata) if is_same else None
        return self._store_if(path, source, version, content_type, metadata)

    def put(
        self, path: str, source: bytes | Path, *, content_type: str = "", metadata: Mapping[str, str] = _NOTHING
    ) -> None:
        """Store `source`, whatever stands there; large files in parts. Raises as `create` does."""
        self._store(path, source, content_type, metadata)

    def get(self, path: str) -> bytes | None:
        """Return an object's content, None if there is no such object. Raises BucketError."""
        found = self.read(path)
        return None if found is None else found.data

    def read(self, path: str) -> Content | None:
        """Return an object's content and version, None if there is no such object. Raises BucketError."""

        def read(client: Client) -> Content:
            found = client.get(self._at.under(path))
            return Content(bytes(found.bytes()), _version(found.meta))

        return self._call(read)

    def fetch(self, path: str, target: Path) -> bool:
        """Write an object's content to the file `target`, in bounded memory; return False if there is no such object.

        After an exception `target` may hold a part.

        Raises:
            BucketError: the store refused, or cannot be reached.
            OSError: the file cannot be written.
        """
        with target.open("wb") as file:
            while True:
                meta = self.head(path)
                if meta is None:
                    return False
                file.seek(0)
                file.truncate()
                position = 0
                while position < meta.size_bytes:
                    part = self._part(path, position, meta)
                    if part is None:  # deleted or replaced meanwhile
                        break
                    file.write(part)
                    position += len(part)
                else:
                    return True

    def head(self, path: str) -> Meta | None:
        """Return an object's size, version and metadata, None if there is no such object. Raises BucketError."""

        def head(client: Client) -> Meta:
            found = client.get(self._at.under(path), options={"head": True})
            metadata = {name: value for name, value in found.attributes.items() if name not in _STANDARD}
            return Meta(found.meta["size"], _version(found.meta), metadata)

        return self._call(head)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield all objects below the folder `prefix`. After a fault it begins anew: an object may come twice.

        Raises:
            BucketError: the store refused, or cannot be reached.
        """
        begins = len(self._at.prefix) + 1 if self._at.prefix else 0
        tries = self._tries(_PART_BYTES)
        while True:
            try:
                for page in tries.client.list(self._at.under(prefix) or None):
                    for found in page:
                        yield Entry(found["path"][begins:], found["size"])
            except self._errors as error:
                tries.failed(error)
            else:
                tries.succeeded()
                return

    def delete(self, paths: Collection[str]) -> None:
        """Delete objects; those that are not there count as deleted. Raises BucketError."""
        keys = [self._at.under(path) for path in paths]
        if len(keys) > 1:
            # Stores may lack the bulk call, or stop at an object that is gone: one by one, then.
            with suppress(BucketError):
                if self._call(lambda client: self._delete(client, keys), size_bytes=_PART_BYTES):
                    return
        for key in keys:
            self._call(lambda client, key=key: self._delete(client, key))  # type: ignore[misc]

    def knows_conditions(self) -> bool:
        """Return whether the store keeps a second `create` and an outdated `replace` out; tries them with a probe.

        Raises:
            BucketError: the store refused even the first write, or cannot be reached.
        """
        path = f".probe-{secrets.token_hex(8)}"
        first = self.create(path, b"1")
        try:
            if first is None or not first.condition() or self.create(path, b"2") is not None:
                return False
            second = self.replace(path, b"3", first)
            return second is not None and self.replace(path, b"4", first) is None
        finally:
            with suppress(BucketError):  # where deleting is not allowed it stays
                self.delete([path])

    @property
    def _errors(self) -> tuple[type[Exception], ...]:
        return (self._exceptions.BaseError, FileNotFoundError, ValueError)

    def _tries(self, size_bytes: int = 0) -> Tries:
        return Tries(self._clients, self._patience, self.address, self._redact, size_bytes=size_bytes)

    def _call(self, call: Callable[[Client], Result], *, size_bytes: int = 0) -> Result | None:
        """Return what `call` returns, None if an object is not there; repeat the call if that can help."""
        tries = self._tries(size_bytes)
        while True:
            try:
                result = call(tries.client)
            except self._errors as error:
                if classify(error) is Fault.MISSING:
                    return None
                tries.failed(error)
            else:
                tries.succeeded()
                return result

    def _delete(self, client: Client, keys: str | Sequence[str]) -> bool:
        client.delete(keys)
        return True

    def _part(self, path: str, position: int, meta: Meta) -> bytes | None:
        """Return up to `_PART_BYTES` of the object that `meta` describes, None if it is no longer there."""
        span = (position, min(position + _PART_BYTES, meta.size_bytes))
        options = {"range": span, "if_match": meta.version.e_tag}

        def read(client: Client) -> bytes | None:
            try:
                return bytes(client.get(self._at.under(path), options=options).bytes())
            except self._exceptions.PreconditionError:
                return None

        return self._call(read, size_bytes=_PART_BYTES)

    def _store(self, path: str, source: bytes | Path, content_type: str, metadata: Mapping[str, str]) -> Version:
        attributes = _attributes(content_type, metadata)
        with self._held(source) as data:
            in_parts = data is source and not isinstance(source, bytes)
            tries = self._tries(_PART_BYTES if in_parts else len(data))
            while True:
                try:
                    stored = tries.client.put(
                        self._at.under(path),
                        data,
                        attributes=attributes,
                        use_multipart=in_parts,
                        chunk_size=_PART_BYTES,
                        max_concurrency=1,
                    )
                except self._errors as error:
                    tries.failed(error)
                else:
                    tries.succeeded()
                    return _version(stored)

    def _store_if(
        self,
        path: str,
        source: bytes | Path,
        version: Version | None,
        content_type: str,
        metadata: Mapping[str, str],
    ) -> Version | None:
        """Store `source` if nothing stands there, or if `version` does; try until it is known which was the case."""
        token = secrets.token_hex(8)
        attributes = _attributes(content_type, {**metadata, _ATTEMPT: token})
        mode = "create" if version is None else version.condition()
        with self._held(source, whole=True) as data:
            tries = self._tries(len(data))
            while True:
                try:
                    stored = tries.client.put(
                        self._at.under(path), data, attributes=attributes, mode=mode, use_multipart=False
                    )
                except self._errors as error:
                    if classify(error) is not Fault.CONFLICT:
                        tries.failed(error)
                        continue
                    # The answer to an earlier try may have been lost, and a conflict may be about nothing that lasts.
                    there = self.head(path)
                    if there is None and version is not None:
                        return None
                    if there is None or (version is not None and there.version.is_same(version)):
                        tries.failed(error)
                        continue
                    return there.version if self._is_own(there, path, data, token) else None
                tries.succeeded()
                return _version(stored)

    def _is_own(self, there: Meta, path: str, data: bytes | mmap, token: str) -> bool:
        if _ATTEMPT in there.metadata:
            return there.metadata[_ATTEMPT] == token
        # A store that keeps no metadata. The same content at the same place serves as well.
        return there.size_bytes == len(data) and self.get(path) == bytes(data)

    @contextmanager
    def _held(self, source: bytes | Path, *, whole: bool = False) -> Iterator[Any]:
        """Give the content of `source`, or a large file itself unless it has to be `whole`; bounds the memory."""
        if isinstance(source, bytes) or (not whole and source.stat().st_size > _PART_BYTES):
            yield source
            return
        with self._memory.content(source) as data:
            yield data


def _version(found: Mapping[str, Any]) -> Version:
    return Version(found["e_tag"], found["version"])


def _attributes(content_type: str, metadata: Mapping[str, str]) -> dict[str, str]:
    return {**metadata, **({"Content-Type": content_type} if content_type else {})}
