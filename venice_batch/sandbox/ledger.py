"""Balances of the sandbox's one account, and the history of its charges."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from venice_batch.sandbox.catalogue import MICRO_PER_USD, micro_usd
from venice_batch.sandbox.errors import INSUFFICIENT, OVER_KEY_LIMIT, ErrorAnswer

if TYPE_CHECKING:
    from collections.abc import Iterable

Currency = Literal["DIEM", "BUNDLED_CREDITS", "USD"]


@dataclass(frozen=True, slots=True)
class Payment:
    """Money reserved for one request."""

    key: str
    currency: Currency
    micro_usd: int


@dataclass(frozen=True, slots=True)
class Charge:
    """One line of the usage history: `units` of `sku` at Unix time `at`, at a price each in millionths of a dollar."""

    at: float
    sku: str
    units: int
    unit_price: float
    currency: Currency

    @property
    def micro_usd(self) -> float:
        """The amount of the line."""
        return self.units * self.unit_price


KEPT_CHARGES = 100_000
"""Lines of the usage history that are kept."""


class Ledger:
    """Balances that never go below zero: money is reserved before the work, then charged or given back.

    One currency pays for the whole request: the first of DIEM, bundled credits and USD that covers it. A key's limit
    covers bundled credits and USD together. One DIEM is worth one dollar. Source: Venice's agent skills, venice-auth
    and venice-api-keys, 2026-10-02.
    """

    def __init__(
        self, balance_usd: float, *, diem: float = 0.0, bundled_usd: float = 0.0, key_limit_usd: float | None = None
    ) -> None:
        self._balances: dict[Currency, int] = {
            "DIEM": micro_usd(diem),
            "BUNDLED_CREDITS": micro_usd(bundled_usd),
            "USD": micro_usd(balance_usd),
        }
        self._key_limit = None if key_limit_usd is None else micro_usd(key_limit_usd)
        self._spent: Counter[str] = Counter()
        self._charged = 0
        self.history: deque[Charge] = deque(maxlen=KEPT_CHARGES)
        """The latest charges, in the order of time."""

    @property
    def balance_usd(self) -> float:
        """Dollars left after charges and reservations."""
        return self._balances["USD"] / MICRO_PER_USD

    @property
    def diem(self) -> float:
        """DIEM left after charges and reservations."""
        return self._balances["DIEM"] / MICRO_PER_USD

    @property
    def next_currency(self) -> Currency | None:
        """The currency that pays for a small request; None if all balances are empty."""
        return next((currency for currency, balance in self._balances.items() if balance), None)

    @property
    def charged_usd(self) -> float:
        """Sum of all charges in all currencies."""
        return self._charged / MICRO_PER_USD

    def spendable(self, key: str) -> dict[Currency, float]:
        """Return the amount of each currency that a key may still spend."""
        left = {currency: self._within_limit(key, currency) for currency in self._balances}
        return {currency: amount / MICRO_PER_USD for currency, amount in left.items()}

    def reserve(self, price: int, key: str = "") -> Payment | ErrorAnswer:
        """Take `price` millionths of a dollar out of one balance, or take nothing and return the 402."""
        currency = next((name for name, balance in self._balances.items() if price <= balance), None)
        if currency is None:
            return INSUFFICIENT
        if price > self._within_limit(key, currency):
            return OVER_KEY_LIMIT
        self._move(Payment(key, currency, price), price)
        return Payment(key, currency, price)

    def charge(self, payment: Payment, lines: Iterable[Charge] = ()) -> None:
        """Make a reservation final; `lines` go into the usage history."""
        self._charged += payment.micro_usd
        self.history.extend(lines)

    def forget_charges(self) -> None:
        """Reset the sum of charges; leave the balances alone."""
        self._charged = 0

    def give_back(self, payment: Payment) -> None:
        """Undo a reservation."""
        self._move(payment, -payment.micro_usd)

    def _move(self, payment: Payment, price: int) -> None:
        self._balances[payment.currency] -= price
        if payment.currency != "DIEM":
            self._spent[payment.key] += price

    def _within_limit(self, key: str, currency: Currency) -> int:
        balance = self._balances[currency]
        if self._key_limit is None or currency == "DIEM":
            return balance
        return max(0, min(balance, self._key_limit - self._spent[key]))
