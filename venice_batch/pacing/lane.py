"""A lane's shared "nobody sends before T"."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from venice_batch.api.answers import Verdict
from venice_batch.pacing.backoff import Backoff
from venice_batch.pacing.concurrency import AdaptiveLimit
from venice_batch.pacing.window import LimitSource, Window

if TYPE_CHECKING:
    import random

    from venice_batch.api.answers import Answer
    from venice_batch.api.listings import Quota
    from venice_batch.pacing.reset_time import ResetTime


class Gate:
    """Holds all of a lane's workers, then lets them through one after another.

    `spread_s` bounds the random gap between two that pass soon after an opening, so that those who waited
    together do not arrive together.
    """

    def __init__(self, rng: random.Random, spread_s: float = 0.05) -> None:
        self._rng = rng
        self._spread_s = spread_s
        self._opens_s = 0.0
        self._next_s = 0.0
        self._spread_until_s = 0.0

    def close(self, until_s: float, now_s: float) -> None:
        """Nobody passes before `until_s`; an earlier moment than already set changes nothing."""
        if until_s > max(now_s, self._opens_s):
            self._opens_s = until_s
            self._next_s = until_s + self._rng.uniform(0.0, self._spread_s)
            self._spread_until_s = until_s + 20 * self._spread_s

    def wait_s(self, now_s: float) -> float:
        """Seconds until one may pass; 0 when it may now."""
        return max(0.0, self._opens_s - now_s, self._next_s - now_s)

    def passed(self, now_s: float) -> None:
        """One went through at `now_s`."""
        if now_s < self._spread_until_s:
            self._next_s = now_s + self._rng.uniform(0.0, self._spread_s)


DAY_S = 86_400.0


class DayQuota:
    """Counts images until the day ends; without a limit (None or 0) it counts, and holds, nothing.

    `ends_s` is the present day's end on the run's clock; infinity where the API does not say, then a day
    counts from the first request. A server's own word (`spent`) goes before any count.
    """

    def __init__(self, limit: int | None, ends_s: float) -> None:
        self._limit = limit or None
        self._ends_s = ends_s
        self._used = 0
        self._spent_until_s = -math.inf

    def wait_s(self, now_s: float, images: int = 1) -> float:
        """Seconds until the day has room for `images` more images; 0 when it has."""
        if now_s >= self._ends_s:
            self._used = 0
            self._ends_s += DAY_S * (1 + (now_s - self._ends_s) // DAY_S)
        if self._limit is not None and self._used + min(images, self._limit) > self._limit:
            return max(self._ends_s, self._spent_until_s) - now_s
        return max(0.0, self._spent_until_s - now_s)

    def sent(self, now_s: float, images: int = 1) -> None:
        """A request for `images` images goes out."""
        if self._limit is None:
            return
        if math.isinf(self._ends_s):
            self._ends_s = now_s + DAY_S
        self._used += images

    def refused(self, images: int = 1) -> None:
        """A request for `images` images was not taken, so it did not count."""
        self._used = max(0, self._used - images)

    def spent(self, until_s: float) -> None:
        """The server says that the day has no room before `until_s`."""
        self._spent_until_s = max(self._spent_until_s, until_s)


FIRST_BURST = 4
"""Requests under way at first when nothing is known of a lane's limits."""

DOCUMENTED_RPM = 20
"""Images a minute that every account has. More, however listed, is used once an answer's headers confirm it."""

QUOTA_SPENT_S = 3600.0
"""A server that asks for more than an hour's wait speaks of a daily quota."""


