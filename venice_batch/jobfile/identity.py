"""What makes two jobs the same job."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from venice_batch.model import Endpoint

KEY_BYTES = 16
"""Length of a `job_key`."""

_SORTED = orjson.OPT_SORT_KEYS
_TRAVEL = (("return_binary", True), ("return_binary", False), ("variants", 1))


def request_hash(endpoint: Endpoint, request: dict[str, Any]) -> str:
    """Return the name of an endpoint with a body: 32 hex digits.

    Neither the order of keys nor the white space of the line plays a part; `7` and `7.0` differ, as they
    do on the wire. `return_binary` and a single variant change how an image travels, not the image: a record,
    which has them as sent, is the same job as its line.
    """
    if "return_binary" in request or request.get("variants") == 1:
        request = {name: value for name, value in request.items() if (name, value) not in _TRAVEL}
    canonical = orjson.dumps([endpoint, request], option=_SORTED)
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()


def implicit_id(request_hash: str) -> str:
    """Return the id of a job whose line gives none: 16 hex digits."""
    return request_hash[:16]


def job_key(id: str, request_hash: str) -> bytes:  # noqa: A002 - the record's own name
    """Return the 16 bytes that stand for a job's identity, in the index as in the manifest.

    The same id with another request gives another key.
    """
    # No id of the jobs file holds a NUL, so the two parts cannot run into each other. Records come
    # from a file that anybody may have edited, hence "surrogatepass": a key, whatever the text.
    joined = f"{id}\0{request_hash}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(joined, digest_size=KEY_BYTES).digest()
