"""How many failures a run may still afford before the API blocks its user."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BlockRule:
    """The API's rule: more than `failures` failed requests in `window_s` seconds block the user.

    Source: the API's rate-limit page (20 in 30 s, any status that is no success). `margin` keeps a few in
    hand for what other programs of the same user do. `failures` 0 means that the server has no such rule.
    """

    failures: int = 20
    window_s: float = 30.0
    margin: int = 2
    block_s: float = 30.0

    @property
    def affordable(self) -> int:
        """How many may have failed or be under way at any time; at least 1, else nothing could be sent."""
        return max(1, self.failures - self.margin)


class FailureBudget:
    """Counts every request under way as if it were to fail.

    Hence, whatever the answers are, no `window_s` seconds hold more failures than `rule.affordable`: all
    failures of such a span were either known or under way when the last of them was sent.
    """

    def __init__(self, rule: BlockRule) -> None:
        self.rule = rule
        self._failed: deque[float] = deque()
        self._under_way = 0

    def wait_s(self, now_s: float) -> float:
        """Seconds until one more may be sent; 0 now, infinity while only an answer can help."""
        if not self.rule.failures:
            return 0.0
        self._expire(now_s)
        excess = len(self._failed) + self._under_way + 1 - self.rule.affordable
        if excess <= 0:
            return 0.0
        if excess > len(self._failed):
            return float("inf")
        return self._failed[excess - 1] + self.rule.window_s - now_s

    def sent(self) -> None:
        """One request goes out."""
        self._under_way += 1

    def answered(self, now_s: float, *, failed: bool) -> None:
        """One request has come back, or was given up."""
        self._under_way -= 1
        if failed and self.rule.failures:
            self._failed.append(now_s)

    def recent_failures(self, now_s: float) -> int:
        """Failures within the rule's window."""
        self._expire(now_s)
        return len(self._failed)

    def _expire(self, now_s: float) -> None:
        # "<" and not "<=": a failure exactly one window old may still count at the server.
        while self._failed and self._failed[0] + self.rule.window_s < now_s:
            self._failed.popleft()
