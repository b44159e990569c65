"""Admission of requests: keys, limits, money and faults."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from venice_batch.sandbox import error_budget, moderation
from venice_batch.sandbox import errors as refusal
from venice_batch.sandbox.error_budget import Bucket, ErrorBudget
from venice_batch.sandbox.errors import UNAUTHORIZED, Refusal
from venice_batch.sandbox.failure_block import FailureBlock
from venice_batch.sandbox.fault_picker import FaultPicker
from venice_batch.sandbox.ledger import Ledger, Payment
from venice_batch.sandbox.limits import FixedWindow, Verdict, Window, open_window
from venice_batch.sandbox.prices import ENHANCEMENT_MICRO_USD, price_micro_usd
from venice_batch.sandbox.rate_headers import rate_headers, retry_after
from venice_batch.sandbox.request import Order
from venice_batch.sandbox.retouch import Retouch

if TYPE_CHECKING:
    from venice_batch.sandbox.request import Format
    from venice_batch.sandbox.settings import SandboxSettings
    from venice_batch.sandbox.stats import Stats


Work = Order | Retouch
MINUTE_S = 60.0
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One admitted order: it holds a place of its model and its price until `Desk.settle`.

    `withheld` pictures break the terms: the answer has black ones or a placeholder, and nothing is charged.
    """

    order: Work
    payment: Payment
    balance_before_usd: float
    diem_before: float
    fault: str
    adult: bool
    violation: bool
    withheld: bool

    @property
    def format(self) -> Format:
        """Format of the pictures that are sent."""
        return "png" if self.withheld and self.order.delivery == "binary" else self.order.format


