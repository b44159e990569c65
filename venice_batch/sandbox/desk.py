"""Admission of requests: who may come in, what is charged, what goes wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from venice_batch.sandbox import moderation, refusal
from venice_batch.sandbox.failure_block import FailureBlock
from venice_batch.sandbox.faults import FaultPicker
from venice_batch.sandbox.ledger import Ledger
from venice_batch.sandbox.order import Order
from venice_batch.sandbox.prices import price_micro_usd
from venice_batch.sandbox.rate_headers import rate_headers, retry_after
from venice_batch.sandbox.refusal import Refusal
from venice_batch.sandbox.retouch import Retouch
from venice_batch.sandbox.windows import FixedWindow, Verdict, Window, open_window

if TYPE_CHECKING:
    from venice_batch.sandbox.settings import SandboxSettings
    from venice_batch.sandbox.stats import Stats

Work = Order | Retouch
MINUTE_S = 60.0
DAY_S = 86_400.0
UNAUTHORIZED = Refusal(401, "Authentication failed")
INSUFFICIENT = Refusal(402, "Insufficient USD or Diem balance to complete request", code="INSUFFICIENT_BALANCE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One admitted order: it holds a place of its model and its price until `Desk.settle`."""

    order: Work
    price_micro_usd: int
    balance_before_usd: float
    fault: str
    adult: bool
    violation: bool


class Desk:
    """All rules that a paid request passes, in the API's order; times are Unix time in seconds.

    One sandbox is one account: windows and balance are shared by all keys, as the API shares them among the
    keys of one user. The block for failures goes by key.
    """

    def __init__(self, settings: SandboxSettings, stats: Stats) -> None:
        self._settings = settings
        self._stats = stats
        self.ledger = Ledger(settings.balance_usd)
        self._faults = FaultPicker(settings)
        self._serving: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        """Forget all windows and blocks; balance and the sequence of faults stay."""
        self._windows: dict[str, tuple[Window, ...]] = {}
        self._blocks: dict[str, FailureBlock] = {}
        self.ledger.forget_charges()

    def knock(self, key: str | None, now: float) -> Refusal | None:
        """Return the refusal of a bad key or a blocked one; None lets the request in."""
        if not key or not self.knows(key):
            return UNAUTHORIZED
        wait_s = self._block(key).remaining_s(now)
        if not wait_s:
            return None
        self._stats.count("blocked")
        text = refusal.BLOCKED.format(limit=self._settings.failure_limit, wait=f"{self._settings.block_s:g}")
        return Refusal(429, text, headers=self._retry_after(wait_s, now))

    def admit(self, order: Work, now: float) -> Ticket | Refusal:
        """Use quota, a place and money for an order, or return why not.

        A ticket must be given to `settle` once.
        """
        model_id = order.model_id
        self._stats.seen(model_id)
        refused = self._tier(model_id) or self._rate(model_id, now)
        if refused:
            return refused
        opinion = moderation.judge(order.prompt)
        if opinion.refusal:
            return opinion.refusal
        if self._settings.capacity and self._serving[model_id] >= self._settings.capacity:
            self._stats.count("at_capacity")
            hint = self._settings.retry_after_503_s
            return Refusal(503, refusal.AT_CAPACITY, headers={"Retry-After": f"{hint:g}"} if hint else {})
        balance = self.ledger.balance_usd
        price = order.price_micro_usd if isinstance(order, Retouch) else price_micro_usd(order)
        if not self.ledger.reserve(price):
            return INSUFFICIENT
        self._serving[model_id] += 1
        return Ticket(
            order=order,
            price_micro_usd=price,
            balance_before_usd=balance,
            fault=self._faults.next(),
            adult=opinion.adult,
            violation=opinion.violation,
        )

    def settle(self, ticket: Ticket, *, charged: bool) -> None:
        """Free the place of an order; make its price final or give it back."""
        self._serving[ticket.order.model_id] -= 1
        (self.ledger.charge if charged else self.ledger.give_back)(ticket.price_micro_usd)

    def record_failure(self, key: str | None, now: float) -> None:
        """Note an answer that was no success, for the block of its key."""
        if key and self.knows(key) and self._block(key).record_failure(now):
            self._stats.count("blocks")

    def knows(self, key: str) -> bool:
        """Return whether a key belongs to the account."""
        return key != "invalid" if self._settings.api_key is None else key == self._settings.api_key

    def headers(self, model_id: str, now: float) -> dict[str, str]:
        """Return the x-ratelimit-* headers of a model's minute window; none when it has no limit."""
        windows = self._windows_of(model_id)
        if not self._settings.rpm_of(model_id):
            return {}
        return self._rate_headers(windows[0].peek(now), now)

    def _tier(self, model_id: str) -> Refusal | None:
        if model_id in self._settings.pro_models:
            return Refusal(401, "This model is only available to Pro users")
        return None

    def _rate(self, model_id: str, now: float) -> Refusal | None:
        for window in self._windows_of(model_id):
            verdict = window.ask(now)
            if not verdict.granted:
                self._stats.count("refused", model_id)
                wait = self._retry_after(max(0.0, verdict.reset_at - now), now)
                return Refusal(
                    429,
                    "Rate limit exceeded. Please try again later.",
                    code="RATE_LIMIT_EXCEEDED",
                    headers={**self._rate_headers(verdict, now), **wait},
                )
        return None

    def _windows_of(self, model_id: str) -> tuple[Window, ...]:
        if model_id not in self._windows:
            settings, windows = self._settings, list[Window]()
            if rpm := settings.rpm_of(model_id):
                length_s = MINUTE_S / settings.speed
                windows.append(open_window(settings.window, rpm, length_s, count_refused=settings.count_refused))
            if settings.rpd:
                windows.append(FixedWindow(settings.rpd, DAY_S / settings.speed, aligned=True))
            self._windows[model_id] = tuple(windows)
        return self._windows[model_id]

    def _block(self, key: str) -> FailureBlock:
        if key not in self._blocks:
            settings = self._settings
            self._blocks[key] = FailureBlock(
                settings.failure_limit, settings.failure_window_s / settings.speed, settings.block_s / settings.speed
            )
        return self._blocks[key]

    def _rate_headers(self, verdict: Verdict, now: float) -> dict[str, str]:
        return rate_headers(verdict, now, self._settings.rate_headers, fine=self._settings.speed > 1)

    def _retry_after(self, wait_s: float, now: float) -> dict[str, str]:
        return retry_after(wait_s, now, self._settings.retry_after, fine=self._settings.speed > 1)
