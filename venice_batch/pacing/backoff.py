"""How long to wait after a failure that comes without a hint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter: uniform in [0, min(cap, base * 2^(n-1))].

    LimitSource: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. The defaults wait
    half a second at first on average, and never over half a minute.
    """

    base_s: float = 1.0
    cap_s: float = 30.0

    def wait_s(self, attempt: int, rng: random.Random) -> float:
        """Seconds to wait after the `attempt`-th failure, counted from 1."""
        # The exponent is bounded so that no number of attempts overflows a float.
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 60))
        return rng.uniform(0.0, ceiling)
