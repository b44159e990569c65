"""When a server's count of requests starts anew, and how long its windows are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class ResetTime:
    """A window's end on the run's clock: not before `earliest_s`, surely by `latest_s`.

    `unix_s` is the same moment as the server named it, where it named one: two of them differ by exactly as much as
    the server means, whatever is known of its clock.
    """

    earliest_s: float
    latest_s: float
    unix_s: float | None = None

    @classmethod
    def at(cls, moment_s: float) -> ResetTime:
        """Return an end known exactly."""
        return cls(moment_s, moment_s)

    def is_apart_from(self, other: ResetTime, tolerance_s: float) -> bool:
        """Return whether both cannot be the same moment, even if each is off by half of `tolerance_s`."""
        return self.earliest_s > other.latest_s + tolerance_s or other.earliest_s > self.latest_s + tolerance_s

    def after(self, other: ResetTime) -> float:
        """Return the seconds from `other` to this end."""
        if self.unix_s is not None and other.unix_s is not None:
            return self.unix_s - other.unix_s
        return self.earliest_s - other.earliest_s


class WindowKind(Enum):
    """How the server counts, as far as its answers have shown."""

    UNKNOWN = "unknown"  # no reset time was ever sent
    UNCONFIRMED = "unconfirmed"  # a reset time has come, and none was lived through yet
    FIXED = "fixed"  # the whole quota comes back at once
    SLIDING = "sliding"  # bit by bit, as with a sliding window or a token bucket


class Period:
    """The window that is open at the server: since when, until when, and whether it ends all at once.

    A fixed window's reset stays where it is until it is reached, and the next lies a whole window later. A reset that
    moves otherwise belongs to a sliding window or a token bucket. Up to the first reset all look alike, hence
    `UNCONFIRMED`.

    `length_s` is the documented length at first. It grows as soon as a reset lies further ahead than that. It shrinks
    when a reset was reached, the next is nearer than `length_s`, and the server no longer counts requests that a window
    of `length_s` would hold; or, where windows glide, when resets are too near for windows of `length_s`.
    """

    TOLERANCE_S = 0.5

    def __init__(self, length_s: float) -> None:
        self.length_s = length_s
        self.kind = WindowKind.UNKNOWN
        self.opened_s = -math.inf
        self.first_s: float | None = None
        """When the first request of this window was sent; None if none was."""
        self._ends: ResetTime | None = None
        self._former: ResetTime | None = None
        self._reach_s = 0.0
        """From the first request of a window to its end, at most; a window is at least that long."""
        self._is_learnt = False
        self._margin_s = 0.0
        self._early_s = -math.inf

    @property
    def ends_s(self) -> float | None:
        """When the window is surely over; None if it has no known end, or none is open."""
        if self.kind in (WindowKind.UNKNOWN, WindowKind.SLIDING):
            return None
        if self._ends is not None:
            return self._ends.latest_s + self._margin_s
        # No answer has named an end yet, but a window that opens with its first request is as long as any.
        return None if self.first_s is None else self.first_s + self.length_s * 61 / 60

    @property
    def awaits_first_request(self) -> bool:
        """Whether an end has passed and nothing was sent since."""
        return self._former is not None and self.first_s is None

    @property
    def probe_until_s(self) -> float:
        """Until when only one request should go ahead, to meet a reset that was named too early."""
        if self._former is None or self._ends is not None or self.first_s is None or self.ends_s is None:
            return -math.inf
        return self.first_s + self.length_s / (150 if self._margin_s else 600)

    @property
    def _tolerance_s(self) -> float:
        return min(self.TOLERANCE_S, self.length_s / 16)

    @property
    def _least_s(self) -> float:
        """The shortest step from one end to the next that a window of `length_s` allows: both may be rounded up."""
        return self.length_s - 2 * self._tolerance_s - min(1.0, self.length_s / 10)

    def sent(self, now_s: float) -> None:
        """A request goes out, which may be the first of a window."""
        if self.first_s is None:
            self.first_s = now_s

    def advance(self, now_s: float) -> bool:
        """Return whether the window's end has passed since the last call; the next window is open then."""
        ends_s = self.ends_s
        if ends_s is None or ends_s > now_s:
            return False
        self._former = self._ends or ResetTime.at(ends_s)
        self.opened_s = ends_s
        self._ends = self.first_s = None
        return True

    def observe(self, reset: ResetTime, sent_s: float, *, now_s: float, forgot: bool = False) -> bool:
        """Learn from the answer to a request sent at `sent_s` that its window ends at `ends`.

        `forgot`: the server no longer counts requests that a sliding window of `length_s` would. Returns whether the
        server is a window further than was thought.
        """
        if self._former is not None and not reset.is_apart_from(self._former, self._tolerance_s):
            return False  # it was written before the server's window turned
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
        if turned:  # a little before the run's clock said so
            self._former = self._ends
            self.first_s = sent_s
            self.opened_s = min(sent_s, reset.earliest_s - self.length_s)
        self._ends = reset
        return turned

    def limit_length(self, within_s: float) -> None:
        """Learn that a gliding window is at most `within_s` long."""
        if self.kind is WindowKind.SLIDING and within_s < 0.9 * self.length_s:
            self.length_s, self._is_learnt = within_s, True

    def observe_early_end(self, reset: ResetTime, now_s: float) -> None:
        """A request sent after the last end was refused with the reset `ends`.

        If that is the same end, it was named too early, since it was rounded down or clocks of front ends
        differ: the window is still open for a moment, and from now on ends are taken to be later.
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
        """Learn of the end of a window that was over before the answer to a request sent at `sent_s` came.

        Where no answer has named this window's end yet, that is over with it: the answer says nothing of the next one.
        """
        if self._ends is None and self.opened_s <= sent_s < reset.latest_s:
            self.observe(reset, sent_s, now_s=now_s, forgot=forgot)

    def confirm_fixed(self) -> None:
        """The server has forgotten at an end what a sliding window would still count."""
        if self.kind is WindowKind.UNCONFIRMED and self._former is not None:
            self.kind = WindowKind.FIXED

    def _follows(self, reset: ResetTime, before: ResetTime, *, now_s: float, forgot: bool) -> bool:
        """Return whether `ends` may be the next end of a fixed window after `before`; learn a shorter length."""
        step_s = reset.after(before)
        # A request after a pause may have opened this window: the pause is no part of it.
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
    """Bounds on (server's Unix time - local monotonic time), drawn from answers' Date headers.

    A Date has whole seconds: an answer dated D, sent for at s and received at r, tells that the server's
    clock read at least D at r and at most D + 1 at s. The bounds of many answers narrow each other, as in
    Marzullo's algorithm, so that after a few answers a reset time is known to some tens of milliseconds,
    whatever either clock is set to. They widen again by `DRIFT` a second, since no two clocks run alike.
    """

    DRIFT = 1e-4
    """More than undisciplined quartz clocks differ (some 1e-5); NTP slews by up to 5e-4, but not for long."""

    def __init__(self) -> None:
        self._low = -math.inf
        self._high = math.inf
        self._moment_s = 0.0

    def observe(self, date_unix_s: float, sent_s: float, received_s: float) -> None:
        """Take one answer's Date into account."""
        low, high = date_unix_s - received_s, date_unix_s + 1.0 - sent_s
        widening = self.DRIFT * max(0.0, received_s - self._moment_s)
        self._moment_s = max(self._moment_s, received_s)
        self._low, self._high = self._low - widening, self._high + widening
        if low > self._high or high < self._low:
            # One of the clocks was set, or another server answers: what was known no longer holds.
            self._low, self._high = low, high
        else:
            self._low, self._high = max(low, self._low), min(high, self._high)

    def local(self, unix_s: float, *, rounded_s: float = 1.0) -> ResetTime | None:
        """When the server's clock reaches `unix_s`, itself rounded up by `rounded_s` at most.

        None before any answer.
        """
        if math.isinf(self._low):
            return None
        return ResetTime(unix_s - rounded_s - self._high, unix_s - self._low, unix_s)
