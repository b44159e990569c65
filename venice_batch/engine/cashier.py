"""Sets each request's price aside, until the money is up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import anyio

from venice_batch.catalogue import usd_text
from venice_batch.engine.purse import Leave
from venice_batch.engine.stop import Stop, StoppedError
from venice_batch.errors import ExitCode
from venice_batch.retry import Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from venice_batch.engine.purse import Purse
    from venice_batch.engine.stop import StopSwitch
    from venice_batch.engine.turnstile import Turnstile
    from venice_batch.retry import Answer

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


class Cashier:
    """Keeps the purse for all jobs, and stops the run at the first that cannot be paid.

    `ask_balances` reads the account's balances by currency in millionths of a USD (None: not known now); it is None
    itself where the key may not. The run has read them before its first request.
    """

    def __init__(
        self,
        purse: Purse,
        turnstile: Turnstile,
        switch: StopSwitch,
        *,
        ask_balances: Callable[[], Awaitable[Mapping[str, int] | None]] | None = None,
    ) -> None:
        self.purse = purse
        self._turnstile = turnstile
        self._switch = switch
        self._ask_balances = ask_balances
        self._asking = anyio.Lock()
        self._asked_at = 0
        """What was spent when the balance was last asked for."""

    async def reserve(self, price: int | None) -> None:
        """Return once `price` (None: not known, which counts as 0) is set aside; to be settled once.

        Raises:
            StoppedError: the run stops, perhaps because it does not fit into the limit or the balance.
        """
        if price is None:
            if self.purse.limit is not None:
                self._stop("--max-cost: the price of the next job is not known")
            return
        leave = self.purse.reserve(price)
        while leave is not Leave.GRANTED:
            self._switch.check()
            if leave is Leave.OVER_LIMIT:
                spent = usd_text(self.purse.spent)
                self._stop(f"--max-cost is reached: {spent} USD are spent, the next job's {usd_text(price)} do not fit")
            if leave is Leave.LATER:
                await self._turnstile.change()
                leave = self.purse.reserve(price)
            else:
                leave = await self._last_resort(price)

    def settle(self, price: int, *, spent: int) -> None:
        """Turn so much of a reservation into an expense, give the rest back, and wake the jobs that wait for money."""
        self.purse.settle(price, spent=spent)
        self._turnstile.wake()

    def note(self, answer: Answer, *, price: int, due: int, spent_before: int) -> None:
        """Learn the balances from an answer whose request has `price` set aside and costs what is `due`."""
        balances = in_micro_usd(answer.headers.balances)
        if not balances or self.purse.account.only_lists:
            return
        self.purse.balances_told(balances, spent_before=spent_before, own=price)
        if max(balances.values()) < due and answer.verdict is Verdict.SUCCEEDED:
            self.purse.account.disprove()

    async def _last_resort(self, price: int) -> Leave:
        """The balance falls short: ask for it once more, and stop unless it is not to be believed."""
        async with self._asking:  # one asks for all
            leave = self.purse.reserve(price)
            if leave is not Leave.SHORT or self._switch.stop is not None:
                return leave
            if self._ask_balances is not None and self._asked_at != self.purse.spent:
                self._asked_at = before = self.purse.spent
                balances = await self._ask_balances()
                if balances is not None:
                    self.purse.balances_told(balances, spent_before=before)
                return self.purse.reserve(price)
            if self.purse.account.believed:
                left = usd_text(max(0, (self.purse.account.high or 0) - self.purse.spent))
                self._stop(f"the balance of {left} USD is below the {usd_text(price)} USD of the next job; {_TOP_UP}")
            self.purse.dare(price)
            return Leave.GRANTED

    def _stop(self, reason: str) -> None:
        self._switch.request(Stop(ExitCode.OUT_OF_MONEY, reason))
        raise StoppedError


def in_micro_usd(balances: Mapping[str, float]) -> dict[str, int]:
    """Return balances in millionths."""
    return {name: round(amount * 1_000_000) for name, amount in balances.items()}
