"""What a job has been through, from its body to its record."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from venice_batch.model import SCHEMA, Endpoint, Failure, Flags, Outcome, Status, Timing
from venice_batch.retry import Verdict, failure_kind

if TYPE_CHECKING:
    from venice_batch.api.client import Reply
    from venice_batch.model import Attempt, Job
    from venice_batch.retry import Answer

AGAIN = frozenset({Verdict.LIMITED, Verdict.BLOCKED, Verdict.OVERLOADED, Verdict.TRANSIENT})
"""Verdicts after which the same request may well succeed."""


@dataclass(slots=True)
class Trail:
    """What a job has been through so far."""

    job: Job
    body: dict[str, Any]
    price: int | None  # in millionths of a USD
    enqueued_s: float
    enqueued_unix_s: float
    started_s: float
    attempts: list[Attempt] = field(default_factory=list)
    counted: int = 0
    sent_back: int = 0
    unreached: int = 0
    rate_wait_s: float = 0.0
    backoff_s: float = 0.0
    possibly_billed: bool = False
    billed: bool = False  # the attempt under way may have been charged without an image

    def outcome(self, answer: Answer, reply: Reply | None, *, run_id: str, now_s: float) -> Outcome:
        """How the job ended, by its last `answer`; `reply` is that attempt's, None when nothing was sent for it."""
        job, head = self.job, answer.headers
        succeeded = answer.verdict is Verdict.SUCCEEDED
        status = Status.FAILED if answer.verdict in AGAIN else Status.REJECTED
        return Outcome(
            schema=SCHEMA,
            run_id=run_id,
            id=job.id,
            request_hash=job.request_hash,
            status=Status.SUCCEEDED if succeeded else status,
            lane=job.model,
            files=reply.files if reply else (),
            endpoint=job.endpoint,
            request=self.body,
            metadata=job.metadata,
            attempts=tuple(self.attempts),
            error=None if succeeded else Failure(failure_kind(answer), answer.status, answer.message),
            flags=Flags(
                blurred=head.blurred,
                content_violation=head.content_violation,
                possibly_billed=self.possibly_billed,
                deprecated=head.deprecated,
                enhanced_prompt=head.enhanced_prompt,
            ),
            cost_usd=self._cost_usd(succeeded=succeeded),
            timing=self._timing(reply, now_s),
            sandbox=head.sandbox,
        )

    def spent_usd(self, *, billed: bool) -> float | None:
        """What one attempt costs, `billed` or not; None where no price is known."""
        if self.price is None:
            return None
        return self.price / 1e6 if billed else 0.0

    def _cost_usd(self, *, succeeded: bool) -> float | None:
        # None where no price can be relied on, too.
        return None if self.possibly_billed else self.spent_usd(billed=succeeded)

    def _timing(self, reply: Reply | None, now_s: float) -> Timing:
        at = datetime.fromtimestamp(self.enqueued_unix_s, UTC).isoformat(timespec="milliseconds")
        return Timing(
            enqueued_at=at.replace("+00:00", "Z"),
            queued_s=rounded(self.started_s - self.enqueued_s),
            rate_wait_s=rounded(self.rate_wait_s),
            backoff_s=rounded(self.backoff_s),
            ttfb_s=_rounded_or_none(reply.ttfb_s if reply else None),
            download_s=_rounded_or_none(reply.download_s if reply else None),
            write_s=_rounded_or_none(reply.write_s if reply else None),
            total_s=rounded(now_s - self.enqueued_s),
            server=reply.server if reply else None,
        )


def as_sent(endpoint: Endpoint, request: dict[str, Any], *, prefer_json: bool) -> dict[str, Any]:
    """The body that is sent for `request`.

    A single image is asked for as binary, a quarter less to move and nothing to decode, unless the line says
    otherwise or JSON (which brings the server's own timing) is preferred.
    """
    if (
        endpoint is not Endpoint.GENERATE
        or prefer_json
        or "return_binary" in request
        or request.get("variants", 1) != 1
    ):
        return request
    # The API refuses `variants`, even 1, beside `return_binary`.
    body = {name: value for name, value in request.items() if name != "variants"}
    body["return_binary"] = True
    return body


def rounded(value_s: float) -> float:
    """A duration for a record: microseconds, never negative."""
    return round(max(0.0, value_s), 6)


def _rounded_or_none(value_s: float | None) -> float | None:
    return None if value_s is None else rounded(value_s)
