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
from venice_batch.output.ledger import Entry, Ledger, moment, read_books
from venice_batch.run.budget import Budget, Window, day_of
from venice_batch.run.stop import Stop

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


class Waiting:
    """A run of two jobs at 0.01 USD under a cap of 0.025 USD; another computer has reserved 0.01 of that."""

    def __init__(self, clock, path):
        self.run = OneOfMany(clock, random.Random(1), path, 0.025, [job(one, model="venice-sd35") for one in "ab"], 1)
        self.other = Ledger(path, run_id="other", wall=clock.wall)
        self.other.open()
        now = clock.wall()
        reserved = Entry(moment(now), "reserved", "other", 1, 10_000, process="elsewhere:1", ends=moment(now + 300))
        self.other.update(lambda books: (reserved,))

    def settle(self, spent):
        settled = Entry(moment(0), "settled", "other", 1, spent)
        self.other.update(lambda books: (settled,))

    @property
    def made(self):
        return len(self.run.money.journal.outcomes)


@pytest.fixture
async def waiting(clock, tmp_path):
    found = Waiting(clock, tmp_path / "budget.jsonl")
    yield found
    found.other.close()


async def test_a_run_waits_without_a_slot_for_money_that_another_may_give_back(waiting, clock):
    async with anyio.create_task_group() as group:
        group.start_soon(waiting.run, 0)
        await clock.wait(anyio.Event(), 100)
        assert (waiting.made, waiting.run.money.pool._slots.in_flight) == (1, 0)
        waiting.settle(0)
    assert (waiting.made, waiting.run.code) == (2, None)
    (notice,) = waiting.run.money.notices
    assert notice.endswith("budget.jsonl: waiting for money that other runs have reserved and may give back")


async def test_a_run_ends_once_another_has_spent_what_it_waited_for(waiting, clock):
    async with anyio.create_task_group() as group:
        group.start_soon(waiting.run, 0)
        await clock.wait(anyio.Event(), 100)
        waiting.settle(10_000)
    assert (waiting.made, waiting.run.code) == (1, ExitCode.OUT_OF_MONEY)


async def test_a_run_waits_for_another_computer_no_longer_than_its_request_may_take(waiting, clock):
    began_s = clock.now()
    await waiting.run(0)
    assert (waiting.made, waiting.run.code) == (1, ExitCode.OUT_OF_MONEY)
    assert 299 < clock.now() - began_s < 310


async def test_a_run_that_waits_for_money_can_be_stopped(waiting, clock):
    async with anyio.create_task_group() as group:
        group.start_soon(waiting.run, 0)
        await clock.wait(anyio.Event(), 100)
        waiting.run.money.stop_signal.request(Stop(ExitCode.SIGINT, "test"))
    assert (waiting.made, waiting.run.code) == (1, ExitCode.SIGINT)
    assert clock.now() < clock.start_s + 110
