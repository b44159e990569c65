"""Balance of the sandbox's one account."""

from __future__ import annotations

from venice_batch.sandbox.prices import MICRO_PER_USD


class Ledger:
    """A balance that never goes below zero: money is reserved before the work, then charged or given back."""

    def __init__(self, balance_usd: float) -> None:
        self._balance = round(balance_usd * MICRO_PER_USD)
        self._charged = 0

    @property
    def balance_usd(self) -> float:
        """What is left after charges and reservations."""
        return self._balance / MICRO_PER_USD

    @property
    def charged_usd(self) -> float:
        """Sum of all charges."""
        return self._charged / MICRO_PER_USD

    def reserve(self, price: int) -> bool:
        """Take `price` millionths of a dollar out of the balance; False, with nothing taken, if it exceeds
        it.
        """
        if price > self._balance:
            return False
        self._balance -= price
        return True

    def charge(self, price: int) -> None:
        """Make a reservation final."""
        self._charged += price

    def forget_charges(self) -> None:
        """Count charges anew; the balance stays as it is."""
        self._charged = 0

    def give_back(self, price: int) -> None:
        """Undo a reservation."""
        self._balance += price
