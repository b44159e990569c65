"""One bucket of an object store: reads, writes and conditional writes, repeated when they fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Version:
    """One content of an object, for `Bucket.replace`. Which of the two a store knows depends on the store."""

    e_tag: str | None = None
    version: str | None = None


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
        patience_s: float = 120.0,
    ) -> None:
        """Prepare a client; nothing is sent.

        Args:
            address: `s3://bucket/prefix`, `az://container/prefix` or `gs://bucket/prefix`.
            environ: variables with credentials, region and endpoint.
            redact: removes the API key from error texts; the bucket's own secrets are removed anyway.
            patience_s: how long a failing call is repeated.

        Raises:
            UsageError: the address or a variable is invalid, or obstore is not installed.
        """
        self.address = address

    def create(
        self,
        path: str,
        source: bytes | Path,
        *,
        content_type: str = "",
        metadata: Mapping[str, str] = {},
    ) -> Version | None:
        """Store `source` under a free name; return its version, or None if something else stands there.

        Raises:
            BucketError: the store refused, or cannot be reached.
            OSError: the file cannot be read.
        """
        raise NotImplementedError

    def replace(
        self,
        path: str,
        source: bytes | Path,
        version: Version,
        *,
        content_type: str = "",
        metadata: Mapping[str, str] = {},
    ) -> Version | None:
        """Replace an object if it still has `version` (compare-and-swap); return the new version, None if it has not.

        Raises:
            BucketError: the store refused, or cannot be reached.
            OSError: the file cannot be read.
        """
        raise NotImplementedError

    def put(
        self,
        path: str,
        source: bytes | Path,
        *,
        content_type: str = "",
        metadata: Mapping[str, str] = {},
    ) -> None:
        """Store `source`, whatever stands there. Raises as `create` does."""
        raise NotImplementedError

    def get(self, path: str) -> bytes | None:
        """Return an object's content, None if there is no such object. Raises BucketError."""
        raise NotImplementedError

    def read(self, path: str) -> Content | None:
        """Return an object's content and version, None if there is no such object. Raises BucketError."""
        raise NotImplementedError

    def fetch(self, path: str, target: Path) -> bool:
        """Write an object's content to the file `target`, in bounded memory; return False if there is no such object.

        After an exception `target` may hold a part.

        Raises:
            BucketError: the store refused, or cannot be reached.
            OSError: the file cannot be written.
        """
        raise NotImplementedError

    def head(self, path: str) -> Meta | None:
        """Return an object's size, version and metadata, None if there is no such object. Raises BucketError."""
        raise NotImplementedError

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield all objects below the folder `prefix`. After a fault it begins anew: an object may come twice.

        Raises:
            BucketError: the store refused, or cannot be reached.
        """
        raise NotImplementedError

    def delete(self, paths: Collection[str]) -> None:
        """Delete objects; those that are not there count as deleted. Raises BucketError."""
        raise NotImplementedError

    def knows_conditions(self) -> bool:
        """Return whether the store keeps a second `create` of the same name out; tries it with a probe."""
        raise NotImplementedError
