"""Admit paid requests: keys, limits, content policy, capacity, money and faults."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from venice_batch.sandbox import errors, limits
from venice_batch.sandbox.catalogue import ENHANCEMENT_MICRO_USD
from venice_batch.sandbox.errors import ErrorAnswer
from venice_batch.sandbox.faults import FaultPicker
from venice_batch.sandbox.ledger import Charge, Ledger, Payment
from venice_batch.sandbox.limits import Bucket, ErrorBudget, FailureBlock, FixedWindow, QuotaState, Window, open_window
from venice_batch.sandbox.request import EditRequest

if TYPE_CHECKING:
    from venice_batch.sandbox.request import Format, ImageRequest
    from venice_batch.sandbox.settings import SandboxSettings
    from venice_batch.sandbox.stats import Stats

MINUTE_S = 60.0
DAY_S = 86_400.0
EDIT_VIOLATION = ErrorAnswer(422, "Your prompt violates the content policy of Venice.ai or the model provider")
"""Answer to edits that break the terms (source: Venice's agent skills, venice-image-edit, 2026-10-02)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmittedRequest:
    """One admitted request: it holds a place at its model and its price until `Admission.settle`.

    If its images are `withheld`, they break the terms: the answer has black ones or a placeholder, and is free.
    """

    request: ImageRequest
    payment: Payment
    balance_before_usd: float
    diem_before: float
    fault: str
    adult: bool
    violation: bool
    withheld: bool

    @property
    def format(self) -> Format:
        """Format of the images in the answer."""
        return "png" if self.withheld and self.request.delivery == "binary" else self.request.format


class Admission:
    """All rules for paid requests, in the API's order; times are Unix time in seconds.

    One sandbox is one account: all keys share its windows and balances, as the API shares them among the keys of one
    user. Each key and model has its own error budget; in era 2026-08, each key.
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
        """Forget all windows and error budgets; keep balances and the sequence of faults."""
        self._windows: dict[str, tuple[Window, ...]] = {}
        self._budgets: dict[Bucket, ErrorBudget] = {}
        self._blocks: dict[str, FailureBlock] = {}
        self.ledger.forget_charges()

    def check_key(self, key: str | None, now: float) -> ErrorAnswer | None:
        """Return the error that the key alone causes, or None. `key` is None for a request without credentials."""
        if key is None and not self._settings.is_old:
            return errors.no_credentials()
        if not key or not self.knows(key):
            return errors.UNAUTHORIZED
        return self.check_failures(Bucket(key), now) if self._settings.is_old else None

    def check_failures(self, bucket: Bucket, now: float) -> ErrorAnswer | None:
        """Return the 429 of a bucket with too many failures, or None."""
        settings = self._settings
        if settings.is_old:
            wait_s = self._block(bucket.key).remaining_s(now)
            text = errors.BLOCKED.format(limit=settings.failures_tolerated, wait=f"{settings.block_s:g}s")
        else:
            wait_s = self._budgets[bucket].remaining_s(now) if bucket in self._budgets else 0.0
            wait = f"{settings.failure_window_s:g} seconds"
            text = errors.BLOCKED.format(limit=settings.failures_tolerated, wait=wait) + errors.SEE_LIMITS
        if not wait_s:
            return None
        self._stats.count("blocked")
        return ErrorAnswer(429, text, headers=self._retry_after(wait_s, now))

    def admit(self, request: ImageRequest, now: float, key: str = "") -> AdmittedRequest | ErrorAnswer:
        """Use quota, a place at the model and money for a request, or return the error that prevents it.

        Call `settle` once for each admitted request.
        """
        settings, model_id = self._settings, request.model_id
        self._stats.seen(model_id)
        if model_id in settings.pro_models:
            return ErrorAnswer(401, "This model is only available to Pro users")
        refused = self._use_quota(request, now)
        if refused:
            return refused
        words = set(re.findall(r"\w+", request.prompt.lower()))
        violation = "violation" in words
        withheld = violation and not settings.is_old
        if withheld and isinstance(request, EditRequest):
            self._stats.count("violations")
            return EDIT_VIOLATION
        if "forbidden" in words:
            return policy_violation(request.prompt)
        if settings.capacity and self._serving[model_id] >= settings.capacity:
            self._stats.count("at_capacity")
            wait_s = settings.retry_after_503_s
            return ErrorAnswer(503, errors.AT_CAPACITY, headers={"Retry-After": f"{wait_s:g}"} if wait_s else {})
        before_usd, before_diem = self.ledger.balance_usd, self.ledger.diem
        payment = self.ledger.reserve(self._price(request), key)
        if isinstance(payment, ErrorAnswer):
            return payment
        self._serving[model_id] += 1
        return AdmittedRequest(
            request=request,
            payment=payment,
            balance_before_usd=before_usd,
            diem_before=before_diem,
            fault=self._faults.next(),
            adult="nsfw" in words,
            violation=violation,
            withheld=withheld,
        )

    def settle(self, admitted: AdmittedRequest, *, charged: bool, now: float = 0.0) -> None:
        """Free the place of a request; charge its price, or give it back."""
        self._serving[admitted.request.model_id] -= 1
        if charged and not admitted.withheld:
            self._stats.count("images_charged", by=admitted.request.variants)
            self.ledger.charge(admitted.payment, self._lines(admitted, now))
        else:
            self.ledger.give_back(admitted.payment)

    def record_failure(self, bucket: Bucket, status: int, now: float) -> None:
        """Note a failed request in the error budget of its bucket."""
        settings = self._settings
        if not settings.failures_tolerated or not self.knows(bucket.key):
            return
        if settings.is_old:
            blocks = self._block(bucket.key).record_failure(now)
        elif limits.uses_error_budget(status):
            window_s = settings.failure_window_s / settings.speed
            budget = self._budgets.setdefault(bucket, ErrorBudget(settings.failures_tolerated, window_s))
            blocks = budget.record_failure(now)
        else:
            return
        self._stats.count("blocks", by=blocks)

    def budget_headers(self, bucket: Bucket, now: float) -> dict[str, str]:
        """Return the headers of a bucket's error budget; none if they are switched off."""
        settings = self._settings
        if settings.is_old or not settings.budget_headers or not settings.failures_tolerated:
            return {}
        full = ErrorBudget(settings.failures_tolerated, settings.failure_window_s / settings.speed)
        return self._budgets.get(bucket, full).headers(now)

    def knows(self, key: str) -> bool:
        """Return whether a key belongs to the account."""
        return key != "invalid" if self._settings.api_key is None else key == self._settings.api_key

    def headers(self, model_id: str, now: float) -> dict[str, str]:
        """Return the x-ratelimit-* headers of a model's minute window; none if it has no limit."""
        windows = self._windows_of(model_id)
        if not self._settings.rpm_of(model_id):
            return {}
        return self._rate_headers(windows[0].peek(now), now)

    def _price(self, request: ImageRequest) -> int:
        rewritten = request.enhanced_prompt and not self._settings.is_old
        return request.price_micro_usd + (ENHANCEMENT_MICRO_USD if rewritten else 0)

    def _lines(self, admitted: AdmittedRequest, now: float) -> list[Charge]:
        """Return the lines of the usage history for a request: its images, and the rewrite of its prompt.

        The names follow those in the API's description (`venice-sd35-image-unit`); that of a rewrite is assumed.
        """
        request, currency = admitted.request, admitted.payment.currency
        unit_price = request.price_micro_usd / request.variants
        lines = [Charge(now, f"{request.model_id}-image-unit", request.variants, unit_price, currency)]
        if extra := admitted.payment.micro_usd - request.price_micro_usd:
            lines.append(Charge(now, "prompt-enhancement-unit", 1, extra, currency))
        return lines

    def _use_quota(self, request: ImageRequest, now: float) -> ErrorAnswer | None:
        windows = self._windows_of(request.model_id)
        units = 1 if self._settings.is_old else request.variants
        full = next((window for window in windows if not window.peek(now, units).granted), None)
        # A request that one window refuses uses nothing of the others.
        states = [window.acquire(now, units) for window in windows if full in (None, window)]
        if full is None:
            return None
        self._stats.count("refused", request.model_id)
        wait = self._retry_after(max(0.0, states[0].reset_at - now), now)
        return ErrorAnswer(
            429,
            "Rate limit exceeded. Please try again later.",
            code="RATE_LIMIT_EXCEEDED",
            headers={**self._rate_headers(states[0], now), **wait},
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

    def _rate_headers(self, state: QuotaState, now: float) -> dict[str, str]:
        return limits.rate_headers(state, now, self._settings.reset_form, fine=self._settings.speed > 1)

    def _retry_after(self, wait_s: float, now: float) -> dict[str, str]:
        return limits.retry_after(wait_s, now, self._settings.retry_after, fine=self._settings.speed > 1)


def policy_violation(prompt: str) -> ErrorAnswer:
    """Return the 422 for a prompt with the word "forbidden"; it suggests the prompt without that word."""
    kept = " ".join(word for word in prompt.split() if "forbidden" not in word.lower())
    return ErrorAnswer(
        422,
        "Your prompt violates the content policy of this model. Please modify it and try again.",
        code="CONTENT_POLICY_VIOLATION",
        extra={"suggested_prompt": kept or "a quiet landscape"},
    )