class LaneState(msgspec.Struct, frozen=True, gc=False):
    """A lane at one moment, for progress displays.

    `limit` requests may be under way at a time. Of the `window_limit` images that the API allows in `window_s` seconds
    `window_left` may still be asked for (infinity: no limit is known) before some come back in `renews_in_s` (infinity:
    none are used). `opens_in_s` is 0 while gate, window and day let requests through; `gate_s` is the gate's part. All
    of the lane waits `held_s` for the error budget (infinity: for an answer).
    """

    name: str
    in_flight: int
    limit: int
    window_limit: int | None
    window_left: float
    opens_in_s: float
    refused: int
    gate_s: float = 0.0
    window_s: float = 60.0
    renews_in_s: float = math.inf
    held_s: float = 0.0


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
        is_tested: bool = True,
    ) -> None:
        """Make a lane; of one that is not `is_tested` a single request goes ahead until it is answered."""
        self.name = name
        self.window = Window(minute_s, quota.rpm, rpm_cap)
        self.day = DayQuota(quota.rpd, day_ends_s)
        known = self.window.limit
        start = FIRST_BURST if known is None else min(known, DOCUMENTED_RPM)
        self.concurrency = AdaptiveLimit(ceiling, start if is_tested else 1)
        if is_tested and known is not None and known <= DOCUMENTED_RPM:
            self.concurrency.open()
        self.gate = Gate(rng, spread_s=min(0.05, minute_s / 1200))
        self.in_flight = 0
        self._images_in_flight = 0
        self._sent = 0
        self.refused = 0
        self._rng = rng
        self._closed_s = -math.inf
        self._setbacks = 0
        # A refusal without any hint is waited out like a failure, but never longer than a window.
        self._backoff = Backoff(base_s=minute_s / 60, cap_s=minute_s)

    def wait_s(self, now_s: float, images: int = 1) -> float:
        """Seconds until a request for `images` images may go out; infinity while only an answer can help."""
        wait = max(self.gate.wait_s(now_s), self.window.wait_s(now_s, images), self.day.wait_s(now_s, images))
        if wait > 0:
            return wait
        return math.inf if self.in_flight >= self.concurrency.limit else 0.0

    def sent(self, now_s: float, images: int = 1) -> int:
        """A request for `images` images goes out; returns how many had their answers before, to be given back later."""
        self.in_flight += 1
        self._images_in_flight += images
        self._sent += images
        self.window.sent(now_s, images)
        self.day.sent(now_s, images)
        self.gate.passed(now_s)
        return self._sent - self._images_in_flight

    def answered(
        self, answer: Answer, *, sent_s: float, answered_before: int, reset: ResetTime | None, images: int = 1
    ) -> None:
        """Learn from the answer to the request sent at `sent_s`; `ends` is its reset on the run's clock."""
        now_s = answer.received_s
        held, self.in_flight = self.in_flight, self.in_flight - 1
        self._images_in_flight -= images
        verdict = answer.verdict
        if verdict is Verdict.LIMITED and self._day_is_spent(answer, reset, sent_s, images):
            return
        rate = answer.headers.rate
        maybe_uncounted = self._sent - answered_before - images
        # An invalid request may not have opened the window whose end its answer names.
        opened = None if verdict is Verdict.REJECTED else reset
        self.window.observed(
            rate.limit,
            rate.remaining,
            opened,
            sent_s,
            now_s,
            maybe_uncounted=maybe_uncounted,
            in_flight=self._images_in_flight,
        )
        if verdict is Verdict.LIMITED:
            self._limited(answer, reset, sent_s, images)
            return
        if verdict is Verdict.BLOCKED:
            self.window.uncounted(sent_s, images)
            return
        self.window.accepted(sent_s)
        if verdict is Verdict.OVERLOADED:
            self._overloaded(answer, sent_s)
            return
        if verdict is Verdict.SUCCEEDED:
            self._setbacks = 0
            if self.window.source >= LimitSource.ADVERTISED and self.window.limit is not None:
                self.concurrency.open()
            self.concurrency.good(in_flight=held, latency_s=now_s - sent_s, sent_s=sent_s, now_s=now_s)

    def given_up(self, images: int = 1) -> None:
        """A request under way was cancelled here; whether the server counted it is unknown."""
        self.in_flight -= 1
        self._images_in_flight -= images

    def state(self, now_s: float, *, held_s: float = 0.0) -> LaneState:
        """A snapshot for display; `held_s` is what the lane waits for its error budget."""
        gate_s = self.gate.wait_s(now_s)
        return LaneState(
            name=self.name,
            in_flight=self.in_flight,
            limit=self.concurrency.limit,
            window_limit=self.window.limit,
            window_left=self.window.left(now_s),
            opens_in_s=max(gate_s, self.window.wait_s(now_s), self.day.wait_s(now_s)),
            refused=self.refused,
            gate_s=gate_s,
            window_s=self.window.length_s,
            renews_in_s=self.window.renews_in_s(now_s),
            held_s=held_s,
        )

    def _limited(self, answer: Answer, reset: ResetTime | None, sent_s: float, images: int) -> None:
        now_s = answer.received_s
        self.refused += 1
        self.day.refused(images)
        self.window.refused(sent_s, now_s, retry_after_s=answer.hint_s, reset=reset, images=images)
        if answer.hint_s is not None:
            until_s = now_s + answer.hint_s
        elif reset is not None:
            until_s = reset.latest_s
        else:
            until_s = now_s + self.window.wait_s(now_s)
        # Refused again and again whatever was waited for: the server's hints are not to be relied on.
        self._close(until_s, sent_s, now_s, patient=self._setbacks > 0 or until_s <= now_s)

    def _day_is_spent(self, answer: Answer, reset: ResetTime | None, sent_s: float, images: int) -> bool:
        """Whether a refusal asks for far more than a window's wait, and so says nothing about the window."""
        now_s = answer.received_s
        named_s = reset.latest_s if reset is not None else now_s
        until_s = named_s if answer.hint_s is None else now_s + answer.hint_s
        if until_s <= now_s + 2 * self.window.length_s:
            return False
        self.refused += 1
        self.day.refused(images)
        self.day.spent(until_s)
        self.window.uncounted(sent_s, images)
        return True

    def _overloaded(self, answer: Answer, sent_s: float) -> None:
        now_s = answer.received_s
        self.concurrency.overloaded(sent_s=sent_s, now_s=now_s, in_flight=self.in_flight)
        until_s = now_s + (answer.hint_s or 0.0)
        self._close(until_s, sent_s, now_s, patient=answer.hint_s is None)

    def _close(self, until_s: float, sent_s: float, now_s: float, *, patient: bool) -> None:
        if sent_s > self._closed_s:  # else it was under way when the gate closed: no news
            self._setbacks += 1
            self._closed_s = now_s
            if patient:
                until_s = max(until_s, now_s + self._backoff.wait_s(self._setbacks, self._rng))
        self.gate.close(until_s, now_s)
