"""Runs against an API that charges, on a simulated clock, for the tests of what runs spend."""

import anyio
from charging_api import ChargingApi

from venice_batch.catalogue import snapshot
from venice_batch.errors import ExitCode
from venice_batch.model import Status
from venice_batch.pacing.limiter import RateLimiter, SendingRules
from venice_batch.run.attempts import JobRunner
from venice_batch.run.retry import AttemptRules
from venice_batch.run.slots import Slots
from venice_batch.run.spending import Spending, SpendingGuard
from venice_batch.run.stop import Connectivity, Patience, Stop, StopSignal
from venice_batch.run.workers import Pool

CATALOGUE = snapshot().catalogue(1_793_491_200.0)
CONCURRENCY = 32


def shapes():
    """Requests of every way to be priced: by image, by tier, by tier and quality; one and several images."""
    yield {"model": "venice-sd35"}
    yield {"model": "z-image-turbo", "variants": 3}
    yield {"model": "qwen-image", "aspect_ratio": "3:2"}
    yield from ({"model": "nano-banana-pro", "resolution": tier} for tier in ("1K", "2K", "4K"))
    yield {"model": "grok-imagine-image", "resolution": "2k", "variants": 4}
    for tier in ("1K", "2k", "4K"):
        for quality in ("low", "medium", "high"):
            yield {"model": "gpt-image-2", "resolution": tier, "quality": quality, "aspect_ratio": "16:9"}
    yield {"model": "gpt-image-2"}


SHAPES = list(shapes())
MOST_USD = 0.87
"""No request of these costs more, its enhancement included."""


class Lane:
    def __init__(self, jobs):
        self._jobs = jobs
        self.name = jobs[0].model
        self.pending = len(jobs)

    def jobs(self):
        return iter(self._jobs)


class Journal:
    def __init__(self):
        self.outcomes = []

    async def append(self, outcome):
        self.outcomes.append(outcome)


class MoneyRun:
    """Jobs, an account and a cap (USD), and what came of them."""

    def __init__(self, clock, rng, jobs, *, cap_usd=None, lists=True, grace_s=60.0, rules=None, budget=None, **api):
        self.clock, self.jobs, self.lists = clock, jobs, lists
        self.api = ChargingApi(clock, rng, **api)
        self.spending = Spending(None if cap_usd is None else round(cap_usd * 1e6))
        self.stop_signal = StopSignal()
        self.notices = []
        self.journal = Journal()
        limiter = RateLimiter(SendingRules(concurrency=CONCURRENCY, errors=None), rng)
        slots = Slots(limiter, clock, self.stop_signal, deadline_s=float("inf"))
        asks = self.api.balances if lists else None
        money = SpendingGuard(
            self.spending, slots, self.stop_signal, ask_balances=asks, budget=budget, notify=self.notices.append
        )
        runner = JobRunner(
            fetcher=self.api, slots=slots, stop_signal=self.stop_signal,
            connectivity=Connectivity(Patience()),
            clock=clock, rng=rng, rules=rules or AttemptRules(max_attempts=3), money=money, catalogue=CATALOGUE,
            run_id="run", observe=lambda event: None,
        )  # fmt: skip
        self.pool = Pool(
            runner=runner, journal=self.journal, slots=slots, stop_signal=self.stop_signal, clock=clock,
            observe=lambda event: None, workers=2 * CONCURRENCY, grace_s=grace_s, max_failures=None,
        )  # fmt: skip

    async def __call__(self, *, stop_after_s=None):
        if self.lists:
            self.spending.update_balances(await self.api.balances(), spent_before=0)
        lanes = {}
        for one in self.jobs:
            lanes.setdefault(one.model, []).append(one)
        async with anyio.create_task_group() as group:
            if stop_after_s is not None:
                group.start_soon(self._stop, stop_after_s)
            await self.pool.run([Lane(jobs) for jobs in lanes.values()])
            group.cancel_scope.cancel()
        return self

    async def _stop(self, after_s):
        await self.clock.wait(anyio.Event(), after_s)
        self.stop_signal.request(Stop(ExitCode.SIGINT, "test"))

    @property
    def charged(self):
        return round(self.api.ledger.charged_usd * 1e6)

    @property
    def succeeded(self):
        return sum(outcome.status is Status.SUCCEEDED for outcome in self.journal.outcomes)
