"""When a server's window resets, how long it is, and how the server's clock relates to the run's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class ResetTime:
    """The end of a server's window on the run's clock: at some moment from `earliest_s` to `latest_s`.

    `unix_s` is the same moment as the server named it, if it did. The difference of two such values is exact, however
    little is known of the server's clock.
    """

    earliest_s: float
    latest_s: float
    unix_s: float | None = None

    @classmethod
    def at(cls, moment_s: float) -> ResetTime:
        """Return an exactly known reset time."""
        return cls(moment_s, moment_s)

    def is_apart_from(self, other: ResetTime, tolerance_s: float) -> bool:
        """Return whether the two cannot be the same moment, even if each is off by half of `tolerance_s`."""
        return self.earliest_s > other.latest_s + tolerance_s or other.earliest_s > self.latest_s + tolerance_s

    def after(self, other: ResetTime) -> float:
        """Return the seconds from `other` to this one."""
        if self.unix_s is not None and other.unix_s is not None:
            return self.unix_s - other.unix_s
        return self.earliest_s - other.earliest_s


class WindowKind(Enum):
    """How the server counts, as far as its answers have shown."""

    UNKNOWN = "unknown"  # no reset time has come yet
    UNCONFIRMED = "unconfirmed"  # a reset time has come, but has not shown what it gives back
    FIXED = "fixed"  # the whole quota comes back at once
    SLIDING = "sliding"  # the quota comes back bit by bit, as in a sliding window or a token bucket


class Period:
    """The window that is open at the server: its start, its end, its length and its kind.

    How the kind is recognised: the reset time of a fixed window stays the same until it is reached, and the next one
    is a whole window later. Reset times that move in any other way belong to a sliding window or a token bucket. Until
    the first reset they all look alike, hence `UNCONFIRMED`.

    How the length is learnt: `length_s` begins as the documented length. It grows when a reset time is further ahead.
    It shrinks in two cases:

    - A reset has passed, the next one is nearer than `length_s`, and the server no longer counts requests that a window
      of `length_s` would still contain.
    - The window slides, and its reset times are too near for `length_s`.

    `opened_s` is when the present window opened (-infinity: unknown, or it slides).
    """

    TOLERANCE_S = 0.5

    def __init__(self, length_s: float) -> None:
        self.length_s = length_s
        self.kind = WindowKind.UNKNOWN
        self.opened_s = -math.inf
        self.first_s: float | None = None
        """When this window's first request was sent; None before that."""
        self._ends: ResetTime | None = None
        self._former: ResetTime | None = None
        self._reach_s = 0.0
        """Time from a window's first request to its end; a window is at least that long."""
        self._is_learnt = False
        self._margin_s = 0.0
        self._early_s = -math.inf

    @property
    def ends_s(self) -> float | None:
        """The moment by which the window has certainly ended; None if its end is unknown or no window is open."""
        if self.kind in (WindowKind.UNKNOWN, WindowKind.SLIDING):
            return None
        if self._ends is not None:
            return self._ends.latest_s + self._margin_s
        # No answer has named an end yet. A window that opens with its first request lasts longest.
        return None if self.first_s is None else self.first_s + self.length_s * 61 / 60

    @property
    def awaits_first_request(self) -> bool:
        """Whether a window has ended and nothing was sent since."""
        return self._former is not None and self.first_s is None

    @property
    def probe_until_s(self) -> float:
        """The moment until which only one request may be sent after a reset, in case the reset was named too early."""
        if self._former is None or self._ends is not None or self.first_s is None or self.ends_s is None:
            return -math.inf
        return self.first_s + self.length_s / (150 if self._margin_s else 600)

    @property
    def _tolerance_s(self) -> float:
        return min(self.TOLERANCE_S, self.length_s / 16)

    @property
    def _least_s(self) -> float:
        """The shortest time between two resets that a window of `length_s` allows, since both may be rounded up."""
        return self.length_s - 2 * self._tolerance_s - min(1.0, self.length_s / 10)

    def sent(self, now_s: float) -> None:
        """Note that a request is sent now; it may be a window's first."""
        if self.first_s is None:
            self.first_s = now_s

    def advance(self, now_s: float) -> bool:
        """Begin the next window if this one has ended; return whether it had."""
        ends_s = self.ends_s
        if ends_s is None or ends_s > now_s:
            return False
        self._former = self._ends or ResetTime.at(ends_s)
        self.opened_s = ends_s
        self._ends = self.first_s = None
        return True

    def observe(self, reset: ResetTime, sent_s: float, *, now_s: float, forgot: bool = False) -> bool:
        """Learn from the answer to the request sent at `sent_s` that its window ends at `reset`.

        `forgot` says that the server no longer counts requests that a sliding window of `length_s` would count. Return
        whether this shows that the server has begun a new window earlier than expected.
        """
        if self._former is not None and not reset.is_apart_from(self._former, self._tolerance_s):
            return False  # the answer was written before the server's new window began
        if reset.earliest_s - sent_s > self.length_s * 1.1 + 2 * self._tolerance_s:
            self.length_s, self._is_learnt = reset.earliest_s - sent_s, True
        if self.kind is WindowKind.SLIDING:
            return False
        if self.kind is WindowKind.UNKNOWN:
            self.kind = WindowKind.UNCONFIRMED
        if self._ends is not None and not reset.is_apart_from(self._ends, self._tolerance_s):
            latest_s = min(reset.latest_s, self._ends.latest_s)
            earliest_s = min(latest_s, max(reset.earliest_s, self._ends.earliest_s))
            self._reach_s -= self._ends.latest_s - latest_s
            self._ends = ResetTime(earliest_s, latest_s, self._ends.unix_s)
            return False
        before = self._ends or self._former
        if before is not None and not self._follows(reset, before, now_s=now_s, forgot=forgot):
            self.kind = WindowKind.SLIDING
            self.opened_s = -math.inf
            return False
        self._reach_s = reset.latest_s - (sent_s if self.first_s is None else min(self.first_s, sent_s))
        turned = self._ends is not None
        if turned:  # a little earlier than on the run's clock
            self._former = self._ends
            self.first_s = sent_s
            self.opened_s = min(sent_s, reset.earliest_s - self.length_s)
        self._ends = reset
        return turned

    def limit_length(self, within_s: float) -> None:
        """Learn that a sliding window is at most `within_s` long."""
        if self.kind is WindowKind.SLIDING and within_s < 0.9 * self.length_s:
            self.length_s, self._is_learnt = within_s, True

    def observe_early_end(self, reset: ResetTime, now_s: float) -> None:
        """Learn that a request sent after the last end was refused with the reset time `reset`.

        If that is the same end, the server named it too early: it rounds down, or its front ends' clocks differ. So the
        window is still open for a moment, and from now on a margin is added to every end.
        """
        if (
            self._former is None
            or self.kind in (WindowKind.UNKNOWN, WindowKind.SLIDING)
            or self._early_s == self.opened_s
        ):
            return
        if reset.is_apart_from(self._former, self._tolerance_s) or self.opened_s + self.length_s / 20 < now_s:
            return
        self._early_s = self.opened_s
        self._margin_s = min(self.length_s / 30, max(self.length_s / 120, 2 * self._margin_s))
        self._ends = ResetTime.at(max(now_s, reset.latest_s))

    def observe_past_end(self, reset: ResetTime, sent_s: float, *, now_s: float, forgot: bool = False) -> None:
        """Learn that the window of the request sent at `sent_s` had ended before its answer came.

        If no answer has named the end of the present window yet, this is that end. It says nothing of the next window.
        """
        if self._ends is None and self.opened_s <= sent_s < reset.latest_s:
            self.observe(reset, sent_s, now_s=now_s, forgot=forgot)

    def confirm_fixed(self) -> None:
        """Learn that the server forgot, at a reset, requests that a sliding window would still count."""
        if self.kind is WindowKind.UNCONFIRMED and self._former is not None:
            self.kind = WindowKind.FIXED

    def _follows(self, reset: ResetTime, before: ResetTime, *, now_s: float, forgot: bool) -> bool:
        """Return whether `reset` can be the next end of a fixed window after `before`; learn a shorter length."""
        step_s = reset.after(before)
        # A request after a pause may have opened this window; the pause does not belong to it.
        own_s = step_s - max(0.0, (self.first_s or 0.0) - before.latest_s) if self._ends is None else step_s
        if step_s >= self._least_s and not (self._is_learnt and own_s < self.length_s):
            return True
        reached = self._ends is None or now_s >= before.earliest_s
        is_whole = step_s >= self._reach_s - 1.0 - 2 * self._tolerance_s
        if step_s < self._least_s and not (reached and forgot and is_whole):
            return False
        self.length_s, self._is_learnt = min(self.length_s, max(own_s, self._reach_s)), True
        return True