class Desk:
    """All rules that a paid request passes, in the API's order; times are Unix time in seconds.

    One sandbox is one account: windows and balances are shared by all keys, as the API shares them among the
    keys of one user. Error budgets go by key and model, in era 2026-08 by key.
    """

    def __init__(self, settings: SandboxSettings, stats: Stats) -> None:
        self._settings = settings
        self._stats = stats
        self.ledger = Ledger(
            settings.balance_usd,
            diem=settings.diem,
            bundled_usd=settings.bundled_usd,
            key_limit_usd=settings.key_limit_usd,
        )
        self._faults = FaultPicker(settings)
        self._serving: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        """Forget all windows and error budgets; balances and the sequence of faults stay."""
        self._windows: dict[str, tuple[Window, ...]] = {}
        self._budgets: dict[Bucket, ErrorBudget] = {}
        self._blocks: dict[str, FailureBlock] = {}
        self.ledger.forget_charges()

    def knock(self, key: str | None, now: float) -> Refusal | None:
        """Return the refusal of a request by its key alone; None lets it in. `key` is None without credentials."""
        if key is None and not self._settings.is_old:
            return refusal.no_credentials()
        if not key or not self.knows(key):
            return UNAUTHORIZED
        return self.blocked(Bucket(key), now) if self._settings.is_old else None

    def blocked(self, bucket: Bucket, now: float) -> Refusal | None:
        """Return the 429 of a bucket with too many failures; None lets the request in."""
        settings = self._settings
        if settings.is_old:
            wait_s = self._block(bucket.key).remaining_s(now)
            text = refusal.BLOCKED.format(limit=settings.failures_tolerated, wait=f"{settings.block_s:g}s")
        else:
            wait_s = self._budgets[bucket].remaining_s(now) if bucket in self._budgets else 0.0
            wait = f"{settings.failure_window_s:g} seconds"
            text = refusal.BLOCKED.format(limit=settings.failures_tolerated, wait=wait) + refusal.SEE_LIMITS
        if not wait_s:
            return None
        self._stats.count("blocked")
        return Refusal(429, text, headers=self._retry_after(wait_s, now))

    def admit(self, order: Work, now: float, key: str = "") -> Ticket | Refusal:
        """Use quota, a place and money for an order, or return why not.

        A ticket must be given to `settle` once.
        """
        settings, model_id = self._settings, order.model_id
        self._stats.seen(model_id)
        refused = self._tier(model_id) or self._rate(order, now)
        if refused:
            return refused
        opinion = moderation.judge(order.prompt)
        withheld = opinion.violation and not settings.is_old
        if withheld and isinstance(order, Retouch):
            self._stats.count("violations")
            return moderation.EDIT_VIOLATION
        if opinion.refusal:
            return opinion.refusal
        if settings.capacity and self._serving[model_id] >= settings.capacity:
            self._stats.count("at_capacity")
            hint = settings.retry_after_503_s
            return Refusal(503, refusal.AT_CAPACITY, headers={"Retry-After": f"{hint:g}"} if hint else {})
        before_usd, before_diem = self.ledger.balance_usd, self.ledger.diem
        payment = self.ledger.reserve(self._price(order), key)
        if isinstance(payment, Refusal):
            return payment
        self._serving[model_id] += 1
        return Ticket(
            order=order,
            payment=payment,
            balance_before_usd=before_usd,
            diem_before=before_diem,
            fault=self._faults.next(),
            adult=opinion.adult,
            violation=opinion.violation,
            withheld=withheld,
        )

    def settle(self, ticket: Ticket, *, charged: bool) -> None:
        """Free the place of an order; make its price final or give it back."""
        self._serving[ticket.order.model_id] -= 1
        if charged and not ticket.withheld:
            self._stats.count("images_charged", by=ticket.order.variants)
            self.ledger.charge(ticket.payment)
        else:
            self.ledger.give_back(ticket.payment)

    def record_failure(self, bucket: Bucket, status: int, now: float) -> None:
        """Note an answer that was no success, for the error budget of its bucket."""
        settings = self._settings
        if not settings.failures_tolerated or not self.knows(bucket.key):
            return
        if settings.is_old:
            blocks = self._block(bucket.key).record_failure(now)
        elif error_budget.counts(status):
            window_s = settings.failure_window_s / settings.speed
            budget = self._budgets.setdefault(bucket, ErrorBudget(settings.failures_tolerated, window_s))
            blocks = budget.record_failure(now)
        else:
            return
        self._stats.count("blocks", by=blocks)

    def budget_headers(self, bucket: Bucket, now: float) -> dict[str, str]:
        """Return the headers of a bucket's error budget; none where they are switched off."""
        settings = self._settings
        if settings.is_old or not settings.budget_headers or not settings.failures_tolerated:
            return {}
        full = ErrorBudget(settings.failures_tolerated, settings.failure_window_s / settings.speed)
        return self._budgets.get(bucket, full).headers(now)

    def knows(self, key: str) -> bool:
        """Return whether a key belongs to the account."""
        return key != "invalid" if self._settings.api_key is None else key == self._settings.api_key

    def headers(self, model_id: str, now: float) -> dict[str, str]:
        """Return the x-ratelimit-* headers of a model's minute window; none when it has no limit."""
        windows = self._windows_of(model_id)
        if not self._settings.rpm_of(model_id):
            return {}
        return self._rate_headers(windows[0].peek(now), now)

    def _price(self, order: Work) -> int:
        price = order.price_micro_usd if isinstance(order, Retouch) else price_micro_usd(order)
        return price + (ENHANCEMENT_MICRO_USD if order.enhance and not self._settings.is_old else 0)

    def _tier(self, model_id: str) -> Refusal | None:
        if model_id in self._settings.pro_models:
            return Refusal(401, "This model is only available to Pro users")
        return None

    def _rate(self, order: Work, now: float) -> Refusal | None:
        windows = self._windows_of(order.model_id)
        units = 1 if self._settings.is_old else order.variants
        full = next((window for window in windows if not window.peek(now, units).granted), None)
        # A request that one window refuses uses nothing of the others.
        verdicts = [window.ask(now, units) for window in windows if full in (None, window)]
        if full is None:
            return None
        self._stats.count("refused", order.model_id)
        wait = self._retry_after(max(0.0, verdicts[0].reset_at - now), now)
        return Refusal(
            429,
            "Rate limit exceeded. Please try again later.",
            code="RATE_LIMIT_EXCEEDED",
            headers={**self._rate_headers(verdicts[0], now), **wait},
        )

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
                settings.failures_tolerated,
                settings.failure_window_s / settings.speed,
                settings.block_s / settings.speed,
            )
        return self._blocks[key]

    def _rate_headers(self, verdict: Verdict, now: float) -> dict[str, str]:
        return rate_headers(verdict, now, self._settings.reset_form, fine=self._settings.speed > 1)

    def _retry_after(self, wait_s: float, now: float) -> dict[str, str]:
        return retry_after(wait_s, now, self._settings.retry_after, fine=self._settings.speed > 1)
