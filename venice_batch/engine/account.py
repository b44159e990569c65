"""How far the account's balance reaches, by what the API says of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Account:
    """What a run can spend in all until the account is empty: at least `low`, at most `high`; None: not known.

    Amounts are millionths of a USD. A balance that comes with an answer was written at some moment while the request
    was under way, so it is only known to lack what the run had spent before, and may lack all that was spent or
    under way until the answer came. Several such balances together say more than the newest alone, in whatever
    order they come: the bounds are where they all agree. Where they do not, someone else has spent or topped up, and
    the newest counts.

    Not every account pays with what its balance shows (credits that come with a subscription are in no header), so a
    balance is `believed` only once it was seen to fall, and never again after an image that it could not have paid for.
    """

    low: int | None = None
    high: int | None = None
    most: int = 0
    fell: bool = False
    disproved: bool = False

    @property
    def believed(self) -> bool:
        return self.fell and not self.disproved

    def told(self, balance: int, *, lacks: int, may_lack: int) -> None:
        """Learn of a balance that lacks what was spent up to `lacks` for sure, up to `may_lack` perhaps."""
        self.fell = self.fell or balance < self.most
        self.most = max(self.most, balance)
        low, high = balance + lacks, balance + may_lack
        if self.low is not None and self.high is not None and low <= self.high and self.low <= high:
            low, high = max(low, self.low), min(high, self.high)
        self.low, self.high = low, high

    def disprove(self) -> None:
        """An image came that the balance could not have paid for."""
        self.disproved = True

    def surely_covers(self, spending: int) -> bool:
        """Whether the account holds out until so much is spent in all."""
        return self.disproved or self.low is None or spending <= self.low

    def perhaps_covers(self, spending: int) -> bool:
        """Whether it may."""
        return self.disproved or self.high is None or spending <= self.high
