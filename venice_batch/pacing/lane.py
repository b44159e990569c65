"""The state of one lane: all that decides when it may send."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from venice_batch.pacing.concurrency import AdaptiveLimit
from venice_batch.pacing.gate import Gate
from venice_batch.pacing.window import Source, Window
from venice_batch.retry import Backoff, Verdict

if TYPE_CHECKING:
    import random

    from venice_batch.retry import Answer

FIRST_BURST = 4
"""Requests under way at first when nothing is known of a lane's limits."""

QUOTA_SPENT_S = 3600.0
"""A server that asks for more than an hour's wait speaks of a daily quota."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What the API lists for one model: requests a minute and a day; None where it says nothing."""

    rpm: int | None = None
    rpd: int | None = None


@dataclass(frozen=True, slots=True)
class LaneState:
    """A lane at one moment, for progress displays. `opens_in_s` is 0 while its gate is open."""

    name: str
    in_flight: int
    limit: int
    window_limit: int | None
    window_left: float
    opens_in_s: float
    refused: int


class Lane:
    """One model at one base URL: its window, gate and concurrency; no other lane touches them."""

    def __init__(
        self,
        name: str,
        *,
        quota: Quota,
        ceiling: int,
        minute_s: float,
        rpm_cap: int | None,
        day_ends_s: float,
        rng: random.Random,
    ) -> None:
        self.name = name
        self.window = Window(minute_s, quota.rpm, rpm_cap)
        self.day = Window(86_400.0, quota.rpd)
        self.day.set_end(day_ends_s)
        known = self.window.limit
        self.concurrency = AdaptiveLimit(ceiling, FIRST_BURST if known is None else known)
        self.gate = Gate(rng, spread_s=min(0.05, minute_s / 1200))
        self.in_flight = 0
        self.refused = 0
        self._rng = rng
        self._closed_s = -math.inf
        self._setbacks = 0
        # A refusal without any hint is waited out like a failure, but never longer than a window.
        self._backoff = Backoff(base_s=minute_s / 60, cap_s=minute_s)

    def wait_s(self, now_s: float) -> float:
        """Seconds until the lane may send one more; infinity while only an answer can help."""
        wait = max(self.gate.wait_s(now_s), self.window.wait_s(now_s), self.day.wait_s(now_s))
        if wait > 0:
            return wait
        return math.inf if self.in_flight >= self.concurrency.limit else 0.0

    def sent(self, now_s: float) -> None:
        """One request goes out."""
        self.in_flight += 1
        self.window.sent(now_s)
        self.day.sent(now_s)
        self.gate.passed(now_s)

    def answered(self, answer: Answer, *, ends_s: float | None, now_s: float) -> None:
        """Learn from one answer; `ends_s` is its reset header on the run's clock."""
        held, self.in_flight = self.in_flight, self.in_flight - 1
        rate = answer.headers.rate
        self.window.observed(rate.limit, rate.remaining, ends_s, answer.sent_s, now_s)
        verdict = answer.verdict
        if verdict is Verdict.LIMITED:
            self._limited(answer, ends_s, now_s)
            return
        if verdict is Verdict.OVERLOADED:
            self._overloaded(answer, now_s)
            return
        self.window.accepted(answer.sent_s)
        if verdict is Verdict.SUCCEEDED:
            self._setbacks = 0
            if self.window.source is Source.HEADER and self.window.limit is not None:
                self.concurrency.open_to(self.window.limit)
            self.concurrency.good(
                in_flight=held,
                latency_s=answer.received_s - answer.sent_s,
                sent_s=answer.sent_s,
                now_s=now_s,
            )

    def given_up(self) -> None:
        """A request under way was cancelled here; whether the server counted it is unknown."""
        self.in_flight -= 1

    def state(self, now_s: float) -> LaneState:
        """A snapshot for display."""
        return LaneState(
            name=self.name,
            in_flight=self.in_flight,
            limit=self.concurrency.limit,
            window_limit=self.window.limit,
            window_left=self.window.left(now_s),
            opens_in_s=max(self.gate.wait_s(now_s), self.window.wait_s(now_s)),
            refused=self.refused,
        )

    def _limited(self, answer: Answer, ends_s: float | None, now_s: float) -> None:
        self.refused += 1
        surprise = self.window.refused(answer.sent_s, now_s, answer.hint_s)
        if surprise:
            # How much may come together is unknown again, so one goes first.
            self.concurrency.start_over(now_s)
        if answer.hint_s is not None:
            until_s = now_s + answer.hint_s
        elif ends_s is not None:
            until_s = ends_s
        else:
            until_s = now_s + self.window.wait_s(now_s)
        # Refused again and again whatever was waited for: the server's hints are not to be relied on.
        self._close(until_s, answer.sent_s, now_s, patient=self._setbacks > 0 or until_s <= now_s)

    def _overloaded(self, answer: Answer, now_s: float) -> None:
        self.window.accepted(answer.sent_s)
        self.concurrency.overloaded(sent_s=answer.sent_s, now_s=now_s, in_flight=self.in_flight)
        until_s = now_s + (answer.hint_s or 0.0)
        self._close(until_s, answer.sent_s, now_s, patient=answer.hint_s is None)

    def _close(self, until_s: float, sent_s: float, now_s: float, *, patient: bool) -> None:
        if sent_s > self._closed_s:  # else it was under way when the gate closed: no news
            self._setbacks += 1
            self._closed_s = now_s
            if patient:
                until_s = max(until_s, now_s + self._backoff.wait_s(self._setbacks, self._rng))
        self.gate.close(until_s, now_s)
