import random

import anyio
import pytest
from fakes import FakeClock, FakeFetcher, Scripted, job, reset_in

from venice_batch.api.listings import Quota
from venice_batch.errors import ExitCode, FolderError, JobsFileError, Problem
from venice_batch.events import JobEnded, Stopping
from venice_batch.pacing.limiter import RateLimiter, SendingRules
from venice_batch.run.attempts import JobRunner
from venice_batch.run.retry import AttemptRules
from venice_batch.run.slots import Slots
from venice_batch.run.spending import Spending, SpendingGuard
from venice_batch.run.stop import Connectivity, Patience, Stop, StopSignal
from venice_batch.run.workers import LaneQueue, Pool


class Reading:
    """Jobs that count how many of them were read."""

    def __init__(self, count, error=None):
        self.read = 0
        self._count = count
        self._error = error

    def __iter__(self):
        for number in range(self._count):
            self.read += 1
            yield job(f"j{number}")
        if self._error is not None:
            raise self._error


def taken(feed):
    found = []
    while (one := feed.take()) is not None:
        found.append(one[0].id)
    return found


async def test_every_job_comes_once_and_in_order():
    assert taken(LaneQueue(iter(Reading(5)), 2, FakeClock())) == ["j0", "j1", "j2", "j3", "j4"]


async def test_no_more_than_allowed_are_read_ahead():
    reading = Reading(100)
    feed = LaneQueue(iter(reading), 3, FakeClock())
    assert reading.read == 0
    for number in range(10):
        feed.take()
        assert reading.read == number + 1 + 3


async def test_a_job_carries_the_moment_it_was_read():
    async with FakeClock() as clock:
        feed = LaneQueue(iter(Reading(3)), 1, clock)
        first = feed.take()
        began_s = clock.now()
        await clock.wait(anyio.Event(), 5.0)
        second, third = feed.take(), feed.take()
    assert [moment for _, moment in (first, second, third)] == [began_s, began_s, began_s + 5.0]


async def test_what_reading_raises_is_raised_once_and_loses_no_job():
    feed = LaneQueue(iter(Reading(2, ValueError("gone"))), 5, FakeClock())
    with pytest.raises(ValueError, match="gone"):
        feed.take()
    assert taken(feed) == ["j0", "j1"]


class Lane:
    def __init__(self, jobs, then=None):
        self._jobs = jobs
        self.name = jobs[0].model if jobs else "m"
        self.pending = len(jobs)
        self.read = 0
        self._then = then

    def jobs(self):
        for one in self._jobs:
            self.read += 1
            yield one
        if self._then is not None:
            raise self._then


class Journal:
    def __init__(self, error=None):
        self.outcomes = []
        self._error = error

    async def append(self, outcome):
        await anyio.lowlevel.checkpoint()
        if self._error is not None:
            raise self._error
        self.outcomes.append(outcome)


class Run:
    def __init__(self, clock, scripts=None, *, default=None, concurrency=4, quotas=None, journal=None, deadline_s=None,
                 workers=8, max_failures=None, grace_s=60.0):  # fmt: skip
        self.clock = clock
        self.stop_signal = StopSignal()
        self.journal = journal or Journal()
        self.api = FakeFetcher(clock, scripts, default or Scripted())
        self.events = []
        rng = random.Random(1)
        rules = SendingRules(concurrency=concurrency, errors=None)
        limiter = RateLimiter(rules, rng, quotas=quotas)
        deadline_s = float("inf") if deadline_s is None else clock.now() + deadline_s
        self.slots = Slots(limiter, clock, self.stop_signal, deadline_s=deadline_s)
        runner = JobRunner(
            fetcher=self.api, slots=self.slots, stop_signal=self.stop_signal,
            connectivity=Connectivity(Patience()),
            clock=clock, rng=rng, rules=AttemptRules(max_attempts=2), catalogue=None,
            money=SpendingGuard(Spending(), self.slots, self.stop_signal),
            run_id="run", observe=self.events.append,
        )  # fmt: skip
        self.pool = Pool(
            runner=runner, journal=self.journal, slots=self.slots, stop_signal=self.stop_signal, clock=clock,
            observe=self.events.append, workers=workers, grace_s=grace_s, max_failures=max_failures,
        )  # fmt: skip

    async def __call__(self, *lanes):
        await self.pool.run([lane if isinstance(lane, Lane) else Lane(lane) for lane in lanes])
        return sorted(outcome.id for outcome in self.journal.outcomes)