class ClockSkew:
    """The difference between the server's Unix time and the run's clock, as bounds from answers' Date headers.

    A Date is in whole seconds. If a request was sent at s and its answer, dated D, was received at r, the server's
    clock showed at least D at r, and at most D + 1 at s. Each answer narrows the bounds, as in Marzullo's algorithm:
    after a few, a reset time is known within some tens of milliseconds, however either clock is set. The bounds widen
    by `DRIFT` per second, since no two clocks run at the same rate.
    """

    DRIFT = 1e-4
    """More than free-running quartz clocks differ (about 1e-5); NTP slews by up to 5e-4, but not for long."""

    def __init__(self) -> None:
        self._low = -math.inf
        self._high = math.inf
        self._moment_s = 0.0

    def observe(self, date_unix_s: float, sent_s: float, received_s: float) -> None:
        """Learn from one answer's Date."""
        low, high = date_unix_s - received_s, date_unix_s + 1.0 - sent_s
        widening = self.DRIFT * max(0.0, received_s - self._moment_s)
        self._moment_s = max(self._moment_s, received_s)
        self._low, self._high = self._low - widening, self._high + widening
        if low > self._high or high < self._low:
            # One of the clocks was set, or another server answers: the earlier bounds no longer hold.
            self._low, self._high = low, high
        else:
            self._low, self._high = max(low, self._low), min(high, self._high)

    def local(self, unix_s: float, *, rounded_s: float = 1.0) -> ResetTime | None:
        """Return when the server's clock reaches `unix_s`, a value rounded up by at most `rounded_s`.

        Return None before the first answer.
        """
        if math.isinf(self._low):
            return None
        return ResetTime(unix_s - rounded_s - self._high, unix_s - self._low, unix_s)
