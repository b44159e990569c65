"""Whether the run may send now, over all lanes together."""

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
"""Requests under way at a time at most, by default: with 1 MB in memory for each, a quarter of a GB."""


@dataclass(frozen=True, slots=True)
class SendingRules:
    """What bounds a run's sending, whatever the API says.

    `concurrency` is the ceiling over all lanes: it protects memory and file descriptors, since each lane's window and
    the server's answers decide how many go out. `rpm` caps every lane's window. `minute_s` is how long the API's minute
    is taken to be until its resets say otherwise. `errors` is the error budget's rule (None: the server is not known to
    have one).
    """

    concurrency: int = MOST_IN_FLIGHT
    rpm: int | None = None
    minute_s: float = 60.0
    errors: ErrorRule | None = field(default_factory=ErrorRule)

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise UsageError("--concurrency has to be at least 1")
        if self.rpm is not None and self.rpm < 1:
            raise UsageError("--rpm has to be at least 1")


class Permit(msgspec.Struct, eq=False):
    """The right to send one request, given back with its answer.

    Whoever holds it sets `answer`; without one it is given back as a request that was cancelled.
    """

    lane: Lane
    sent_s: float
    answered_before: int = 0
    """How many of the lane's images had their answers when this request was sent."""
    images: int = 1
    bucket: str = ""
    answer: Answer | None = None


class RateLimiter:
    """The gates of all lanes, their error budgets and the ceiling: pure arithmetic on given moments.

    `wait_s` then `send` then `answered` (or `given_up`), in any interleaving. Guarantees, whatever the answers: never
    more under way than the ceiling, nothing sent while a gate is closed. A request takes `images` images of its lane's
    window; its errors count in `bucket`, by default its lane's own.
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
        """Make the limiter of one run; of the lanes in `untested` one request goes ahead, as there may be no model."""
        self.rules = rules
        self.errors = ErrorBudgets(rules.errors)
        self._rng = rng
        self._quotas = dict(quotas or {})
        self._day_ends_s = day_ends_s
        self._untested = frozenset(untested)
        self._lanes: dict[str, Lane] = {}
        self._skew = ClockSkew()
        self._in_flight = 0
        self.most_in_flight = 0

    def lane(self, name: str) -> Lane:
        """The lane of that name, made when first asked for."""
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
            )
        return lane

    def wait_s(self, lane: Lane, now_s: float, *, images: int = 1, bucket: str = "") -> float:
        """Seconds until `lane` may send a request for `images` images; infinity while only an answer can help."""
        wait = max(lane.wait_s(now_s, images), self.errors.wait_s(bucket or lane.name, now_s))
        if wait > 0:
            return wait
        return math.inf if self._in_flight >= self.rules.concurrency else 0.0

    def held_s(self, now_s: float) -> float:
        """Seconds that every lane waits for an error budget that all of them share; 0 where each has its own."""
        return self.errors.held_s(now_s)

    def send(self, lane: Lane, now_s: float, *, images: int = 1, bucket: str = "") -> Permit:
        """Count one request of `lane` as sent; only right after `wait_s` gave 0."""
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        bucket = bucket or lane.name
        self.errors.sent(bucket)
        return Permit(lane, now_s, lane.sent(now_s, images), images, bucket)

    def listed(self, answer: Answer) -> None:
        """Learn from the answer to a request for a listing, made with the run's key."""
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
        """The request was cancelled before its answer; an older server may count it as failed."""
        self._in_flight -= 1
        self.errors.given_up(permit.bucket, now_s)
        permit.lane.given_up(permit.images)

    def states(self, now_s: float) -> tuple[LaneState, ...]:
        """Every lane's snapshot, in order of first use."""
        return tuple(lane.state(now_s, held_s=self.errors.wait_s(lane.name, now_s)) for lane in self._lanes.values())

    def _reset_time(self, reset: Reset | None, answer: Answer, *, within_s: float = math.inf) -> ResetTime | None:
        """A reset on the run's clock, as well as it can be known; it lies at most `within_s` after the answer."""
        if reset is None:
            return None
        if reset.in_s is not None:
            # The server has written it at some time between.
            local = ResetTime(answer.sent_s + reset.in_s, answer.received_s + reset.in_s)
        elif reset.unix_s is not None and (known := self._skew.local(reset.unix_s, rounded_s=reset.rounded_s)):
            local = known
        else:
            return None
        # A window that was open before the answer came is over a window's length after it, whatever the clocks.
        bound_s = answer.received_s + within_s
        return replace(local, latest_s=bound_s) if local.earliest_s < bound_s < local.latest_s else local
