"""What a run may still spend."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Purse:
    """Money in millionths of a USD, so that sums are exact.

    A request's price is reserved before it is sent, and spent or given back when its answer is known; what is spent
    and reserved together never exceeds `limit` (None: no limit), whatever is under way at once.
    """

    limit: int | None = None
    spent: int = 0
    reserved: int = 0

    def reserve(self, price: int) -> bool:
        """Set `price` aside; False, with nothing changed, when it does not fit beside what is spent and reserved."""
        if self.limit is not None and self.spent + self.reserved + price > self.limit:
            return False
        self.reserved += price
        return True

    def settle(self, price: int, *, billed: bool) -> None:
        """Turn a reservation into an expense, or give it back."""
        self.reserved -= price
        if billed:
            self.spent += price

    def may_fit(self, price: int) -> bool:
        """Whether `price` would fit if everything reserved were given back."""
        return self.limit is None or self.spent + price <= self.limit
