"""An API that charges, for runs on a simulated clock: it reads and prices requests as the sandbox does."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import anyio

from venice_batch.api.answers import Answer, Fault, Reply
from venice_batch.api.responses import AnswerHeaders, RateLimit
from venice_batch.errors import FolderError
from venice_batch.model import ImageFile, Job, Sent
from venice_batch.sandbox.catalogue import ENHANCEMENT_MICRO_USD, shipped
from venice_batch.sandbox.errors import ErrorAnswer
from venice_batch.sandbox.generate import read_native
from venice_batch.sandbox.ledger import Ledger
from venice_batch.sandbox.request import GenerateRequest

FAULTS = ("500", "503", "429", "408", "502", "504", "520", "524", "timeout", "cut", "no_image", "connect", "full disk")
MAY_BE_CHARGED = {"502", "504", "520", "524", "timeout", "cut", "no_image"}


class ChargingApi:
    """Charges for what it serves, at admission or with the answer; what goes wrong may be charged too.

    `counts` has the answers by status or fault; `ledger` the money, `unpaid` how many requests it was too little for.
    `tells`: answers carry the balance. `credits`: something else pays than the balance that it tells. `refused` is the
    share of requests whose image is withheld, and free; `rewritten` the share of prompts that are enhanced where that
    is asked for.
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
        diem: float = 0.0,
        bundled_usd: float = 0.0,
        refused: float = 0.0,
        rewritten: float = 0.6,
    ) -> None:
        self.clock = clock
        self.rng = rng
        self.told_usd = balance_usd if credits_usd is not None else None
        balance_usd = balance_usd if credits_usd is None else credits_usd
        self.ledger = Ledger(balance_usd, diem=diem, bundled_usd=bundled_usd)
        self.refused = refused
        self.rewritten = rewritten
        self.fault_rate = fault_rate
        self.tells = tells
        self.charges_at_once = rng.random() < 0.5
        self.counts: dict[str, int] = {}
        self.unpaid = 0
        self.charges: Counter[str] = Counter()
        """How often each prompt was charged."""
        self._models = shipped()

    async def balances(self) -> dict[str, int]:
        """What the listing says."""
        await self.clock.wait(anyio.Event(), self.rng.uniform(0.1, 1))
        listed = self.ledger.spendable("") | ({} if self.told_usd is None else {"USD": self.told_usd})
        return {name: round(amount * 1_000_000) for name, amount in listed.items()}

    @property
    def _balances(self) -> tuple[float, float]:
        return self.ledger.balance_usd if self.told_usd is None else self.told_usd, self.ledger.diem

    async def fetch(self, job: Job, body: dict[str, Any], sent: Sent | None = None) -> Reply:
        sent_s = self.clock.now()
        await self.clock.wait(anyio.Event(), self.rng.uniform(0, 0.2))
        request = read_native(body, self._models)
        assert isinstance(request, GenerateRequest), request
        enhance = bool(request.enhanced_prompt)
        price = request.price_micro_usd + (ENHANCEMENT_MICRO_USD if enhance else 0)
        rewritten = enhance and self.rng.random() < self.rewritten
        due = price if rewritten or not enhance else price - ENHANCEMENT_MICRO_USD
        withheld = self.rng.random() < self.refused
        fault = self.rng.choice(FAULTS) if self.rng.random() < self.fault_rate else ""
        balances = self._balances
        if fault in ("connect", "503", "429"):
            return self._answer(fault, sent_s)
        payment = self.ledger.reserve(price)
        if isinstance(payment, ErrorAnswer):
            return self._answer("402", sent_s, balances)
        charged = not fault or fault == "full disk" or (fault in MAY_BE_CHARGED and self.rng.random() < 0.5)
        charged = charged and not withheld
        if not self.charges_at_once:
            self.ledger.give_back(payment)
        try:
            await self.clock.wait(anyio.Event(), self.rng.uniform(0.1, 20))
        finally:  # a client that leaves is served all the same
            if self.charges_at_once:
                self.ledger.give_back(payment)
            if charged:
                paid = self.ledger.reserve(due)
                self.unpaid += isinstance(paid, ErrorAnswer)
                if not isinstance(paid, ErrorAnswer):
                    self.ledger.charge(paid)
                    self.charges[body["prompt"]] += 1
        if fault == "full disk":
            raise FolderError("out", "the disk is full")
        return self._answer(fault or "200", sent_s, balances, rewritten=rewritten, withheld=withheld)

    def _answer(
        self,
        what: str,
        sent_s: float,
        balances: tuple[float, float] | None = None,
        *,
        rewritten: bool = False,
        withheld: bool = False,
    ) -> Reply:
        self.counts[what] = self.counts.get(what, 0) + 1
        status = int(what) if what.isdigit() else None
        fault = None if status else Fault(what)
        head = AnswerHeaders(
            retry_after_s=2.0 if status == 429 else None,
            rate=RateLimit(),
            content_violation=withheld and status == 200,
            enhanced_prompt="with more detail" if rewritten and status == 200 else None,
            balance_usd=balances[0] if balances and self.tells and status else None,
            balance_diem=balances[1] if balances and self.tells and status else None,
        )
        answer = Answer(status, head, what, sent_s, self.clock.now(), fault)
        return Reply(answer, (ImageFile("images/a.png", 1, "0" * 64, "png", 1, 1),) if status == 200 else ())
