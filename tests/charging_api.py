"""An API that charges, for runs on a simulated clock: it reads and prices requests as the sandbox does."""

from __future__ import annotations

import random
from typing import Any

import anyio

from venice_batch.api.client import Reply
from venice_batch.errors import FolderError
from venice_batch.headers import AnswerHeaders, RateLimit
from venice_batch.model import Endpoint, ImageFile
from venice_batch.retry import Answer, Fault
from venice_batch.sandbox import catalogue, native_request
from venice_batch.sandbox.ledger import Ledger
from venice_batch.sandbox.order import Order
from venice_batch.sandbox.prices import price_micro_usd

FAULTS = ("500", "503", "429", "408", "502", "504", "520", "524", "timeout", "cut", "no_image", "connect", "full disk")
MAY_BE_CHARGED = {"502", "504", "520", "524", "timeout", "cut", "no_image"}


class ChargingApi:
    """Charges for what it serves, at admission or with the answer; what goes wrong may be charged too.

    `counts` has the answers by status or fault; `ledger` the money. `tells`: answers carry the balance. `credits`:
    something else pays than the balance that it tells.
    """

    def __init__(
        self,
        clock: Any,
        rng: random.Random,
        *,
        balance_usd: float = 1e6,
        fault_rate: float = 0.0,
        tells: bool = True,
        credits_usd: float | None = None,
    ) -> None:
        self.clock = clock
        self.rng = rng
        self.told_usd = balance_usd if credits_usd is not None else None
        self.ledger = Ledger(balance_usd if credits_usd is None else credits_usd)
        self.fault_rate = fault_rate
        self.tells = tells
        self.charges_at_once = rng.random() < 0.5
        self.counts: dict[str, int] = {}
        self._models = catalogue.shipped()

    async def balance(self) -> int:
        """What the listing says."""
        await self.clock.wait(anyio.Event(), self.rng.uniform(0.1, 1))
        return round(self._balance_usd * 1_000_000)

    @property
    def _balance_usd(self) -> float:
        return self.ledger.balance_usd if self.told_usd is None else self.told_usd

    def error_bucket(self, endpoint, body):
        return ""

    async def generate(self, endpoint: Endpoint, body: dict[str, Any], writer: Any) -> Reply:
        sent_s = self.clock.now()
        await self.clock.wait(anyio.Event(), self.rng.uniform(0, 0.2))
        order = native_request.read(body, self._models)
        assert isinstance(order, Order), order
        price = price_micro_usd(order)
        fault = self.rng.choice(FAULTS) if self.rng.random() < self.fault_rate else ""
        balance = self._balance_usd
        if fault in ("connect", "503", "429"):
            return self._answer(fault, sent_s)
        if not self.ledger.reserve(price):
            return self._answer("402", sent_s, balance)
        charged = not fault or fault == "full disk" or (fault in MAY_BE_CHARGED and self.rng.random() < 0.5)
        if not self.charges_at_once:
            self.ledger.give_back(price)
        try:
            await self.clock.wait(anyio.Event(), self.rng.uniform(0.1, 20))
        finally:  # a client that leaves is served all the same
            if not self.charges_at_once:
                self.ledger.reserve(price)
            self.ledger.charge(price) if charged else self.ledger.give_back(price)
        if fault == "full disk":
            raise FolderError("out", "the disk is full")
        return self._answer(fault or "200", sent_s, balance)

    def _answer(self, what: str, sent_s: float, balance_usd: float | None = None) -> Reply:
        self.counts[what] = self.counts.get(what, 0) + 1
        status = int(what) if what.isdigit() else None
        fault = None if status else Fault(what)
        head = AnswerHeaders(
            retry_after_s=2.0 if status == 429 else None,
            rate=RateLimit(),
            balance_usd=balance_usd if self.tells and status else None,
            balance_diem=0.0 if self.tells and status else None,
        )
        answer = Answer(status, head, what, sent_s, self.clock.now(), fault)
        return Reply(answer, (ImageFile("images/a.png", 1, "0" * 64, "png", 1, 1),) if status == 200 else ())
