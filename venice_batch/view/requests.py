"""The decisions about a request to the live page: does it come from the page, and which marks does it bring?"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import unquote_to_bytes

import msgspec

from venice_batch.output.marks import Mark

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_MARKS = 10_000
"""Marks that one request may bring."""
MARKS_BYTES = 16 << 20
"""Largest body of such a request."""


class MarksError(ValueError):
    """A request's marks cannot be taken; `str()` is the reason."""


class _Said(msgspec.Struct, frozen=True):
    """A mark as the page sends it: the server adds the time."""

    sha256: str
    id: str
    image: Annotated[int, msgspec.Meta(ge=1)]
    mark: Literal["picked", "rejected"] | None = None
    rating: Annotated[int, msgspec.Meta(ge=1, le=5)] | None = None


_decoder = msgspec.json.Decoder(list[_Said])


def is_from_page(hosts: Sequence[str], origins: Sequence[str], sites: Sequence[str], *, port: int) -> bool:
    """Return whether a request with these headers comes from the page, from the address bar or from no browser.

    `hosts`, `origins` and `sites` are the values of each `Host`, `Origin` and `Sec-Fetch-Site`. A foreign `Host` on
    loopback is a name that somebody has pointed there (DNS rebinding). Browsers send the other two, and no page can
    forge them.
    """
    if len(hosts) != 1 or hosts[0].lower() not in _own_hosts(port):
        return False
    is_own = all(origin.lower() == f"http://{hosts[0].lower()}" for origin in origins)
    return is_own and all(site in ("same-origin", "none") for site in sites)


def _own_hosts(port: int) -> list[str]:
    names = ["127.0.0.1", "localhost", "[::1]"]
    return [f"{name}:{port}" for name in names] + (names if port == 80 else [])


def path_below(raw_path: str, token: str) -> str | None:
    """Return the path below `/<token>/`, decoded once; None if the token is another, or the path is no text."""
    given, slash, rest = raw_path.removeprefix("/").partition("/")
    if not slash or not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
        return None
    try:
        return unquote_to_bytes(rest).decode()
    except UnicodeDecodeError:
        return None


def marks_in(body: bytes, has_image: Callable[[str, str, int], bool], *, at: str) -> list[Mark]:
    """Return the marks of a request's body, made at the time `at`.

    Raises:
        MarksError: the body is not a list of marks, or one is of an image that `has_image` does not know.
    """
    try:
        given = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MarksError(f"these are no marks: {error}") from error
    if len(given) > MOST_MARKS:
        raise MarksError(f"{len(given):,} marks at once; send at most {MOST_MARKS:,}")
    for said in given:
        if not has_image(said.id, said.sha256, said.image):
            raise MarksError(f"the folder has no image {said.image} of {said.id!r} with this sha256; reload the page")
    return [Mark(said.sha256, said.id, said.image, said.mark, said.rating, at) for said in given]
