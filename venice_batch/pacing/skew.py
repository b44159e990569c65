"""Where the server's clock stands against ours."""

from __future__ import annotations

import math


class ClockSkew:
    """Bounds on (server's Unix time - local monotonic time), drawn from answers' Date headers.

    A Date has whole seconds: an answer dated D, sent for at s and received at r, tells that the server's
    clock read at least D at r, at most D + 1 at s. The bounds of many answers narrow each other, as in
    Marzullo's algorithm, so that after a few answers a reset time is known to some tens of milliseconds,
    whatever either clock is set to.
    """

    def __init__(self) -> None:
        self._low = -math.inf
        self._high = math.inf

    def observe(self, date_unix_s: float, sent_s: float, received_s: float) -> None:
        """Take one answer's Date into account."""
        low, high = date_unix_s - received_s, date_unix_s + 1.0 - sent_s
        if low > self._high or high < self._low:
            # One of the clocks was set, or another server answers: what was known no longer holds.
            self._low, self._high = low, high
        else:
            self._low, self._high = max(low, self._low), min(high, self._high)

    def local_s(self, unix_s: float) -> float | None:
        """The local moment by which the server's clock has surely reached `unix_s`; None before any answer."""
        return None if math.isinf(self._low) else unix_s - self._low
