"""The answer to one attempt, and the verdict on it: done, try again, or give up."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

import msgspec

from venice_batch.api.responses import AnswerHeaders
from venice_batch.model import ImageFile, ServerTiming


class Verdict(StrEnum):
    """The consequence of an answer for its job (the contract's "rules of sending")."""

    SUCCEEDED = "succeeded"
    LIMITED = "limited"  # over the lane's quota: wait until the gate opens
    BLOCKED = "blocked"  # too many errors with this key: the bucket's lanes wait
    OVERLOADED = "overloaded"  # the model is at capacity: send fewer at a time
    TRANSIENT = "transient"  # try again after a backoff
    UNRECOGNISED = "unrecognised"  # whole and kept, but in an unknown format: another try would bring the same
    REJECTED = "rejected"  # the same request would be refused again
    LANE_REFUSED = "lane_refused"  # the model does not exist, or this key may not use it
    KEY_REFUSED = "key_refused"
    NO_MONEY = "no_money"
    WRONG_ADDRESS = "wrong_address"  # something other than the API answered


class Fault(StrEnum):
    """What went wrong on the way: no status arrived, or a 200 without its image, or the answer is not the API's."""

    CONNECT = "connect"  # nothing was sent
    TIMEOUT = "timeout"  # no answer in time, after the request was sent
    CUT = "cut"  # the connection broke after the request was sent
    NO_IMAGE = "no_image"  # the body is empty, invalid or not an image
    UNRECOGNISED = "unrecognised"  # the body is whole and kept, but in an unknown format
    SOURCE = "source"  # nothing was sent: a picture of the request is missing or has changed
    NOT_THE_API = "not_the_api"  # a redirect, or a refusal without the API's shape


POSSIBLY_BILLED = frozenset({Fault.TIMEOUT, Fault.CUT, Fault.NO_IMAGE, Fault.UNRECOGNISED})
"""Faults after which the server may have charged for an image that did not arrive."""

GAVE_UP = frozenset({502, 504, 520, 524})
"""Statuses of a gateway that lost the API's answer or stopped waiting for it: the API may have made the image.

Left out are statuses that say that the API did not take the request: 408 (it did not arrive whole, RFC 9110, 15.5.9),
521 (connection refused), 522 (not acknowledged), 523 (no route), 525 and 526 (no TLS). So are 429, 500 and 503, with
which a server itself says that it did not do the work. Source for 520 to 526: Cloudflare's pages on them.
"""


KEYS_OWN = "requests without a model field"
"""The error bucket of a key's requests without a visible `model`: the API reads that field in JSON bodies only."""


class Answer(msgspec.Struct, frozen=True):
    """The answer to one attempt, without its image.

    At most one of `status` and `fault` is None; a broken body on a 200 has both. `sent_s` and `received_s` are moments
    on the run's clock. `from_api` says that the body has the shape of the API's own answers.
    """

    status: int | None
    headers: AnswerHeaders
    message: str
    sent_s: float
    received_s: float
    fault: Fault | None = None
    from_api: bool = True

    @property
    def verdict(self) -> Verdict:
        return classify(self)

    @property
    def hint_s(self) -> float | None:
        """Seconds that the server asks to wait (`Retry-After`); None if it does not say."""
        return self.headers.retry_after_s

    @property
    def waits_at_gate(self) -> bool:
        """Whether the job only waits for a moment that the server named; this uses up no attempt."""
        if self.verdict not in (Verdict.LIMITED, Verdict.BLOCKED, Verdict.OVERLOADED):
            return False
        return self.hint_s is not None or (self.status == 429 and self.headers.rate.reset is not None)

    @property
    def possibly_billed(self) -> bool:
        return self.fault in POSSIBLY_BILLED or self.status in GAVE_UP


class Reply(msgspec.Struct, frozen=True):
    """The result of one attempt: the answer, the files of its images, and how long each step took.

    A time is None if the attempt did not get that far. `unrecognised` are the paths of whole bodies in an unknown
    format.
    """

    answer: Answer
    files: tuple[ImageFile, ...] = ()
    server: ServerTiming | None = None
    ttfb_s: float | None = None
    download_s: float | None = None
    write_s: float | None = None
    unrecognised: tuple[str, ...] = ()


_BLOCKED = re.compile(r"too many failed attempts", re.IGNORECASE)
_OVERLOADED = re.compile(r"overload|at capacity", re.IGNORECASE)
_NO_QUOTA = re.compile(r"\binsufficient_(user_)?quota\b", re.IGNORECASE)
_ONE_MODEL = re.compile(r"\bpro users?\b|\btier\b|\bmodel\b", re.IGNORECASE)
# A 400 about a field often names the model too ("model x does not accept width"), so these are whole phrases.
_NO_MODEL = re.compile(
    r"invalid model|unknown model|no such model|unsupported model"
    r"|\bmodel\b.{0,120}?(not found|does not exist|not available|is unavailable|retired|no longer|deprecated|sunset)",
    re.IGNORECASE | re.DOTALL,
)


def classify(answer: Answer) -> Verdict:
    """Return the verdict on `answer`, following the contract's table.

    Sources: the API's error-code page and Venice's published agent skills (2026-10-02) for the texts; curl's `--retry`
    for 408, 522 and 524.
    """
    status = answer.status
    if answer.fault is Fault.NOT_THE_API:
        return Verdict.WRONG_ADDRESS
    if answer.fault is Fault.UNRECOGNISED:
        return Verdict.UNRECOGNISED
    if status is None or answer.fault is not None:
        return Verdict.TRANSIENT
    if status == 200:
        # The image is a placeholder, and free: the same prompt would get the same answer again.
        return Verdict.REJECTED if answer.headers.content_violation else Verdict.SUCCEEDED
    if status in (403, 429) and _NO_QUOTA.search(answer.message):
        return Verdict.NO_MONEY  # OpenAI's code for an account with nothing left to spend
    if status == 429:
        if _BLOCKED.search(answer.message):
            return Verdict.BLOCKED
        # "Overloaded" while quota is left is about the model, not about this key's limit.
        if _OVERLOADED.search(answer.message) and answer.headers.rate.remaining != 0:
            return Verdict.OVERLOADED
        return Verdict.LIMITED
    if status == 503:
        return Verdict.OVERLOADED
    if status >= 500 or status == 408:
        return Verdict.TRANSIENT
    if status == 402:
        return Verdict.NO_MONEY
    if status in (401, 403):
        return Verdict.LANE_REFUSED if _ONE_MODEL.search(answer.message) else Verdict.KEY_REFUSED
    if status in (404, 410) or (status == 400 and _NO_MODEL.search(answer.message)):
        return Verdict.LANE_REFUSED
    return Verdict.REJECTED


_KINDS = {
    400: "invalid_request",
    401: "model_access",
    403: "model_access",
    404: "not_found",
    410: "not_found",
    408: "timeout",
    413: "too_large",
    415: "content_type",
    422: "content_policy",
    429: "rate_limited",
    503: "overloaded",
}


def failure_kind(answer: Answer) -> str:
    """Return the manifest's `error.kind` for `answer`."""
    if answer.fault is not None:
        return str(answer.fault)
    if answer.status is None:
        return "connect"
    if answer.status == 200 and answer.headers.content_violation:
        return "content_violation"
    if answer.status in _KINDS:
        return _KINDS[answer.status]
    if 300 <= answer.status < 400:
        return "redirect"
    return "server" if answer.status >= 500 else "invalid_request"


def server_timing(document: dict[str, Any]) -> ServerTiming | None:
    """Return the server's own timing from a JSON answer; None if there is none or it makes no sense."""
    try:
        return msgspec.convert(document.get("timing"), ServerTiming | None)
    except msgspec.ValidationError:
        return None  # only decorates a record: no reason to lose an image
