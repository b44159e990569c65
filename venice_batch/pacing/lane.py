"""A lane: one model's gate, minute and daily quotas, and concurrency."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from venice_batch.api.answers import Verdict
from venice_batch.pacing.backoff import Backoff
from venice_batch.pacing.concurrency import AdaptiveLimit
from venice_batch.pacing.window import LimitSource, Window, part_of

if TYPE_CHECKING:
    import random

    from venice_batch.api.answers import Answer
    from venice_batch.api.listings import Quota
    from venice_batch.pacing.reset_time import ResetTime


class Gate:
    """Stops all requests of a lane until a moment, then lets them through one after another.

    Soon after the gate opens, a random gap of up to `spread_s` separates each request from the next, so that those
    that waited together do not reach the server together.
    """

    def __init__(self, rng: random.Random, spread_s: float = 0.05) -> None:
        self._rng = rng
        self._spread_s = spread_s
        self._opens_s = 0.0
        self._next_s = 0.0
        self._spread_until_s = 0.0

    def close(self, until_s: float, now_s: float) -> None:
        """Stay closed until `until_s`; a moment earlier than the present one changes nothing."""
        if until_s > max(now_s, self._opens_s):
            self._opens_s = until_s
            self._next_s = until_s + self._rng.uniform(0.0, self._spread_s)
            self._spread_until_s = until_s + 20 * self._spread_s

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until the next request may pass; 0 if it may now."""
        return max(0.0, self._opens_s - now_s, self._next_s - now_s)

    def passed(self, now_s: float) -> None:
        """Note that a request passed at `now_s`."""
        if now_s < self._spread_until_s:
            self._next_s = now_s + self._rng.uniform(0.0, self._spread_s)


DAY_S = 86_400.0


