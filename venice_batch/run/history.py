"""The history of a job's attempts, and the record that it ends as."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from venice_batch.api.answers import Verdict, failure_kind
from venice_batch.api.requests import as_sent
from venice_batch.catalogue import corrected, enhancement_micro_usd, price_micro_usd
from venice_batch.model import SCHEMA, Failure, Flags, Outcome, Sent, Status, Timing

if TYPE_CHECKING:
    from venice_batch.api.answers import Answer, Reply
    from venice_batch.catalogue import Catalogue
    from venice_batch.model import Attempt, Job


NEVER_AGAIN = frozenset({Verdict.REJECTED, Verdict.LANE_REFUSED})
"""Verdicts after which the API would refuse the same request again."""


@dataclass(slots=True)
class JobHistory:
    """A job's attempts so far, with the time and the money that they took. Amounts are millionths of a USD."""

    job: Job
    body: dict[str, Any]
    price: int | None  # the most that one attempt can cost; None: not known
    enhancement: int  # the part of it that is charged only if the prompt was rewritten
    enqueued_s: float
    enqueued_unix_s: float
    started_s: float
    attempts: list[Attempt] = field(default_factory=list)
    attempts_used: int = 0
    deferrals: int = 0
    connect_failures: int = 0
    rate_wait_s: float = 0.0
    backoff_s: float = 0.0
    maybe_billed: int = 0  # attempts that may have been charged although no image came
    intercepted: int = 0  # answers that somebody else than the API gave
    spent: int = 0  # by all attempts, including those that may have been charged without an image
    due: int = 0  # of that, by the attempt that has just ended
    booked: int | None = None  # the attempt's reservation in the budget that runs share

    @property
    def possibly_billed(self) -> bool:
        return self.maybe_billed > 0

    def outcome(self, answer: Answer, reply: Reply | None, *, run_id: str, now_s: float, remark: str = "") -> Outcome:
        """Return the record of a job that ended with `answer`.

        `reply` belongs to the same attempt; it is None if nothing was sent. `remark` is added to the answer's message.
        """
        job, head = self.job, answer.headers
        spent_usd = None if self.price is None else self.spent / 1e6
        succeeded = answer.verdict is Verdict.SUCCEEDED
        status = Status.REJECTED if answer.verdict in NEVER_AGAIN else Status.FAILED
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
            error=None if succeeded else Failure(failure_kind(answer), answer.status, answer.message + remark),
            flags=Flags(
                blurred=head.blurred,
                content_violation=head.content_violation,
                possibly_billed=self.possibly_billed,
                deprecated=head.deprecated,
                enhanced_prompt=head.enhanced_prompt,
            ),
            cost_usd=None if self.possibly_billed else spent_usd,
            timing=self._timing(reply, now_s),
            sandbox=head.sandbox,
            at_most_usd=spent_usd if self.possibly_billed else None,
            unrecognised=reply.unrecognised if reply else (),
            parent=job.parent,
            index=job.index,
        )

    def charge(self, answer: Answer) -> float | None:
        """Add the cost of an attempt, as its answer shows it; return it in USD, None if no price is known.

        An attempt that may have been charged counts in full. A rewritten prompt counts only if the answer has one.
        """
        price = self.price or 0
        if not answer.possibly_billed:
            if answer.verdict is not Verdict.SUCCEEDED:
                price = 0
            elif answer.headers.enhanced_prompt is None:
                price -= self.enhancement
        return self.charge_in_full(price)

    def charge_in_full(self, price: int | None = None) -> float | None:
        """Add the cost of an attempt that was or may have been charged; by default the most that it can cost."""
        self.due = (self.price or 0) if price is None else price
        self.spent += self.due
        return None if self.price is None else self.due / 1e6

    def sent(self, at_s: float) -> Sent:
        """Return what is noted with the images of an attempt that is sent at `at_s` of the clock."""
        waited_s = rounded(at_s - self.enqueued_s)
        return Sent(self.enqueued_unix_s, waited_s, self.price, self.enhancement, self.spent, self.maybe_billed)

    def take_due(self) -> int:
        """Return the cost of the attempt that has just ended, and forget it."""
        due, self.due = self.due, 0
        return due

    def take_booked(self) -> int | None:
        """Return the reservation of the attempt that has just ended, and forget it."""
        booked, self.booked = self.booked, None
        return booked

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


def begun(
    job: Job,
    catalogue: Catalogue | None,
    *,
    prefer_json: bool,
    enqueued_s: float,
    enqueued_unix_s: float,
    started_s: float,
) -> JobHistory:
    """Return the history of a job before its first attempt, with the body to send and its price."""
    request = job.request if catalogue is None else corrected(job, catalogue)
    body = as_sent(job.endpoint, request, prefer_json=prefer_json)
    price = None if catalogue is None else price_micro_usd(job, catalogue)
    enhancement = 0 if price is None else enhancement_micro_usd(job.endpoint, job.request)
    return JobHistory(job, body, price, enhancement, enqueued_s, enqueued_unix_s, started_s)


def rounded(value_s: float) -> float:
    """Return a duration for a record: microseconds, never negative."""
    return round(max(0.0, value_s), 6)


def _rounded_or_none(value_s: float | None) -> float | None:
    return None if value_s is None else rounded(value_s)
