"""An image API of many kinds in simulated time, with the sandbox's own arithmetic of windows."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import TYPE_CHECKING, Literal

from venice_batch.sandbox.limits import (
    ErrorBudget,
    FailureBlock,
    open_window,
    rate_headers,
    retry_after,
    uses_error_budget,
)

if TYPE_CHECKING:
    import random

    from venice_batch.sandbox.limits import QuotaState, Window
    from venice_batch.sandbox.settings import ResetForm, WindowKind

HeaderKind = Literal["all", "retry-after", "none"]


@dataclass(frozen=True, slots=True)
class Latency:
    """How long an image takes: `low_s` to `high_s` evenly, or log-normally about `low_s` (its median)."""

    low_s: float
    high_s: float | None = None
    sigma: float = 0.0

    def draw(self, rng: random.Random) -> float:
        if self.sigma:
            return self.low_s * math.exp(rng.gauss(0.0, self.sigma))
        return self.low_s if self.high_s is None else rng.uniform(self.low_s, self.high_s)

    @property
    def mean_s(self) -> float:
        if self.sigma:
            return self.low_s * math.exp(self.sigma**2 / 2)
        return self.low_s if self.high_s is None else (self.low_s + self.high_s) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRules:
    """What one simulated server does.

    `edges_apart_s`: how far the clocks of its front ends (which write Date) stand from the one that counts, at
    most. `resets_early_s`: how much too early the resets are that it names. `bad_uses_quota`: whether a request
    refused with 400 counts against the minute's quota. `older`: the rules of 2026-08, a block of everything after 20
    failures of any kind, resets in seconds; else those of 2026-10, an error budget of 50 client errors a model.
    """

    rpm: int = 20
    rpd: int = 0
    minute_s: float = 60.0
    window: WindowKind = "fixed"
    headers: HeaderKind = "all"
    latency: Latency = Latency(8.0)
    capacity: int = 0
    fault_rate: float = 0.0
    bad_uses_quota: bool = False
    edges_apart_s: float = 0.0
    resets_early_s: float = 0.0
    older: bool = False


@dataclass(frozen=True, slots=True)
class Served:
    """What comes of one request: the answer leaves the server `takes_s` after the request's arrival."""

    lane: str
    status: int
    message: str
    headers: dict[str, str]
    takes_s: float
    holds_place: bool = False
    counts_as_failure: bool = True


@dataclass(slots=True)
class Tally:
    """What the server has seen."""

    counts: Counter[str] = field(default_factory=Counter)
    refused_at_s: list[float] = field(default_factory=list)
    admitted: Counter[str] = field(default_factory=Counter)
    last_admitted_s: float = 0.0


_REFUSED_IN_S = 0.01
"""How long a server takes to say no."""