class DayQuota:
    """Counts a lane's images against its daily quota. Without a `limit` (None or 0) only `spent` makes it wait.

    `ends_s` is the end of the present day on the run's clock. It is infinity if the API does not say; then a day begins
    with the first request. The server's own word (`spent`) goes before any count.
    """

    def __init__(self, limit: int | None, ends_s: float) -> None:
        self._limit = limit or None
        self._ends_s = ends_s
        self._used = 0
        self._spent_until_s = -math.inf

    def wait_s(self, now_s: float, images: int = 1) -> float:
        """Return the seconds until the day has room for `images` more images; 0 if it has room now."""
        if now_s >= self._ends_s:
            self._used = 0
            self._ends_s += DAY_S * (1 + (now_s - self._ends_s) // DAY_S)
        if self._limit is not None and self._used + min(images, self._limit) > self._limit:
            return max(self._ends_s, self._spent_until_s) - now_s
        return max(0.0, self._spent_until_s - now_s)

    def sent(self, now_s: float, images: int = 1) -> None:
        """Count a request for `images` images that is sent now."""
        if self._limit is None:
            return
        if math.isinf(self._ends_s):
            self._ends_s = now_s + DAY_S
        self._used += images

    def refused(self, images: int = 1) -> None:
        """Take back a request for `images` images: the server refused it, so it did not count."""
        self._used = max(0, self._used - images)

    def spent(self, until_s: float) -> None:
        """Learn from the server that the day's quota is used up until `until_s`."""
        self._spent_until_s = max(self._spent_until_s, until_s)


FIRST_BURST = 4
"""Requests in flight at first, while nothing is known of a lane's limits."""

DOCUMENTED_RPM = 20
"""Images per minute that every account may request. A higher listed quota is used once an answer's headers confirm
it."""

QUOTA_SPENT_S = 3600.0
"""A wait of more than an hour means that a daily quota is used up."""


class LaneState(msgspec.Struct, frozen=True, gc=False):
    """A lane at one moment, for progress displays.

    - `limit`: requests that may be in flight at a time.
    - `window_limit`: images that the API allows in `window_s` seconds. `window_left` of them may still be requested
      (infinity: no limit is known); some or all come back in `renews_in_s` (infinity: none are used).
    - `opens_in_s`: seconds until gate, window and day let a request through; `gate_s` is the gate's part of it.
    - `held_s`: seconds that the lane waits for the error budget (infinity: until an answer arrives).
    - `refused`: requests refused as over the quota.
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
    """One model at one base URL, with a window, a day, a gate and a concurrency of its own.

    `wait_s`, then `sent`, then `answered` or `given_up`. Lanes share nothing, so a limited model never delays another.
    """

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
        share: int = 1,
    ) -> None:
        """Make a lane.

        Args:
            name: the model.
            quota: as the API lists it.
            ceiling: most requests in flight.
            minute_s: the assumed length of the API's minute.
            rpm_cap: the user's own limit of images per minute.
            day_ends_s: when the present day ends, on the run's clock (infinity: unknown).
            rng: for spread and jitter.
            is_tested: False if the model may not exist; then a single request goes ahead until it is answered.
            share: the run uses 1/`share` of each quota that the API states.
        """
        self.name = name
        self.window = Window(minute_s, quota.rpm, rpm_cap, share=share)
        self.day = DayQuota(part_of(quota.rpd, share) if quota.rpd else None, day_ends_s)
        known, documented = self.window.limit, part_of(DOCUMENTED_RPM, share)
        start = part_of(FIRST_BURST, share) if known is None else min(known, documented)
        self.concurrency = AdaptiveLimit(ceiling, start if is_tested else 1)
        if is_tested and known is not None and known <= documented:
            self.concurrency.open()
        self.gate = Gate(rng, spread_s=min(0.05, minute_s / 1200))
        self.in_flight = 0
        self._images_in_flight = 0
        self._sent = 0
        self.refused = 0
        self._rng = rng
        self._closed_s = -math.inf
        self._setbacks = 0
        # After a refusal without a hint, back off as after a failure, but never longer than a window.
        self._backoff = Backoff(base_s=minute_s / 60, cap_s=minute_s)

    def wait_s(self, now_s: float, images: int = 1) -> float:
        """Return the seconds until a request for `images` images may be sent; infinity until an answer arrives."""
        wait = max(self.gate.wait_s(now_s), self.window.wait_s(now_s, images), self.day.wait_s(now_s, images))
        if wait > 0:
            return wait
        return math.inf if self.in_flight >= self.concurrency.limit else 0.0

    def sent(self, now_s: float, images: int = 1) -> int:
        """Count a request for `images` images that is sent now.

        Return how many of the lane's images have their answers already; `answered` needs this number.
        """
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
        """Learn from the answer to the request sent at `sent_s`.

        `answered_before` is the number that `sent` returned, `reset` the answer's reset time on the run's clock.
        """
        now_s = answer.received_s
        held, self.in_flight = self.in_flight, self.in_flight - 1
        self._images_in_flight -= images
        verdict = answer.verdict
        if verdict is Verdict.LIMITED and self._day_is_spent(answer, reset, sent_s, images):
            return
        rate = answer.headers.rate
        maybe_uncounted = self._sent - answered_before - images
        # An answer to an invalid request may name the end of a window which that request did not open.
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
        """Note that a request in flight was cancelled here; the server may have counted it."""
        self.in_flight -= 1
        self._images_in_flight -= images

    def state(self, now_s: float, *, held_s: float = 0.0) -> LaneState:
        """Return a snapshot for displays; `held_s` is the lane's wait for its error budget."""
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
        # A second refusal in a row, after the wait that the server named: its hints cannot be relied on.
        self._close(until_s, sent_s, now_s, patient=self._setbacks > 0 or until_s <= now_s)

    def _day_is_spent(self, answer: Answer, reset: ResetTime | None, sent_s: float, images: int) -> bool:
        """Return whether a refusal asks for a wait far longer than a window; then it is about the day."""
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
        if sent_s > self._closed_s:  # else it was in flight when the gate closed: no news
            self._setbacks += 1
            self._closed_s = now_s
            if patient:
                until_s = max(until_s, now_s + self._backoff.wait_s(self._setbacks, self._rng))
        self.gate.close(until_s, now_s)