@pytest.fixture
async def clock():
    async with FakeClock() as clock:
        yield clock


def many(count, model="m", prefix="j"):
    return [job(f"{prefix}{number}", model=model) for number in range(count)]


async def test_every_job_gets_one_outcome_in_the_journal_and_one_event(clock):
    run = Run(clock)
    assert await run(many(30)) == sorted(f"j{number}" for number in range(30))
    assert sum(isinstance(event, JobEnded) for event in run.events) == 30


async def test_no_more_requests_are_under_way_than_the_ceiling_over_all_lanes(clock):
    run = Run(clock, concurrency=3)
    await run(many(20, "a", "a"), many(20, "b", "b"))
    assert run.api.most_in_flight == 3


async def test_the_file_is_read_no_further_than_the_queue_is_long(clock):
    lane = Lane(many(1000))
    run = Run(clock, concurrency=2, workers=4)

    def stop(event):
        if isinstance(event, JobEnded):
            run.stop_signal.request(Stop(ExitCode.SIGINT, "test"))

    run.pool._observe = stop
    await run(lane)
    assert lane.read <= 2 * 4 + 4


async def test_a_lane_that_waits_holds_back_no_other(clock):
    run = Run(clock, {"a0": [Scripted(429, retry_after_s=1000)]}, concurrency=2)
    await run(many(1, "a", "a"), many(10, "b", "b"))
    ended = {event.outcome.id: clock for event in run.events if isinstance(event, JobEnded)}
    assert len(ended) == 11
    last_of_b = max(moment for moment, prompt in run.api.asked if prompt.startswith("b"))
    assert last_of_b < clock.start_s + 100


async def test_a_window_is_used_at_once_and_the_next_one_at_its_reset(clock):
    quotas = {"m": Quota(rpm=5)}
    run = Run(clock, concurrency=8, quotas=quotas, default=Scripted(rate=reset_in(30, limit=5, remaining=0)))
    await run(many(10))
    sent = sorted(moment - clock.start_s for moment, _ in run.api.asked)
    assert sent[4] < 5
    assert 30 <= sent[5] < 40


async def test_a_stop_lets_what_is_under_way_finish_and_starts_nothing_else(clock):
    run = Run(clock, default=Scripted(latency_s=10), concurrency=4)

    async def interrupt():
        await clock.wait(anyio.Event(), 5)
        run.stop_signal.request(Stop(ExitCode.SIGINT, "test"))

    async with anyio.create_task_group() as group:
        group.start_soon(interrupt)
        done = await run(many(100))
    assert len(done) == 4
    assert len(run.api.asked) == 4
    assert [event.in_flight for event in run.events if isinstance(event, Stopping)] == [4]


async def test_what_takes_longer_than_the_grace_is_cancelled(clock):
    run = Run(clock, default=Scripted(latency_s=1000), grace_s=60)

    async def interrupt():
        await clock.wait(anyio.Event(), 5)
        run.stop_signal.request(Stop(ExitCode.SIGTERM, "test"))

    async with anyio.create_task_group() as group:
        group.start_soon(interrupt)
        assert await run(many(10)) == []
    assert clock.now() == clock.start_s + 65
    assert run.slots.in_flight == 0


async def test_so_many_failures_stop_the_run(clock):
    run = Run(clock, default=Scripted(400, message="no"), max_failures=3, concurrency=1)
    await run(many(50))
    # The fourth went out while the third's record was being written.
    assert len(run.journal.outcomes) == len(run.api.asked) <= 4
    assert run.stop_signal.stop.code is ExitCode.TEMPORARY
    assert "--max-failures" in run.stop_signal.stop.reason


async def test_a_folder_that_takes_no_more_stops_the_run(clock):
    run = Run(clock, journal=Journal(FolderError("out", "the disk is full")))
    assert await run(many(50)) == []
    assert run.stop_signal.stop.code is ExitCode.FOLDER_UNUSABLE
    assert len(run.api.asked) <= 8


async def test_an_image_that_cannot_be_stored_stops_the_run(clock):
    run = Run(clock, default=Scripted(raises=FolderError("out", "the disk is full")))
    assert await run(many(50)) == []
    assert run.stop_signal.stop.reason == "out: the disk is full"


