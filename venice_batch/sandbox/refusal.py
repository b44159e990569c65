"""Error answers of the API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

BLOCKED = (
    "Too many failed attempts (> {limit}) resulting in a non-success status code. Please wait {wait}s and try again."
)
"""Text of the block (source: API page, rate limits)."""
AT_CAPACITY = "The model is at capacity. Please try again later."


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing wrong with a request, as the API's validator names it; the path is empty for the body as a
    whole.
    """

    code: str
    path: tuple[str | int, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """One error answer, before it is given the shape of either endpoint."""

    status: int
    message: str
    code: str = ""
    issues: tuple[Issue, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def native(self) -> dict[str, Any]:
        """Return the body as the native endpoints send it: a message, for 400s the tree and the list of
        issues too.
        """
        body: dict[str, Any] = {"error": self.message, **self.extra}
        if self.code:
            body["code"] = self.code
        if self.issues:
            body["details"] = _tree(self.issues)
            body["issues"] = [
                {"code": issue.code, "path": list(issue.path), "message": issue.message} for issue in self.issues
            ]
        return body

    def openai(self) -> dict[str, Any]:
        """Return the body as OpenAI clients expect it: an object with message, type, param and code."""
        message, param = self.message, None
        if self.issues:
            first = self.issues[0]
            param = ".".join(str(step) for step in first.path) or None
            message = f"{param}: {first.message}" if param else first.message
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": message, "type": kind, "param": param, "code": self.code or None}
        return {"error": error, **self.extra}


def invalid(*issues: Issue) -> Refusal:
    """Return the 400 for a request with these issues."""
    return Refusal(400, "Invalid request parameters", issues=issues)


def _tree(issues: tuple[Issue, ...]) -> dict[str, Any]:
    root: dict[str, Any] = {"_errors": []}
    for issue in issues:
        node = root
        for step in issue.path:
            node = node.setdefault(str(step), {"_errors": []})
        node["_errors"].append(issue.message)
    return root
