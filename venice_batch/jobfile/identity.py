"""The identity of a job: the hash of its request, and the id of a line that gives none."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from venice_batch.model import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from venice_batch.model import Job, Outcome

_SORTED = orjson.OPT_SORT_KEYS
_PICTURES = ("image", "images")
_TRAVEL = (("return_binary", True), ("return_binary", False), ("variants", 1))
_SPELLED = (("resolution", str.upper), ("aspect_ratio", str.lower))
_REWRITTEN = frozenset({"return_binary", "variants", "resolution", "aspect_ratio", *_PICTURES})
_NAMES = {endpoint: str(endpoint) for endpoint in Endpoint}


def request_hash(endpoint: Endpoint, request: dict[str, Any]) -> str:
    """Return the hash of an endpoint and a request body: 32 hex digits.

    The order of keys and white space make no difference; `7` and `7.0` differ, as they do on the wire. A record, which
    has its request as sent, is the same job as its line: `return_binary` and a single variant change how an image
    travels, not the image; `1k` is `1K` in the model's own spelling. A file counts by its content, not its path.
    """
    if not _REWRITTEN.isdisjoint(request):
        request = _rewritten(request)
    # As plain text: orjson takes longer for members of an enumeration.
    canonical = orjson.dumps([_NAMES[endpoint], request], option=_SORTED)
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()


def _rewritten(request: dict[str, Any]) -> dict[str, Any]:
    """Return the request as it is hashed."""
    if "return_binary" in request or request.get("variants") == 1:
        request = {name: value for name, value in request.items() if (name, value) not in _TRAVEL}
    for name, spelled in _SPELLED:
        value = request.get(name)
        if isinstance(value, str) and spelled(value) != value:
            request = {**request, name: spelled(value)}
    if "image" in request or "images" in request:
        request = {name: _content(value) if name in _PICTURES else value for name, value in request.items()}
    return request


def _content(value: object) -> object:
    """Return the value of a picture's field as it is hashed: a file counts by its content."""
    if isinstance(value, list):
        return [_content(item) for item in value]
    return {"sha256": value["sha256"]} if isinstance(value, dict) and "sha256" in value else value


class Branch(NamedTuple):
    """The origin of one of a line's jobs: the copy of the line, from 1, and what it adds to the id and to the name.

    `variables` are the values of those in its prompt; None if no variable has values, and braces stay as they are.
    """

    copy: int = 1
    of_id: str = ""
    of_name: str = ""
    variables: Mapping[str, str] | None = None


FIRST = Branch()
"""The only job of a line."""


def implicit_id(request_hash: str, copy: int = 1) -> str:
    """Return the id of a job whose line gives none: 16 hex digits, with `-2` for the second of two equal lines."""
    return request_hash[:16] if copy == 1 else f"{request_hash[:16]}-{copy}"


def has_implicit_id(job: Job | Outcome) -> bool:
    """Return whether a job's id is its request's hash, taken before or after a seed was added."""
    if job.id == implicit_id(job.request_hash):
        return True
    unseeded = {name: value for name, value in job.request.items() if name != "seed"}
    return job.id == implicit_id(request_hash(job.endpoint, unseeded))
