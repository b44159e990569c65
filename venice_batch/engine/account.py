"""How far the account's balance reaches, by what the API says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True)
class Account:
    """What a run can spend in all until the account is empty: at least `low`, at most `high`; None: not known.

    Amounts are millionths of a USD. The API pays a request from one currency that covers all of it, so currencies are
    never added up: the balance that counts is the largest. What the run spends lowers it at most by as much, and not
    at all while another currency pays. A balance that comes with an answer was written at some moment while the request
    was under way, so it is only known to lack what the run had spent before, and may lack all that was spent or
    under way until the answer came. Several such balances together say more than the newest alone, in whatever
    order they come: the bounds are where they all agree. Where they do not, someone else has spent or topped up, and
    the newest counts. `total` is the upper bound if all currencies together could pay.

    Not every account pays with what its balance shows: earned credits are listed nowhere. So a balance is `believed`
    only once it was seen to fall, and never again after an image that it could not have paid for. Diem that falls
    proves nothing, as earned credits come after Diem. While bundled credits are listed, which no answer shows,
    `only_lists` is true: answers tell too little to go by.
    """

    low: int | None = None
    high: int | None = None
    total: int | None = None
    most: int = 0
    fell: bool = False
    disproved: bool = False
    only_lists: bool = False

    @property
    def believed(self) -> bool:
        return self.fell and not self.disproved

    def told(self, balances: Mapping[str, int], *, lacks: int, may_lack: int, own: int = 0) -> None:
        """Learn of balances that lack what was spent up to `lacks` for sure, up to `may_lack` perhaps.

        `own` is what the request that they came with may cost, and which they do not lack.
        """
        self.only_lists = balances.get("BUNDLED_CREDITS", 0) > 0
        balance = max(balances.values(), default=0)
        diem = balances.get("DIEM", 0)
        if balance > diem or not diem:
            self.fell = self.fell or balance < self.most
            self.most = max(self.most, balance)
        others = sum(amount for amount in balances.values() if amount > 0) - max(balance, 0)
        low, total = balance + lacks, balance + others + may_lack
        if self.low is not None and self.total is not None and low <= self.total and self.low <= total:
            # With one currency, the sum of spent and left never changes.
            low = low if others else max(low, self.low)
            total = min(total, self.total)
        self.low, self.total = low, total
        self.high = min(total, balance + may_lack + min(own, others))

    def disprove(self) -> None:
        """An image came that the balance could not have paid for."""
        self.disproved = True

    def surely_covers(self, spending: int) -> bool:
        """Whether the account holds out until so much is spent in all."""
        return self.disproved or self.low is None or spending <= self.low

    def perhaps_covers(self, spending: int) -> bool:
        """Whether it may."""
        return self.disproved or self.high is None or spending <= self.high
