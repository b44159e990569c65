"""What an error's body says, in one line for the user."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

from venice_batch.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable


LONGEST = 500
_NO_QUOTA = ("insufficient_quota", "insufficient_user_quota")
# Bounded, so that a page of nothing but opening tags takes no time either.
_TITLE = re.compile(r"<title[^>]{0,200}>(.{0,500}?)</title>", re.IGNORECASE | re.DOTALL)


def message(status: int, content_type: str, body: bytes, redact: Callable[[str], str] = str) -> str:
    """The reason that `body` gives, at most `LONGEST` characters on one line; never empty, never raises.

    No control characters: a terminal must not act on what a server says.

    Reads the API's three shapes ({"error": text}, with `details` or `issues`; {"error": {"message": …}}) and
    the HTML that gateways in front of it send. `redact` takes the key out before anything is cut.
    """
    line = in_short(redact(_from_json(body) or _from_html(content_type, body) or _from_text(body)))
    return line or f"HTTP {status} without a reason"


def in_short(text: str) -> str:
    """`text` on one line of at most `LONGEST` characters."""
    line = one_line(" ".join(text.split()))
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def is_from_api(body: bytes) -> bool:
    """Whether `body` is an error in one of the API's shapes, not that of some other web server."""
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
    # The one code that says what the message may not: this is about money, not about a rate.
    for quota in (document.get("code"), document.get("type")):
        if quota in _NO_QUOTA and quota not in said:
            said = f"{said} ({quota})" if said else str(quota)
    # A server's whole sentence needs no colon after its full stop.
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
    # No text has a NUL; an image, which some answer of another status may hold, soon has one.
    return "" if b"\0" in body[:LONGEST] else body.decode("utf-8", "replace")


def _from_html(content_type: str, body: bytes) -> str:
    start = body[:200].lstrip().lower()
    if "html" not in content_type.lower() and not start.startswith((b"<!doctype html", b"<html")):
        return ""
    title = _TITLE.search(body.decode("utf-8", "replace"))
    return f"a web page: {title.group(1)}" if title else "a web page"
