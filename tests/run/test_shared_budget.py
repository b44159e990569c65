"""Ten runs at once against one budget file, on a simulated clock: together they spend what they may, and no more."""

import random

import anyio
import pytest
from fakes import FakeClock, job
from hypothesis import settings
from run.money import SHAPES, MoneyRun

from venice_batch.errors import ExitCode
from venice_batch.money import micro_usd
from venice_batch.output import ledger as ledger_module
from venice_batch.output.ledger import Ledger, read_books
from venice_batch.run.budget import Budget, Window, day_of

RUNS = 10
TURNS = settings.default.max_examples // 5
"""Eight by default, a hundred with HYPOTHESIS_PROFILE=thorough."""
PRICES = {"venice-sd35": 10_000, "qwen-image": 40_000}


class InlineDisk:
    """Runs a disk's calls at once; those of a killed run do nothing."""

    def __init__(self):
        self.is_killed = False

    async def run(self, function):
        return None if self.is_killed else function()


class OneOfMany:
    """A run with its own open budget file and everything else that it needs."""

    def __init__(self, clock, rng, path, cap_usd, jobs, number, **api):
        self.disk = InlineDisk()
        self.ledger = Ledger(path, run_id=f"run-{number}", wall=clock.wall)
        self.ledger.open()
        caps = {Window.MONTH: micro_usd(cap_usd)}
        budget = Budget(self.ledger, caps, clock, self.disk, run_id=f"run-{number}", output=f"/out/{number}")
        self.jobs = jobs
        self.money = MoneyRun(clock, rng, jobs, lists=False, budget=budget, grace_s=5.0, **api)

    async def __call__(self, begins_s, killed_s=None):
        await self.money.clock.wait(anyio.Event(), begins_s)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                if killed_s is not None:
                    group.start_soon(self._kill, killed_s, scope)
                await self.money()
                group.cancel_scope.cancel()
        self.ledger.close()

    async def _kill(self, after_s, scope):
        await self.money.clock.wait(anyio.Event(), after_s)
        self.disk.is_killed = True
        ledger_module._live.discard(self.ledger._run_id)
        scope.cancel()

    @property
    def code(self):
        stop = self.money.stop_signal.stop
        return stop and stop.code

    @property
    def left(self):
        ended = {outcome.id for outcome in self.money.journal.outcomes}
        return [one for one in self.jobs if one.id not in ended]


@pytest.fixture
async def clock():
    async with FakeClock() as clock:
        clock.IDLE_TURNS = 12
        yield clock


async def ten_runs(clock, rng, path, shapes, cap_usd, killed, **api):
    count = rng.randint(1, 12)
    jobs = [[job(f"{run}-{number}", **rng.choice(shapes)) for number in range(count)] for run in range(RUNS)]
    runs = [OneOfMany(clock, rng, path, cap_usd, own, number, **api) for number, own in enumerate(jobs)]
    async with anyio.create_task_group() as group:
        for number, run in enumerate(runs):
            group.start_soon(run, rng.uniform(0, 30), rng.uniform(0, 20) if number in killed else None)
    begins, _ = Window.MONTH.bounds(clock.wall())
    books = read_books(path, now_unix_s=clock.wall())
    return runs, books.committed(day_of(begins.timestamp()), sandbox=False)


async def test_ten_runs_of_which_two_are_killed_use_a_cap_up_and_never_exceed_it(clock, tmp_path):
    """Random jobs of one price, faults, caps and beginnings; the API itself counts what it has charged."""
    rng = random.Random(21)
    cut_short = 0
    for turn in range(TURNS):
        model = rng.choice(list(PRICES))
        cap_usd = round(rng.uniform(0.05, 40 * PRICES[model] / 1e6), 4)
        killed = rng.sample(range(RUNS), 2)
        api = {"fault_rate": rng.choice((0.0, 0.2, 0.6)), "refused": rng.choice((0.0, 0.3))}
        path, shapes = tmp_path / f"{turn}.jsonl", [{"model": model}]
        runs, committed = await ten_runs(clock, rng, path, shapes, cap_usd, killed, **api)
        charged = sum(run.money.charged for run in runs)
        assert charged <= committed <= micro_usd(cap_usd)
        alive = [run for number, run in enumerate(runs) if number not in killed]
        out_of_money = [run for run in alive if run.code is ExitCode.OUT_OF_MONEY]
        # A full disk ends a run too; otherwise jobs are left only if the cap is used up.
        assert not any(run.left for run in alive if run.code is None)
        if out_of_money:
            assert micro_usd(cap_usd) - committed < PRICES[model]
            cut_short += 1
    assert cut_short > TURNS / 3


async def test_whatever_the_prices_a_run_ends_only_at_a_job_that_does_not_fit(clock, tmp_path):
    rng = random.Random(22)
    cut_short = 0
    for turn in range(TURNS):
        cap_usd = round(rng.uniform(0.5, 8), 3)
        path = tmp_path / f"{turn}.jsonl"
        runs, committed = await ten_runs(clock, rng, path, SHAPES, cap_usd, (), fault_rate=0.2)
        assert sum(run.money.charged for run in runs) <= committed <= micro_usd(cap_usd)
        for run in runs:
            assert bool(run.left) == (run.code is not None)
            cut_short += run.code is ExitCode.OUT_OF_MONEY
    assert cut_short > TURNS
