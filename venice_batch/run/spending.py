"""Money: the run's own limit, the account's balance, and a reservation for each request before it is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

import anyio

from venice_batch.api.answers import Verdict
from venice_batch.errors import ExitCode, FolderError
from venice_batch.money import usd_text
from venice_batch.run.budget import Shortage
from venice_batch.run.stop import Stop, StoppedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from venice_batch.api.answers import Answer
    from venice_batch.run.budget import Budget
    from venice_batch.run.slots import Slots
    from venice_batch.run.stop import StopSignal


@dataclass(slots=True)
class Balance:
    """Bounds on the account's balance, from listings and response headers.

    The run can spend at least `low` and at most `high` in all before the account is empty; None: not known. Amounts are
    millionths of a USD.

    The API pays a request from one currency that covers all of it, so currencies are never added up: the largest
    balance counts. What the run spends lowers that balance by at most the same amount, and not at all while another
    currency pays. A balance that comes with an answer was written at some moment while the request was under way. So it
    certainly lacks what the run had spent before, and may lack everything spent or under way until the answer came.
    Several such balances say more than the newest alone, in whatever order they come: the bounds are where they all
    agree. Where they do not, someone else has spent or topped up, and the newest counts. `total` is the upper bound if
    all currencies together could pay.

    Not every account pays from the balance that it shows: earned credits are listed nowhere. So a balance is `believed`
    only after it was seen to fall, and never again after an image that it could not have paid for. Falling Diem proves
    nothing, because earned credits are used after Diem. While bundled credits are listed, which no answer shows,
    `only_lists` is true: the balances in answers are then ignored.
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

    def update(self, balances: Mapping[str, int], *, lacks: int, may_lack: int, own: int = 0) -> None:
        """Learn of balances by currency.

        They lack what was spent up to `lacks` for certain, and up to `may_lack` perhaps. They do not lack `own`, the
        price of the request that they came with.
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
        """Note that an image came which the balance could not have paid for."""
        self.disproved = True

    def surely_covers(self, spending: int) -> bool:
        """Return whether the account certainly lasts until `spending` is spent in all."""
        return self.disproved or self.low is None or spending <= self.low

    def perhaps_covers(self, spending: int) -> bool:
        """Return whether the account may last until `spending` is spent in all."""
        return self.disproved or self.high is None or spending <= self.high


class Reservation(Enum):
    """The result of asking for a reservation."""

    GRANTED = auto()
    LATER = auto()  # requests under way may cost less than reserved, or bring a new balance
    OVER_LIMIT = auto()  # the run's own limit will never allow it
    SHORT = auto()  # the account's balance will never allow it


@dataclass(slots=True)
class Spending:
    """The money that a run has spent and reserved, in millionths of a USD so that sums are exact.

    A request's price is reserved before it is sent, and spent or given back when its answer is known. Spent and
    reserved money together never exceed `limit` (None: no limit), however many requests are under way. Nor do they
    exceed what the account certainly holds: beyond that, one request at a time goes out as long as the balance may
    last.
    """

    limit: int | None = None
    spent: int = 0
    reserved: int = 0
    account: Balance = field(default_factory=Balance)

    def reserve(self, price: int) -> Reservation:
        """Reserve `price` if it fits beside what is spent and reserved; nothing changes unless GRANTED."""
        committed = self.spent + self.reserved + price
        if self.limit is not None and committed > self.limit:
            return Reservation.LATER if self.spent + price <= self.limit else Reservation.OVER_LIMIT
        if price and not self.account.surely_covers(committed):
            if self.reserved:
                return Reservation.LATER
            if not self.account.perhaps_covers(committed):
                return Reservation.SHORT
        self.reserved = committed - self.spent
        return Reservation.GRANTED

    def reserve_regardless(self, price: int) -> None:
        """Reserve `price` although the balance seems too low."""
        self.reserved += price

    def settle(self, price: int, *, spent: int) -> None:
        """End a reservation of `price`: count `spent` of it as spent and give the rest back."""
        self.reserved -= price
        self.spent += spent

    def update_balances(self, balances: Mapping[str, int], *, spent_before: int, own: int = 0) -> None:
        """Learn of balances by currency that came with an answer (before `settle`) or a listing (`own` 0).

        `spent_before` is the amount spent when the balances were asked for; the balances lack it. They do not lack
        `own`, the request's own price, which is deducted after they are read.
        """
        self.account.update(balances, lacks=spent_before, may_lack=self.spent + self.reserved - own, own=own)


LOOK_AGAIN_S = 0.5
"""How long to wait before looking whether other runs have given money back."""

NOTICE_AFTER_S = 5.0
"""How long to wait for other runs, with no request under way, before the user is notified once."""

_TOP_UP = "top up, then run the same command again"
_KEYS_LIMIT = re.compile(r"\bkey\b.*\blimit\b|\bspend(ing)? limit\b", re.IGNORECASE)


def no_money(message: str) -> str:
    """Return why the run stops at a 402 with this message: the account is empty, or the key has a limit of its own."""
    if _KEYS_LIMIT.search(message):
        return (
            f"the key's own limit is used up: {message.rstrip('.')}; the account may have money:"
            " raise the key's limit, then run the same command again"
        )
    return f"out of money: {message}; {_TOP_UP}"


class SpendingGuard:
    """Reserve each request's price, and stop the run at the first job that cannot be paid.

    `ask_balances` reads the account's balances by currency in millionths of a USD; it returns None if they are not
    known now, and is None itself if the key may not read them. The run has read them once before its first request.
    `budget` is what the run shares with others. `notify` gets a sentence for the user.
    """

    def __init__(
        self,
        spending: Spending,
        slots: Slots,
        stop_signal: StopSignal,
        *,
        ask_balances: Callable[[], Awaitable[Mapping[str, int] | None]] | None = None,
        budget: Budget | None = None,
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.spending = spending
        self._slots = slots
        self._stop_signal = stop_signal
        self._ask_balances = ask_balances
        self._budget = budget
        self._notify = notify
        self._idle_looks = 0
        self._asking = anyio.Lock()
        self._asked_at = 0
        """The amount spent when the balance was last asked for."""

    @property
    def has_budget(self) -> bool:
        """Whether the run shares a budget with others, so that `book` is needed."""
        return self._budget is not None

    async def reserve(self, price: int | None) -> None:
        """Wait until `price` is reserved; the caller settles it once. A price of None is not known and counts as 0.

        Raises:
            StoppedError: the run stops, perhaps because the price does not fit into the limit or the balance.
        """
        if price is None:
            if self.spending.limit is not None:
                self._stop("--max-cost: the price of the next job is not known")
            if self._budget is not None and self._budget.caps:
                self._stop("--max-cost-per: the price of the next job is not known")
            return
        leave = self.spending.reserve(price)
        while leave is not Reservation.GRANTED:
            self._stop_signal.check()
            if leave is Reservation.OVER_LIMIT:
                spent = usd_text(self.spending.spent)
                self._stop(f"--max-cost is reached: {spent} USD are spent, the next job's {usd_text(price)} do not fit")
            if leave is Reservation.LATER:
                await self._slots.change()
                leave = self.spending.reserve(price)
            else:
                leave = await self._last_resort(price)

    def settle(self, price: int, *, spent: int) -> None:
        """End a reservation, and wake the jobs that wait for money."""
        self.spending.settle(price, spent=spent)
        self._slots.wake()

    async def book(self, price: int | None, *, model: str, job: str) -> int | None:
        """Reserve `price` in the budget that runs share, if there is one; return the number of the reservation.

        Call it when the request can be sent at once. While other requests may give money back, it waits for that.

        Raises:
            StoppedError: the run stops, perhaps because the price does not fit into the budget.
            FolderError: the budget file can no longer be used.
        """
        if self._budget is None or not price:
            return None
        while isinstance(found := await self._budget.reserve(price, model=model, job=job), Shortage):
            self._stop_signal.check()
            if not found.may_fit:
                self._stop(self._budget.shortage_text(found, price))
            if not self._slots.in_flight:
                self._idle_looks += 1
                if self._idle_looks == NOTICE_AFTER_S / LOOK_AGAIN_S:
                    self._notify(
                        f"{self._budget.path}: waiting for money that other runs have reserved and may give back"
                    )
            await self._slots.change(LOOK_AGAIN_S)
        return found

    async def settle_booked(self, number: int | None, *, spent: int) -> None:
        """End a reservation of `book`, if there is one. If the budget file fails, request a stop and raise nothing."""
        if self._budget is None or number is None:
            return
        try:
            await self._budget.settle(number, spent=spent)
        except FolderError as error:  # the image is paid for, and is kept
            self._stop_signal.request(Stop(error.exit_code, str(error)))
            self._slots.wake()

    def note(self, answer: Answer, *, price: int, due: int, spent_before: int) -> None:
        """Learn the balances from an answer whose request has `price` reserved and costs `due`."""
        balances = in_micro_usd(answer.headers.balances)
        if not balances or self.spending.account.only_lists:
            return
        self.spending.update_balances(balances, spent_before=spent_before, own=price)
        if max(balances.values()) < due and answer.verdict is Verdict.SUCCEEDED:
            self.spending.account.disprove()

    async def _last_resort(self, price: int) -> Reservation:
        """Ask for a balance that falls short once more, and stop unless it cannot be believed."""
        async with self._asking:  # one asks for all
            leave = self.spending.reserve(price)
            if leave is not Reservation.SHORT or self._stop_signal.stop is not None:
                return leave
            if self._ask_balances is not None and self._asked_at != self.spending.spent:
                self._asked_at = before = self.spending.spent
                balances = await self._ask_balances()
                if balances is not None:
                    self.spending.update_balances(balances, spent_before=before)
                return self.spending.reserve(price)
            if self.spending.account.believed:
                left = usd_text(max(0, (self.spending.account.high or 0) - self.spending.spent))
                self._stop(f"the balance of {left} USD is below the {usd_text(price)} USD of the next job; {_TOP_UP}")
            self.spending.reserve_regardless(price)
            return Reservation.GRANTED

    def _stop(self, reason: str) -> None:
        self._stop_signal.request(Stop(ExitCode.OUT_OF_MONEY, reason))
        raise StoppedError


def in_micro_usd(balances: Mapping[str, float]) -> dict[str, int]:
    """Return balances in millionths."""
    return {name: round(amount * 1_000_000) for name, amount in balances.items()}
