"""A lane's shared "nobody sends before T"."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random


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
        self._herd_s = 0.0

    def close(self, until_s: float, now_s: float) -> None:
        """Nobody passes before `until_s`; an earlier moment than already set changes nothing."""
        if until_s > max(now_s, self._opens_s):
            self._opens_s = until_s
            self._next_s = until_s + self._rng.uniform(0.0, self._spread_s)
            self._herd_s = until_s + 20 * self._spread_s

    def wait_s(self, now_s: float) -> float:
        """Seconds until one may pass; 0 when it may now."""
        return max(0.0, self._opens_s - now_s, self._next_s - now_s)

    def passed(self, now_s: float) -> None:
        """One went through at `now_s`."""
        if now_s < self._herd_s:
            self._next_s = now_s + self._rng.uniform(0.0, self._spread_s)

    @property
    def opens_s(self) -> float:
        """The moment until which it is, or was last, closed."""
        return self._opens_s
