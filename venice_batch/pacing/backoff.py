"""How long to wait after a failure without a hint from the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter: after the n-th failure, uniform in [0, min(cap_s, base_s * 2^(n-1))].

    With the defaults the first wait is half a second on average, and no wait is longer than half a minute. Source:
    M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    base_s: float = 1.0
    cap_s: float = 30.0

    def wait_s(self, attempt: int, rng: random.Random) -> float:
        """Return the seconds to wait after failure number `attempt`, counted from 1."""
        # The exponent is bounded so that no number of attempts overflows a float.
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 60))
        return rng.uniform(0.0, ceiling)
