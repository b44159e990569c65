"""When a server's count of requests starts anew."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Ends:
    """A window's end on the run's clock: not before `earliest_s`, surely by `latest_s`."""

    earliest_s: float
    latest_s: float

    @classmethod
    def at(cls, moment_s: float) -> Ends:
        """An end known exactly."""
        return cls(moment_s, moment_s)

    def is_apart_from(self, other: Ends, tolerance_s: float) -> bool:
        """Whether both cannot be the same moment, even if each is off by half of `tolerance_s`."""
        return self.earliest_s > other.latest_s + tolerance_s or other.earliest_s > self.latest_s + tolerance_s


class Kind(Enum):
    """How the server counts, as far as its answers have shown."""

    UNSEEN = "unseen"  # no reset time was ever sent
    GUESSED = "guessed"  # a reset time has come, and none was lived through yet
    PERIODIC = "periodic"  # the whole quota comes back at once
    GLIDING = "gliding"  # bit by bit, as with a sliding window or a token bucket


class Period:
    """The window that is open at the server: since when, until when, and whether it ends all at once.

    A fixed window's reset stays where it is until it is reached, and the next lies a whole window later. A
    reset that moves otherwise belongs to a sliding window or a token bucket. Up to the first reset all look
    alike, hence `GUESSED`.
    """

    TOLERANCE_S = 0.5

    def __init__(self, length_s: float) -> None:
        self.length_s = length_s
        self._tolerance_s = min(self.TOLERANCE_S, length_s / 16)
        self._longest_margin_s = length_s / 30
        self.kind = Kind.UNSEEN
        self.opened_s = -math.inf
        self._ends: Ends | None = None
        self._former: Ends | None = None
        self._first_s: float | None = None
        self._margin_s = 0.0
        self._early_s = -math.inf

    @property
    def ends_s(self) -> float | None:
        """When the window is surely over; None if it has none that is known of, or none is open."""
        if self.kind in (Kind.UNSEEN, Kind.GLIDING):
            return None
        if self._ends is not None:
            return self._ends.latest_s + self._margin_s
        # No answer has told yet, but a window that opens with its first request is as long as any.
        return None if self._first_s is None else self._first_s + self.length_s * 61 / 60

    @property
    def is_untried(self) -> bool:
        """Whether an end has passed and nothing was sent since."""
        return self._former is not None and self._first_s is None

    @property
    def scouted_s(self) -> float:
        """Until when only one request should go ahead, to meet a reset that was named too early."""
        if self._former is None or self._ends is not None or self._first_s is None or self.ends_s is None:
            return -math.inf
        return self._first_s + self.length_s / (150 if self._margin_s else 600)

    def sent(self, now_s: float) -> None:
        """A request goes out, which may be the first of a window."""
        if self._first_s is None:
            self._first_s = now_s

    def turned(self, now_s: float) -> bool:
        """Whether the window's end has passed since this was asked last; the next one is open then."""
        ends_s = self.ends_s
        if ends_s is None or ends_s > now_s:
            return False
        self._former = self._ends or Ends.at(ends_s)
        self.opened_s = ends_s
        self._ends = self._first_s = None
        return True

    def observe(self, ends: Ends, sent_s: float) -> bool:
        """The answer to a request sent at `sent_s` names its window's end.

        Returns whether the server is a window further than was thought.
        """
        if self.kind is Kind.GLIDING:
            return False
        if self._former is not None and not ends.is_apart_from(self._former, self._tolerance_s):
            return False  # it was written before the server's window turned
        if self.kind is Kind.UNSEEN:
            self.kind = Kind.GUESSED
        if self._ends is not None and not ends.is_apart_from(self._ends, self._tolerance_s):
            latest_s = min(ends.latest_s, self._ends.latest_s)
            self._ends = Ends(min(latest_s, max(ends.earliest_s, self._ends.earliest_s)), latest_s)
            return False
        before = self._ends or self._former
        # Each of both may be rounded up by another part of a second.
        least_s = self.length_s - 2 * self._tolerance_s - min(1.0, self.length_s / 10)
        if before is not None and ends.earliest_s < before.earliest_s + least_s:
            self.kind = Kind.GLIDING
            self.opened_s = -math.inf
            return False
        turned = self._ends is not None
        if turned:  # a little before the run's clock said so
            self._former = self._ends
            self._first_s = sent_s
            self.opened_s = min(sent_s, ends.earliest_s - self.length_s)
        self._ends = ends
        return turned

    def came_early(self, ends: Ends, now_s: float) -> None:
        """A request sent after the last end was refused with the reset `ends`.

        If that is the same end, it was named too early, since it was rounded down or clocks of front ends
        differ: the window is still open for a moment, and from now on ends are taken to be later.
        """
        if self._former is None or self.kind in (Kind.UNSEEN, Kind.GLIDING) or self._early_s == self.opened_s:
            return
        if ends.is_apart_from(self._former, self._tolerance_s) or self.opened_s + self.length_s / 20 < now_s:
            return
        self._early_s = self.opened_s
        self._margin_s = min(self._longest_margin_s, max(self.length_s / 120, 2 * self._margin_s))
        self._ends = Ends.at(max(now_s, ends.latest_s))

    def came_late(self, ends: Ends, sent_s: float) -> None:
        """A request sent at `sent_s` was refused with the reset `ends`, which passed while the answer was on its way.

        Where no answer has told this window's end yet, that is over with it: the refusal says nothing of the next one.
        """
        if self._ends is None and self.opened_s <= sent_s < ends.latest_s:
            self.observe(ends, sent_s)

    def confirm(self) -> None:
        """The server has forgotten at an end what a sliding window would still count."""
        if self.kind is Kind.GUESSED and self._former is not None:
            self.kind = Kind.PERIODIC
