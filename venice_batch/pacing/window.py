"""What is left of a lane's quota."""

from __future__ import annotations

import math
from collections import deque
from enum import IntEnum


class Source(IntEnum):
    """Where a limit comes from; a later member overrules an earlier one."""

    NONE = 0
    ADVERTISED = 1  # by the rate-limit listing, or by the user
    LEARNED = 2  # from a refusal that named no limit
    HEADER = 3


class Window:
    """Counts requests against "so many in `length_s` seconds", whichever way the server counts.

    Two ways of counting, chosen by what the server lets see:

    - *fixed*: once a window's end is known (a reset header, or `Retry-After` on a refusal), the quota is
      whole again at that moment and used at once.
    - *span*: before that, or when reset times move about as in a sliding window or a token bucket, no span
      of `length_s` holds more than the quota. This is safe for all three kinds of server, since each
      of them lets so many through in any such span.

    A limit that had to be learnt from a refusal may be too low (another program may have used the rest), so
    it is tried again: one request beyond it, alone, after ever more windows as long as it is refused.

    Methods take the moment on the run's clock; they wait for nothing.
    """

    EDGE_S = 0.25
    """A request sent so short before a reset may be counted after it."""
    RAREST_TRIAL = 16
    """Windows between trials of one more than was learnt, at most."""

    def __init__(self, length_s: float = 60.0, limit: int | None = None, cap: int | None = None) -> None:
        self.length_s = length_s
        self._cap = cap
        self._limit = limit
        self._source = Source.NONE if limit is None else Source.ADVERTISED
        self._fixed = False
        self._moves = 0
        self._ends_s: float | None = None
        self._opened_s = -math.inf
        self._first_s: float | None = None
        self._used = 0
        self._others = 0
        self._others_until_s = math.inf
        self._log: deque[float] = deque()
        self._trial_s: float | None = None
        self._trial_wait_s = length_s
        self._trial_from_s = math.inf

    @property
    def limit(self) -> int | None:
        """Requests a window as far as known."""
        if self._cap is None:
            return self._limit
        return self._cap if self._limit is None else min(self._cap, self._limit)

    @property
    def source(self) -> Source:
        return self._source

    def set_end(self, ends_s: float) -> None:
        """The present window is known to end at `ends_s`."""
        self._fixed, self._ends_s = True, ends_s

    def left(self, now_s: float) -> float:
        """Requests that may still be sent in this window; infinity when no limit is known."""
        self._advance(now_s)
        limit = self.limit
        return math.inf if limit is None else limit - self._taken - self._others

    def wait_s(self, now_s: float) -> float:
        """Seconds until one more request is within the quota; 0 when it is now."""
        if self.left(now_s) > 0 or self._may_try(now_s):
            return 0.0
        slack = self.length_s / 60
        if self._fixed:
            if self._ends_s is not None:
                return max(0.0, self._ends_s - now_s)
            opened = now_s if self._first_s is None else self._first_s
            return max(0.0, opened + self.length_s + slack - now_s)
        if self._log:
            return max(0.0, self._log[0] + self.length_s + slack - now_s)
        return max(0.0, self._others_until_s - now_s) if self._others else self.length_s

    def sent(self, now_s: float) -> None:
        """One request goes out."""
        if self.left(now_s) <= 0:
            self._trial_s = now_s
        if self._first_s is None:
            self._first_s = now_s
        self._used += 1
        self._log.append(now_s)

    def accepted(self, sent_s: float) -> None:
        """The request sent at `sent_s` was within the quota."""
        if sent_s == self._trial_s and self._limit is not None:
            self._trial_s = None
            self._limit += 1

    def refused(self, sent_s: float, now_s: float, retry_after_s: float | None) -> bool:
        """The request sent at `sent_s` was over the quota; call `observed` for its headers first.

        Returns whether that came as a surprise: neither a trial nor explained by a limit in a header.
        """
        self._advance(now_s)
        if sent_s in self._log:
            self._log.remove(sent_s)
        if sent_s >= self._opened_s:
            self._used = max(0, self._used - 1)
        if retry_after_s and (self._source is not Source.HEADER or self._ends_s is None):
            self.set_end(now_s + retry_after_s)
        if self._source is Source.HEADER:
            # Others were quicker: the header's own count may be older than this refusal.
            if sent_s >= self._opened_s and self._limit is not None:
                self._note_others(self._limit - self._taken, now_s)
            return False
        trial, self._trial_s = sent_s == self._trial_s, None
        if trial:
            self._trial_wait_s = min(self.RAREST_TRIAL * self.length_s, 2 * self._trial_wait_s)
        elif self._limit is None or self._taken < self._limit:
            self._limit = max(1, self._taken)
            self._source = Source.LEARNED
        # Half a window early, so that the trial falls into the window meant and not after it.
        self._trial_from_s = now_s + self._trial_wait_s - self.length_s / 2
        return not trial

    def observed(
        self, limit: int | None, remaining: int | None, ends_s: float | None, sent_s: float, now_s: float
    ) -> None:
        """Take an answer's headers into account; `ends_s` is the reset on the run's clock, if known."""
        self._advance(now_s)
        if limit is not None and limit > 0:
            self._limit, self._source = limit, Source.HEADER
        if sent_s < self._opened_s or (ends_s is not None and ends_s <= now_s):
            return  # it speaks of a window that is over
        if ends_s is not None:
            self._observe_end(ends_s)
        if remaining is not None and self._limit is not None:
            self._note_others(self._limit - remaining - self._taken, now_s)

    @property
    def _taken(self) -> int:
        return self._used if self._fixed else len(self._log)

    def _may_try(self, now_s: float) -> bool:
        return (
            self._source is Source.LEARNED
            and (self._cap is None or self._taken < self._cap)
            and self._trial_s is None
            and now_s >= self._trial_from_s
        )

    def _note_others(self, used: int, now_s: float) -> None:
        if used > self._others:
            self._others = used
            self._others_until_s = now_s + self.length_s

    def _observe_end(self, ends_s: float) -> None:
        # Dates have whole seconds and answers take their time, so one moment is seen as several.
        tolerance_s = min(2.0, self.length_s / 4)
        if self._ends_s is None:
            self._ends_s = ends_s
            self._fixed = self._moves < 2
        elif abs(ends_s - self._ends_s) <= tolerance_s:
            self._ends_s = min(self._ends_s, ends_s)
        else:
            self._moves += 1
            self._ends_s = ends_s
            # A window's end that moves before it is reached is no window's end.
            self._fixed = self._moves < 2

    def _advance(self, now_s: float) -> None:
        while self._log and self._log[0] + self.length_s + self.length_s / 60 <= now_s:
            self._log.popleft()
        if self._others and self._others_until_s <= now_s:
            self._others = 0
        if not self._fixed:
            if self._ends_s is not None and self._ends_s <= now_s:
                self._ends_s = None
            return
        ends_s = self._ends_s
        if ends_s is None and self._first_s is not None:
            ends_s = self._first_s + self.length_s + self.length_s / 60
        if ends_s is not None and ends_s <= now_s:
            recent = [sent for sent in self._log if sent > ends_s - min(self.EDGE_S, self.length_s / 60)]
            self._used = len(recent)
            self._first_s = recent[0] if recent else None
            self._others = 0
            self._opened_s = ends_s
            self._ends_s = None
