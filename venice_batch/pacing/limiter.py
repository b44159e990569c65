"""Decide when a run may send its next request, over all lanes together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from venice_batch.api.listings import Quota
from venice_batch.errors import UsageError
from venice_batch.pacing.error_budget import ErrorBudgets, ErrorRule
from venice_batch.pacing.lane import Lane, LaneState
from venice_batch.pacing.reset_time import ClockSkew, ResetTime

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Mapping

    from venice_batch.api.answers import Answer
    from venice_batch.api.responses import Reset


MOST_IN_FLIGHT = 256
"""Default for the most requests in flight: with 1 MB of memory for each, they take a quarter of a GB."""


@dataclass(frozen=True, slots=True)
class SendingRules:
    """Limits on a run's sending, whatever the API allows.

    - `concurrency`: most requests in flight over all lanes. It protects memory and file descriptors; how many are
      really sent is up to each lane's window and the server's answers.
    - `rpm`: most images per minute in each lane (None: no limit).
    - `minute_s`: the assumed length of the API's minute until its reset times show another.
    - `errors`: the error budget's rule (None: the server is not known to have one).
    - `share`: how many runs use the account at the same time without seeing each other. This one uses 1/`share` of
      every quota that the API states, and of the error budget.

    Raises:
        UsageError: a limit is below 1.
    """

    concurrency: int = MOST_IN_FLIGHT
    rpm: int | None = None
    minute_s: float = 60.0
    errors: ErrorRule | None = field(default_factory=ErrorRule)
    share: int = 1

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise UsageError("--concurrency must be at least 1")
        if self.rpm is not None and self.rpm < 1:
            raise UsageError("--rpm must be at least 1")
        if self.share < 1:
            raise UsageError("--share must be at least 1")


class Permit(msgspec.Struct, eq=False):
    """The right to send one request; it is given back with the answer.

    The holder sets `answer`. A permit without an answer counts as a cancelled request.
    """

    lane: Lane
    sent_s: float
    answered_before: int = 0
    """How many of the lane's images had their answers when the request was sent."""
    images: int = 1
    bucket: str = ""
    answer: Answer | None = None


class RateLimiter:
    """Decides when each request may be sent: the lanes, their error budgets and the ceiling over all of them.

    It is pure arithmetic on given moments. Call `wait_s` until it returns 0, then `send`, then `answered` or
    `given_up`; requests may interleave in any way. Guarantees, whatever the server answers: never more requests in
    flight than the ceiling, and none sent while its lane's gate is closed. A request uses `images` of its lane's
    quota. Its errors count in `bucket`, by default the lane's own.
    """

    def __init__(
        self,
        rules: SendingRules,
        rng: random.Random,
        *,
        quotas: Mapping[str, Quota] | None = None,
        day_ends_s: float = math.inf,
        untested: Collection[str] = (),
    ) -> None:
        """Make the limiter of one run.

        Args:
            rules: the run's own limits.
            rng: for spread and jitter.
            quotas: listed quotas by lane.
            day_ends_s: when the present day ends, on the run's clock (infinity: unknown).
            untested: lanes whose model may not exist: a single request goes ahead until it is answered.
        """
        self.rules = rules
        self.errors = ErrorBudgets(rules.errors, share=rules.share)
        self._rng = rng
        self._quotas = dict(quotas or {})
        self._day_ends_s = day_ends_s
        self._untested = frozenset(untested)
        self._lanes: dict[str, Lane] = {}
        self._skew = ClockSkew()
        self._in_flight = 0
        self.most_in_flight = 0

    def lane(self, name: str) -> Lane:
        """Return the lane of that name; make it on first use."""
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(
                name,
                quota=self._quotas.get(name, Quota()),
                ceiling=self.rules.concurrency,
                minute_s=self.rules.minute_s,
                rpm_cap=self.rules.rpm,
                day_ends_s=self._day_ends_s,
                rng=self._rng,
                is_tested=name not in self._untested,
                share=self.rules.share,
            )
        return lane

    def wait_s(self, lane: Lane, now_s: float, *, images: int = 1, bucket: str = "") -> float:
        """Return the seconds until `lane` may send a request for `images` images; infinity until an answer arrives."""
        wait = max(lane.wait_s(now_s, images), self.errors.wait_s(bucket or lane.name, now_s))
        if wait > 0:
            return wait
        return math.inf if self._in_flight >= self.rules.concurrency else 0.0

    def held_s(self, now_s: float) -> float:
        """Return the seconds that all lanes wait for an error budget that they share; 0 if each has its own."""
        return self.errors.held_s(now_s)

    def send(self, lane: Lane, now_s: float, *, images: int = 1, bucket: str = "") -> Permit:
        """Count one request of `lane` as sent; call this only right after `wait_s` returned 0."""
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        bucket = bucket or lane.name
        self.errors.sent(bucket)
        return Permit(lane, now_s, lane.sent(now_s, images), images, bucket)

    def listed(self, answer: Answer) -> None:
        """Learn from the answer to a listing request made with the run's key."""
        if answer.headers.date_unix_s is not None:
            self._skew.observe(answer.headers.date_unix_s, answer.sent_s, answer.received_s)
        if answer.headers.errors_left is not None:
            self.errors.listed()

    def answered(self, permit: Permit, answer: Answer) -> None:
        """Learn from the answer to `permit`'s request."""
        self._in_flight -= 1
        headers = answer.headers
        if headers.date_unix_s is not None:
            self._skew.observe(headers.date_unix_s, answer.sent_s, answer.received_s)
        errors_reset = self._reset_time(headers.errors_reset, answer)
        self.errors.answered(permit.bucket, answer, sent_s=permit.sent_s, reset=errors_reset)
        reset = self._reset_time(headers.rate.reset, answer, within_s=permit.lane.window.length_s)
        permit.lane.answered(
            answer, sent_s=permit.sent_s, answered_before=permit.answered_before, reset=reset, images=permit.images
        )

    def given_up(self, permit: Permit, now_s: float) -> None:
        """Note that the request was cancelled before its answer; an older server may count it as failed."""
        self._in_flight -= 1
        self.errors.given_up(permit.bucket, now_s)
        permit.lane.given_up(permit.images)

    def states(self, now_s: float) -> tuple[LaneState, ...]:
        """Return a snapshot of every lane, in order of first use."""
        return tuple(lane.state(now_s, held_s=self.errors.wait_s(lane.name, now_s)) for lane in self._lanes.values())

    def _reset_time(self, reset: Reset | None, answer: Answer, *, within_s: float = math.inf) -> ResetTime | None:
        """Return `reset` on the run's clock, as exactly as it is known, at most `within_s` after the answer.

        Return None if the server's clock is not known yet.
        """
        if reset is None:
            return None
        if reset.in_s is not None:
            # The server wrote it at some moment between sending and receiving.
            local = ResetTime(answer.sent_s + reset.in_s, answer.received_s + reset.in_s)
        elif reset.unix_s is not None and (known := self._skew.local(reset.unix_s, rounded_s=reset.rounded_s)):
            local = known
        else:
            return None
        # Whatever the clocks show, the window that was open has ended one window's length after the answer.
        bound_s = answer.received_s + within_s
        return replace(local, latest_s=bound_s) if local.earliest_s < bound_s < local.latest_s else local