class SimulatedServer:
    """Answers requests by its rules; moments are seconds of the simulation, Unix time is `epoch_s` later."""

    def __init__(self, rules: ServerRules, rng: random.Random) -> None:
        self.rules = rules
        self.tally = Tally()
        self.epoch_s = 1_800_000_000 + rng.uniform(0.0, 3600.0)
        self._rng = rng
        self._windows: dict[str, list[Window]] = {}
        self._serving: Counter[str] = Counter()
        self._block = FailureBlock(20, rules.minute_s / 2, rules.minute_s / 2)
        self._budgets: dict[str, ErrorBudget] = {}

    def receive(self, now_s: float, lane: str, *, bad: bool = False, images: int = 1) -> Served:
        """One request for so many images arrives; `bad` ones are invalid."""
        rules, unix_s, counts = self.rules, self.epoch_s + now_s, self.tally.counts
        counts["requests"] += 1
        blocked_s = self._block.remaining_s(unix_s) if rules.older else self._budget(lane).remaining_s(unix_s)
        if blocked_s:
            counts["blocked"] += 1
            limit = 20 if rules.older else 50
            text = f"Too many failed attempts (> {limit}) resulting in a non-success status code."
            return Served(lane, 429, text, self._retry_after(blocked_s, unix_s), _REFUSED_IN_S, counts_as_failure=False)
        if bad and not rules.bad_uses_quota:
            return Served(lane, 400, "invalid", self._peek(lane, unix_s), _REFUSED_IN_S)
        for window in self._of(lane):
            state = window.acquire(unix_s, images)
            if not state.granted:
                self.tally.refused_at_s.append(now_s)
                counts["refused"] += 1
                headers = self._retry_after(state.reset_at - unix_s, unix_s)
                if rules.headers == "all":
                    headers |= self._rate_headers(state, unix_s)
                return Served(lane, 429, "Rate limit exceeded", headers, _REFUSED_IN_S)
        # As seen of servers, a success tells what was left of the error budget when its request came in.
        headers = {**self._peek(lane, unix_s), **self._budget_headers(lane, unix_s)}
        if bad:
            return Served(lane, 400, "invalid", headers, _REFUSED_IN_S)
        if rules.capacity and self._serving[lane] >= rules.capacity:
            counts["at_capacity"] += 1
            return Served(lane, 503, "The model is at capacity", headers, _REFUSED_IN_S)
        self._serving[lane] += 1
        self.tally.admitted[lane] += 1
        self.tally.last_admitted_s = now_s
        if rules.fault_rate and self._rng.random() < rules.fault_rate:
            counts["faults"] += 1
            return Served(lane, 500, "Inference processing failed", headers, rules.latency.draw(self._rng) / 2, True)
        return Served(lane, 200, "", headers, rules.latency.draw(self._rng), True)

    def leave(self, now_s: float, served: Served) -> dict[str, str]:
        """The answer goes out, dated; returns its headers."""
        unix_s = self.epoch_s + now_s
        if served.holds_place:
            self._serving[served.lane] -= 1
        if served.status >= 400 and served.counts_as_failure and self._is_blocking(served, unix_s):
            self.tally.counts["blocks"] += 1
        budget = {} if served.status < 300 else self._budget_headers(served.lane, unix_s)
        dated_s = unix_s + self._rng.uniform(-1.0, 1.0) * self.rules.edges_apart_s
        return {**served.headers, **budget, "Date": formatdate(int(dated_s), usegmt=True)}

    def listing(self, now_s: float) -> dict[str, str]:
        """The headers of a listing that the client asks for before its first request."""
        budget = {} if self.rules.older else ErrorBudget(50, self.rules.minute_s / 2).headers(self.epoch_s + now_s)
        return {**budget, "Date": formatdate(int(self.epoch_s + now_s), usegmt=True)}

    def _is_blocking(self, served: Served, unix_s: float) -> bool:
        if self.rules.older:
            return self._block.record_failure(unix_s)
        return uses_error_budget(served.status) and self._budget(served.lane).record_failure(unix_s)

    def _budget_headers(self, lane: str, unix_s: float) -> dict[str, str]:
        return {} if self.rules.older else self._budget(lane).headers(unix_s)

    def _budget(self, lane: str) -> ErrorBudget:
        if lane not in self._budgets:
            self._budgets[lane] = ErrorBudget(50, self.rules.minute_s / 2)
        return self._budgets[lane]

    def taken_by_others(self, now_s: float, lane: str) -> None:
        """Another program of the same user sends one request."""
        for window in self._of(lane):
            self.tally.counts["others"] += window.acquire(self.epoch_s + now_s).granted

    def _of(self, lane: str) -> list[Window]:
        if lane not in self._windows:
            rules = self.rules
            windows = self._windows[lane] = []
            if rules.rpm:
                windows.append(open_window(rules.window, rules.rpm, rules.minute_s, count_refused=False))
            if rules.rpd:
                windows.append(open_window("aligned", rules.rpd, 86_400.0, count_refused=False))
        return self._windows[lane]

    def _peek(self, lane: str, unix_s: float) -> dict[str, str]:
        if self.rules.headers != "all" or not self.rules.rpm:
            return {}
        return self._rate_headers(self._of(lane)[0].peek(unix_s), unix_s)

    def _rate_headers(self, state: QuotaState, unix_s: float) -> dict[str, str]:
        named = replace(state, reset_at=state.reset_at - self.rules.resets_early_s)
        form: ResetForm = "seconds" if self.rules.older else "ms"
        return rate_headers(named, unix_s, form, fine=self.rules.minute_s < 60)

    def _retry_after(self, wait_s: float, unix_s: float) -> dict[str, str]:
        form: Literal["none", "seconds"] = "none" if self.rules.headers == "none" else "seconds"
        return retry_after(max(0.0, wait_s), unix_s, form, fine=self.rules.minute_s < 60)
