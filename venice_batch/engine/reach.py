"""When an API that does not answer is given up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds of failing to connect before the run stops.

    `first_s`, when it never connected: more likely a wrong address than an outage. `later_s`, after it had:
    long enough for a router or a gateway to restart.
    """

    first_s: float = 15.0
    later_s: float = 120.0


class Reach:
    """Watches connections come about or not, over all lanes."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._ever = False
        self._lost_since_s: float | None = None

    def note(self, now_s: float, *, reached: bool) -> str | None:
        """Take one attempt into account; returns what to tell the user once the API is to be given up."""
        if reached:
            self._ever, self._lost_since_s = True, None
            return None
        if self._lost_since_s is None:
            self._lost_since_s = now_s
        limit_s = self._patience.later_s if self._ever else self._patience.first_s
        if now_s - self._lost_since_s < limit_s:
            return None
        return "run the same command again when it can" if self._ever else "is the address right?"
