"""Error answers of the API."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

BLOCKED = (
    "Too many failed attempts (> {limit}) resulting in a non-success status code. Please wait {wait} and try again."
)
"""Text of a block (source: API page, rate limits)."""
SEE_LIMITS = " See https://docs.venice.ai/api-reference/rate-limiting for more information."
"""Sentence that follows it since 2026-10 (source: Venice's agent skills, venice-errors, 2026-10-02)."""
AT_CAPACITY = "The model is at capacity. Please try again later."


@dataclass(frozen=True, slots=True)
class Issue:
    """One mistake in a request, as the API's validator reports it.

    The path leads to the wrong value; it is empty for the body as a whole.
    """

    code: str
    path: tuple[str | int, ...]
    message: str


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """One error answer, not yet in the shape of either endpoint."""

    status: int
    message: str
    code: str = ""
    issues: tuple[Issue, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    uses_error_budget: bool = True
    """False for answers that the API gives before it looks at the error budget."""

    def native(self) -> dict[str, Any]:
        """Return the body as the native endpoints send it: a message, with the tree and the list of any issues."""
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


UNAUTHORIZED = ErrorAnswer(401, "Authentication failed")
INSUFFICIENT = ErrorAnswer(402, "Insufficient USD or Diem balance to complete request", code="INSUFFICIENT_BALANCE")
# Source of the next two: Venice's agent skills, venice-api-keys and venice-errors, 2026-10-02.
OVER_KEY_LIMIT = ErrorAnswer(
    402,
    "API key USD spend limit exceeded. Your account may still have USD balance, but this API key has reached its"
    " configured USD spending limit.",
)


def no_credentials() -> ErrorAnswer:
    """Return the 402 for a request without credentials: it offers payment by x402, to an address that nobody owns."""
    accepted = {
        "scheme": "exact",
        "network": "eip155:8453",
        "asset": "0x0000000000000000000000000000000000000000",
        "amount": "5000000",
        "payTo": "0x0000000000000000000000000000000000000000",
        "maxTimeoutSeconds": 300,
        "extra": {"name": "sandbox: nobody is paid"},
    }
    offer: dict[str, Any] = {
        "x402Version": 2,
        "resource": {"url": "/api/v1", "description": "Venice API", "mimeType": "application/json"},
        "accepts": [accepted],
    }
    options = {
        "apiKey": {
            "header": "Authorization: Bearer YOUR_API_KEY",
            "getKey": "https://venice.ai/settings/api",
            "docs": "https://docs.venice.ai",
        },
        "x402Wallet": {
            "header": "SIGN-IN-WITH-X",
            "legacyHeader": "X-Sign-In-With-X",
            "topUp": "POST /api/v1/x402/top-up",
            "docs": "https://docs.venice.ai",
        },
    }
    message = "Authentication required"
    header = base64.b64encode(json.dumps({**offer, "error": message}).encode()).decode()
    return ErrorAnswer(
        402,
        message,
        extra={**offer, "authOptions": options},
        headers={"PAYMENT-REQUIRED": header},
        uses_error_budget=False,
    )


def retired(model_id: str, successor: str) -> ErrorAnswer:
    """Return the 404 for a retired model."""
    return ErrorAnswer(404, f"The model {model_id} has been retired. Please use {successor} instead.")


def invalid(*issues: Issue) -> ErrorAnswer:
    """Return the 400 for a request with these issues."""
    return ErrorAnswer(400, "Invalid request parameters", issues=issues)


def _tree(issues: tuple[Issue, ...]) -> dict[str, Any]:
    root: dict[str, Any] = {"_errors": []}
    for issue in issues:
        node = root
        for step in issue.path:
            node = node.setdefault(str(step), {"_errors": []})
        node["_errors"].append(issue.message)
    return root
