"""Where the server's clock stands against ours."""

from __future__ import annotations

import math

from venice_batch.pacing.period import Ends


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

    def local(self, unix_s: float, *, rounded_s: float = 1.0) -> Ends | None:
        """When the server's clock reaches `unix_s`, itself rounded up by `rounded_s` at most.

        None before any answer.
        """
        if math.isinf(self._low):
            return None
        return Ends(unix_s - rounded_s - self._high, unix_s - self._low, unix_s)