async def test_a_file_that_changes_during_the_run_stops_it(clock):
    changed = JobsFileError([Problem("jobs.jsonl", 0, "", "line 3 has changed")])
    run = Run(clock)
    await run(Lane(many(2), then=changed))
    assert run.stop_signal.stop.code is ExitCode.INVALID


async def test_a_wait_beyond_the_deadline_ends_the_lane_at_once(clock):
    run = Run(clock, {"j0": [Scripted(429, retry_after_s=500)]}, deadline_s=100, concurrency=1)
    assert await run(many(3)) == []
    assert clock.now() < clock.start_s + 5
    assert run.slots.parked.code is ExitCode.TEMPORARY
    assert "--max-time" in run.slots.parked.reason


async def test_a_spent_daily_quota_ends_the_lane_and_not_the_others(clock):
    run = Run(clock, {"a0": [Scripted(429, retry_after_s=40_000)]})
    assert await run(many(5, "a", "a")[:1], many(5, "b", "b")) == [f"b{number}" for number in range(5)]
    assert run.slots.parked.reason.startswith("a may send again in ")
    assert "daily quota" in run.slots.parked.reason


async def test_no_lanes_end_at_once(clock):
    assert await Run(clock)([]) == []


async def test_a_lane_has_as_many_workers_as_it_can_use_and_no_more(clock):
    run = Run(clock, concurrency=64, workers=64, quotas={"m": Quota(rpm=5)}, default=Scripted(latency_s=30))
    started = []
    work = run.pool._work

    async def counted(feed):
        started.append(feed)
        await work(feed)

    run.pool._work = counted
    assert len(await run(many(12))) == 12
    assert len(started) <= 8


async def test_a_model_that_is_gone_costs_one_request_and_all_its_jobs_are_rejected(clock):
    gone = Scripted(404, message="flux-dev was retired; use flux-2-pro", latency_s=0.1)
    run = Run(clock, default=gone, concurrency=1)
    assert len(await run(many(30))) == 30
    assert len(run.api.asked) == 1
    assert {outcome.error.message for outcome in run.journal.outcomes} == {"flux-dev was retired; use flux-2-pro"}


async def test_a_lane_that_has_worked_is_given_up_at_the_second_such_answer_in_a_row(clock):
    gone = Scripted(404, message="Specified model not found")
    run = Run(clock, {"j1": [gone], "j3": [gone], "j4": [gone]}, concurrency=1)
    await run(many(8))
    succeeded = {outcome.id for outcome in run.journal.outcomes if outcome.error is None}
    assert succeeded == {"j0", "j2"}
    assert len(run.api.asked) == 5


async def test_a_job_for_several_images_is_not_passed_by_a_smaller_one(clock):
    run = Run(clock, concurrency=64, workers=64, quotas={"m": Quota(rpm=5)})
    jobs = [job("j0", variants=3), job("j1", variants=3), job("j2")]
    await run(jobs)
    assert [prompt for _, prompt in run.api.asked] == ["j0", "j1", "j2"]
    assert run.api.asked[1][0] >= clock.start_s + 55


async def test_a_pause_of_the_process_is_no_grace(clock):
    run = Run(clock, default=Scripted(latency_s=50), grace_s=20.0)

    async def pause():
        await clock.wait(anyio.Event(), 10)
        run.stop_signal.request(Stop(ExitCode.SIGINT, "test"))
        await clock.wait(anyio.Event(), 10)
        clock.stop(30)  # what is under way is answered meanwhile, and read at second 50

    async with anyio.create_task_group() as group:
        group.start_soon(pause)
        assert await run(many(2)) == ["j0", "j1"]


@pytest.mark.parametrize(("latency_s", "ended"), [(20.0, ["j0", "j1"]), (40.0, [])])
async def test_a_pause_longer_than_grace_leaves_what_was_left_of_it(clock, latency_s, ended):
    run = Run(clock, default=Scripted(latency_s=1000 + latency_s), grace_s=30.0)

    async def pause():
        await clock.wait(anyio.Event(), 1)
        run.stop_signal.request(Stop(ExitCode.SIGINT, "test"))
        await clock.wait(anyio.Event(), 1)
        clock.stop(1000)

    async with anyio.create_task_group() as group:
        group.start_soon(pause)
        assert await run(many(2)) == ended
