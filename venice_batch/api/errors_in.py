"""Why an answer is not a success: the reason in its body, and whose answer it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import orjson

from venice_batch.api.answers import Fault
from venice_batch.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable


LONGEST = 500
"""Characters of a reason that are kept."""
_NO_QUOTA = ("insufficient_quota", "insufficient_user_quota")
_NEEDS_API_SHAPE = frozenset({401, 403, 404, 405, 410, 451})
"""Statuses that firewalls, proxies and routers send too: they speak for the API only with a body in its shape."""
_TITLE = re.compile(r"<title[^>]{0,200}>(.{0,500}?)</title>", re.IGNORECASE | re.DOTALL)
"""Bounded, so that a page of nothing but opening tags takes no time."""
_QUOTED = re.compile(r"\s*\bb\\?['\"].*", re.DOTALL)
"""The part of an answer that an HTTP library quotes in its errors; it may be cut in the middle of a key."""


class Refusal(NamedTuple):
    """Why an answer is not a success. `fault` is None where the status says enough."""

    text: str
    fault: Fault | None
    from_api: bool


def refusal(
    status: int, content_type: str, body: bytes, *, location: str | None = None, redact: Callable[[str], str] = str
) -> Refusal:
    """Return why an answer with a status other than 200 is not a success, and whether the API itself says so.

    `body` may be the beginning of one, already without the key. `redact` removes the key from all other text.
    """
    from_api = is_from_api(body)
    text = error_message(status, content_type, body, redact)
    if 300 <= status < 400:
        target = redact("nowhere" if location is None else location)
        text = one_line(f"redirected to {target[:200]}, not followed; is --base-url right?")
        return Refusal(text, Fault.NOT_THE_API, False)
    if status == 407:
        return Refusal(f"{text}; the proxy needs a name and password", Fault.NOT_THE_API, False)
    if status in _NEEDS_API_SHAPE and not from_api:
        return Refusal(text, Fault.NOT_THE_API, False)
    # Below 300 is another success, or no status at all: neither brings an image, yet one may have been made.
    return Refusal(text, Fault.NO_IMAGE if status < 300 else None, from_api)


def error_message(status: int, content_type: str, body: bytes, redact: Callable[[str], str] = str) -> str:
    """Return the reason that `body` gives, at most `LONGEST` characters on one line; never empty, never raises.

    It contains no control characters: a terminal must not act on a server's words. Reads the API's three shapes
    ({"error": text}, with `details` or `issues`; {"error": {"message": …}}) and the HTML of gateways in front of it.
    `redact` removes the key before anything is cut.
    """
    line = shortened(redact(_from_json(body) or _from_html(content_type, body) or _from_text(body)))
    return line or f"HTTP {status} without a reason"


def exception_text(error: Exception, redact: Callable[[str], str]) -> str:
    """Return the text of a network error on one line, without the key and without quotes from the answer."""
    return shortened(redact(_QUOTED.sub(" …", str(error)))) or type(error).__name__


def shortened(text: str) -> str:
    """Return `text` on one line of at most `LONGEST` characters."""
    line = one_line(" ".join(text.split()))
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def is_from_api(body: bytes) -> bool:
    """Return whether `body` is an error in one of the API's shapes, not in another web server's."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(document, dict) and bool(document.get("error"))


def _from_json(body: bytes) -> str:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(document, dict):
        return ""
    error = document.get("error") or document.get("message") or ""
    if isinstance(error, dict):
        field = error.get("param")
        document = {**document, **{name: error[name] for name in ("code", "type") if name in error}}
        error = error.get("message") or ""
        details = [f"{field}"] if isinstance(field, str) and field not in str(error) else []
    else:
        details = list(_issues(document.get("issues"))) or list(_details(document.get("details"), ()))
    suggestion = document.get("suggested_prompt")
    if isinstance(suggestion, str):
        details.append(f"suggested prompt: {suggestion}")
    said = str(error)
    # The one code that may say more than the message: this is about money, not about a rate.
    for quota in (document.get("code"), document.get("type")):
        if quota in _NO_QUOTA and quota not in said:
            said = f"{said} ({quota})" if said else str(quota)
    # A whole sentence needs no colon after its full stop.
    between = " " if said.endswith((".", "!", "?")) else ": "
    return between.join(part for part in (said, "; ".join(details)) if part)


def _issues(issues: object) -> list[str]:
    if not isinstance(issues, list):
        return []
    found = []
    for issue in issues:
        if isinstance(issue, dict):
            path = ".".join(map(str, issue["path"])) if isinstance(issue.get("path"), list) else ""
            found.append(": ".join(part for part in (path, str(issue.get("message", ""))) if part))
    return found


def _details(tree: object, path: tuple[str, ...]) -> list[str]:
    if not isinstance(tree, dict) or len(path) > 8:
        return []
    errors = tree.get("_errors")
    found = [": ".join((*path, str(text))) for text in errors] if isinstance(errors, list) else []
    for field, branch in tree.items():
        if field != "_errors":
            found += _details(branch, (*path, str(field)))
    return found


def _from_text(body: bytes) -> str:
    # Text has no NUL; an image, which an answer of another status may contain, soon has one.
    return "" if b"\0" in body[:LONGEST] else body.decode("utf-8", "replace")


def _from_html(content_type: str, body: bytes) -> str:
    start = body[:200].lstrip().lower()
    if "html" not in content_type.lower() and not start.startswith((b"<!doctype html", b"<html")):
        return ""
    title = _TITLE.search(body.decode("utf-8", "replace"))
    return f"a web page: {title.group(1)}" if title else "a web page"
