"""What a run may still spend."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from venice_batch.engine.account import Account

if TYPE_CHECKING:
    from collections.abc import Mapping


class Leave(Enum):
    """Whether a price may be set aside."""

    GRANTED = auto()
    LATER = auto()  # what is under way may cost less, or tell more
    OVER_LIMIT = auto()  # never, by the run's own limit
    SHORT = auto()  # never, by the account's balance


@dataclass(slots=True)
class Purse:
    """Money in millionths of a USD, so that sums are exact.

    A request's price is reserved before it is sent, and spent or given back when its answer is known; what is spent
    and reserved together never exceeds `limit` (None: no limit), whatever is under way at once. Nor does it exceed
    what the `account` is sure to hold: beyond that one request at a time goes out, as long as the balance may do.
    """

    limit: int | None = None
    spent: int = 0
    reserved: int = 0
    account: Account = field(default_factory=Account)

    def reserve(self, price: int) -> Leave:
        """Set `price` aside if it fits beside what is spent and reserved; nothing changes unless GRANTED."""
        committed = self.spent + self.reserved + price
        if self.limit is not None and committed > self.limit:
            return Leave.LATER if self.spent + price <= self.limit else Leave.OVER_LIMIT
        if price and not self.account.surely_covers(committed):
            if self.reserved:
                return Leave.LATER
            if not self.account.perhaps_covers(committed):
                return Leave.SHORT
        self.reserved = committed - self.spent
        return Leave.GRANTED

    def dare(self, price: int) -> None:
        """Set `price` aside against what the balance says."""
        self.reserved += price

    def settle(self, price: int, *, spent: int) -> None:
        """Turn so much of a reservation into an expense, and give the rest back."""
        self.reserved -= price
        self.spent += spent

    def balances_told(self, balances: Mapping[str, int], *, spent_before: int, own: int = 0) -> None:
        """Learn of balances by currency that came with an answer, or a listing (`own` 0), before `settle`.

        `spent_before` is what was spent when they were asked for; the balances lack that and not the request's `own`
        price, which is taken off after they were read.
        """
        self.account.told(balances, lacks=spent_before, may_lack=self.spent + self.reserved - own, own=own)
