"""The last listing of each API address, on disk; without it everything works, only slower."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from venice_batch.catalogue.listing import Listing, is_local

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 2


class _Stored(msgspec.Struct):
    schema: int
    base_url: str
    asked_unix_s: float
    models: tuple[dict[str, Any], ...]
    styles: tuple[str, ...] | None = None
    former: dict[str, str | None] = {}


class Cache:
    """Listings in files of a folder, `models-<hash of the address>.json`. No method ever raises OSError.

    `folder` None keeps nothing; nor is anything kept of servers on this machine.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    @classmethod
    def of_user(cls, environment: Mapping[str, str] | None = None) -> Cache:
        """The cache in `$XDG_CACHE_HOME/venice-batch`, by default `~/.cache/venice-batch`."""
        home = (os.environ if environment is None else environment).get("XDG_CACHE_HOME", "")
        if os.path.isabs(home):  # the specification: anything else is to be ignored
            return cls(Path(home) / "venice-batch")
        try:
            return cls(Path.home() / ".cache" / "venice-batch")
        except RuntimeError:  # a user without a home
            return cls(None)

    def keeps(self, base_url: str) -> bool:
        """Whether a listing of `base_url` is kept at all."""
        return self._path(base_url) is not None

    def load(self, base_url: str) -> Listing | None:
        """The last listing of `base_url`; None where there is none that can be read."""
        path = self._path(base_url)
        if path is None:
            return None
        try:
            stored = msgspec.json.decode(path.read_bytes(), type=_Stored)
        except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return None
        if stored.schema != SCHEMA or not stored.models or not 0 <= stored.asked_unix_s < 1e11:
            return None
        return Listing(stored.models, stored.styles, stored.asked_unix_s, "cache", stored.former)

    def store(self, base_url: str, listing: Listing) -> None:
        """Keep `listing`, all of it or nothing."""
        path = self._path(base_url)
        if path is None:
            return
        stored = _Stored(SCHEMA, base_url, listing.asked_unix_s, listing.entries, listing.styles, listing.former)
        part = None
        try:
            body = msgspec.json.encode(stored)
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            with os.fdopen(descriptor, "wb") as file:
                file.write(body)
            os.replace(part, path)
        except (OSError, ValueError):
            if part is not None:
                with contextlib.suppress(OSError):
                    os.unlink(part)

    def _path(self, base_url: str) -> Path | None:
        if self.folder is None or is_local(base_url):
            return None
        digest = hashlib.blake2b(base_url.rstrip("/").encode("utf-8", "replace"), digest_size=8).hexdigest()
        return self.folder / f"models-{digest}.json"
