import random
from datetime import UTC, datetime

import anyio
import pytest
from fakes import OK, FakeClock, FakeFetcher, Scripted, job, reset_in

from venice_batch.api.answers import Fault
from venice_batch.catalogue import Catalogue
from venice_batch.catalogue.models import parse
from venice_batch.errors import ExitCode, FolderError, SourceError, UsageError
from venice_batch.events import AttemptEnded, Reachable, Retrying, Unreachable
from venice_batch.model import Status
from venice_batch.pacing.limiter import RateLimiter, SendingRules
from venice_batch.run.attempts import JobRunner
from venice_batch.run.retry import AttemptRules
from venice_batch.run.slots import Slots
from venice_batch.run.spending import Spending, SpendingGuard
from venice_batch.run.stop import Connectivity, Patience, Stop, StopSignal

MODEL = {"id": "m", "model_spec": {"pricing": {"generation": {"usd": 0.4}}}}
PRICED = Catalogue([model for model in [parse(MODEL)] if model], listed=datetime.now(UTC), now=datetime.now(UTC))


class Bench:
    """A runner with everything around it faked."""

    def __init__(
        self, clock, scripts, *, max_attempts=3, max_paid_attempts=2, concurrency=4, catalogue=None, spending=None,
        known=False,
    ):  # fmt: skip
        self.clock = clock
        self.stop_signal = StopSignal()
        self.spending = spending or Spending()
        self.api = FakeFetcher(clock, scripts)
        rng = random.Random(1)
        limiter = RateLimiter(SendingRules(concurrency=concurrency), rng)
        self.slots = Slots(limiter, clock, self.stop_signal, deadline_s=float("inf"))
        self.all_events = []
        self.runner = JobRunner(
            fetcher=self.api,
            slots=self.slots,
            stop_signal=self.stop_signal,
            connectivity=Connectivity(Patience(first_s=15, later_s=120), known=known),
            clock=clock,
            rng=rng,
            rules=AttemptRules(max_attempts=max_attempts, max_paid_attempts=max_paid_attempts),
            money=SpendingGuard(self.spending, self.slots, self.stop_signal),
            catalogue=catalogue,
            run_id="run",
            observe=self.all_events.append,
        )

    @property
    def events(self):
        """The ends of attempts."""
        return [event for event in self.all_events if isinstance(event, AttemptEnded)]

    def seen(self, kind):
        return [event for event in self.all_events if isinstance(event, kind)]

    async def run(self, prompt="p", **fields):
        return await self.runner.run(job(prompt, **fields), self.clock.now())


@pytest.fixture
async def clock():
    async with FakeClock() as clock:
        yield clock


async def test_a_good_answer_becomes_a_succeeded_outcome_with_every_field_filled(clock):
    outcome = await Bench(clock, {}).run()
    assert outcome.status is Status.SUCCEEDED
    assert outcome.error is None
    assert [attempt.status for attempt in outcome.attempts] == [200]
    assert outcome.attempts[0].duration_s == 1.0
    assert outcome.attempts[0].ray == "ray-1"
    assert outcome.timing.ttfb_s == 0.5
    assert outcome.timing.total_s == 1.0
    assert outcome.timing.enqueued_at.endswith("Z")
    assert outcome.request["return_binary"] is True


@pytest.mark.parametrize("status", [400, 404, 413, 415, 422])
async def test_what_must_fail_again_is_rejected_after_one_request(clock, status):
    bench = Bench(clock, {"p": [Scripted(status, message="no")]})
    outcome = await bench.run()
    assert outcome.status is Status.REJECTED
    assert outcome.error.status == status
    assert outcome.error.message == "no"
    assert len(bench.api.asked) == 1


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 522, 524])
async def test_what_may_pass_is_tried_again_after_a_backoff_without_a_slot(clock, status):
    bench = Bench(clock, {"p": [Scripted(status)]})
    outcome = await bench.run()
    assert outcome.status is Status.SUCCEEDED
    assert [attempt.status for attempt in outcome.attempts] == [status, 200]
    assert outcome.attempts[0].wait_s > 0
    assert outcome.timing.backoff_s == pytest.approx(outcome.attempts[0].wait_s, abs=1e-5)
    assert outcome.attempts[1].wait_s == 0


async def test_each_attempt_tells_when_it_was_sent_since_the_job_was_enqueued(clock):
    bench = Bench(clock, {"p": [Scripted(429, retry_after_s=30, latency_s=2), Scripted(500, latency_s=3)]})
    enqueued_s = clock.now() - 5.0
    outcome = await bench.runner.run(job("p"), enqueued_s)
    moments = [enqueued_s + attempt.sent_s for attempt in outcome.attempts]
    assert moments == pytest.approx([sent_s for sent_s, _ in bench.api.asked])
    assert len(moments) == 3
    last = outcome.attempts[-1]
    assert outcome.timing.total_s == pytest.approx(last.sent_s + last.duration_s)


async def test_attempts_are_bounded(clock):
    bench = Bench(clock, {"p": [Scripted(500, message="boom")] * 9}, max_attempts=3)
    outcome = await bench.run()
    assert outcome.status is Status.FAILED
    assert len(outcome.attempts) == 3
    assert outcome.error.kind == "server"
    assert outcome.attempts[-1].wait_s == 0


async def test_waiting_for_a_gate_uses_up_no_attempts(clock):
    limited = Scripted(429, retry_after_s=30)
    bench = Bench(clock, {"p": [limited] * 5}, max_attempts=1)
    outcome = await bench.run()
    assert outcome.status is Status.SUCCEEDED
    assert [attempt.status for attempt in outcome.attempts] == [429] * 5 + [200]
    assert outcome.timing.rate_wait_s >= 5 * 30
    assert outcome.timing.backoff_s == 0


async def test_a_reset_header_on_a_429_closes_the_gate_until_then(clock):
    bench = Bench(clock, {"p": [Scripted(429, rate=reset_in(40))]})
    outcome = await bench.run()
    assert outcome.status is Status.SUCCEEDED
    sent = [moment for moment, _ in bench.api.asked]
    assert sent[1] - sent[0] >= 41


async def test_what_is_kept_unrecognised_ends_its_job_at_once_as_failed_and_possibly_billed(clock):
    bench = Bench(clock, {"p": [Scripted(200, fault=Fault.UNRECOGNISED, message="no image known here")]})
    outcome = await bench.run()
    assert (outcome.status, outcome.error.kind, len(outcome.attempts)) == (Status.FAILED, "unrecognised", 1)
    assert outcome.flags.possibly_billed


@pytest.mark.parametrize("fault", [Fault.TIMEOUT, Fault.CUT, Fault.NO_IMAGE])
async def test_an_image_that_may_be_paid_for_but_never_came_is_marked(clock, fault):
    bench = Bench(clock, {"p": [Scripted(None, fault=fault, message="gone")]})
    outcome = await bench.run()
    assert outcome.status is Status.SUCCEEDED
    assert outcome.flags.possibly_billed


async def test_a_connection_that_never_came_about_is_not_possibly_billed_nor_counted(clock):
    bench = Bench(clock, {"p": [Scripted(None, fault=Fault.CONNECT, latency_s=0)] * 4}, max_attempts=1)
    outcome = await bench.run()
    assert outcome.status is Status.SUCCEEDED
    assert not outcome.flags.possibly_billed


async def test_an_api_that_is_never_reached_stops_the_run(clock):
    bench = Bench(clock, {"p": [Scripted(None, fault=Fault.CONNECT, message="refused", latency_s=1)] * 99})
    assert await bench.run() is None
    assert bench.stop_signal.stop.code is ExitCode.TEMPORARY
    assert "cannot be reached (refused)" in bench.stop_signal.stop.reason


async def test_an_outage_is_reported_once_with_the_moment_at_which_the_run_gives_up(clock):
    refused = Scripted(None, fault=Fault.CONNECT, message="refused", latency_s=1)
    bench = Bench(clock, {"p": [OK, *[refused] * 3, OK]})
    began_unix_s = clock.wall()
    await bench.run()
    assert not bench.seen(Unreachable)
    await bench.run()
    (lost,) = bench.seen(Unreachable)
    assert (lost.reason, lost.gives_up_unix_s) == ("refused", began_unix_s + 2 + 120)
    assert [type(event) for event in bench.all_events[-2:]] == [AttemptEnded, Reachable]


async def test_each_retry_is_reported_with_its_wait_and_the_failure_before(clock):
    bench = Bench(clock, {"p": [Scripted(500, message="broken"), Scripted(503, retry_after_s=7.0)]})
    outcome = await bench.run()
    first, second = bench.seen(Retrying)
    assert (first.number, first.kind, first.last.status, first.last.ray) == (1, "server", 500, "ray-1")
    assert 0 < first.wait_s == outcome.attempts[0].wait_s
    assert (second.number, second.kind, second.wait_s, second.last.retry_after_s) == (2, "overloaded", 0.0, 7.0)
    assert [ended.kind for ended in bench.events] == ["server", "overloaded", ""]


async def test_a_job_that_is_given_up_reports_no_retry(clock):
    bench = Bench(clock, {"p": [Scripted(500)] * 9}, max_attempts=2)
    await bench.run()
    assert [event.number for event in bench.seen(Retrying)] == [1]


async def test_a_refused_key_stops_the_run_and_leaves_the_job_pending(clock):
    bench = Bench(clock, {"p": [Scripted(401, message="Authentication failed")]})
    assert await bench.run() is None
    assert bench.stop_signal.stop.code is ExitCode.KEY_REFUSED


async def test_an_empty_balance_stops_the_run_and_leaves_the_job_pending(clock):
    bench = Bench(clock, {"p": [Scripted(402, message="Insufficient balance")]})
    assert await bench.run() is None
    assert bench.stop_signal.stop.code is ExitCode.OUT_OF_MONEY


async def test_a_model_above_the_keys_tier_rejects_its_lane_and_no_other(clock):
    pro = Scripted(401, message="This model is only available to Pro users")
    bench = Bench(clock, {"p": [pro]})
    first = await bench.run("p", model="pro")
    second = await bench.run("q", model="pro")
    other = await bench.run("r", model="free")
    assert (first.status, second.status, other.status) == (Status.REJECTED, Status.REJECTED, Status.SUCCEEDED)
    assert second.attempts == ()
    assert second.error.kind == "model_access"
    assert [prompt for _, prompt in bench.api.asked] == ["p", "r"]
    assert bench.stop_signal.stop is None


async def test_a_500_that_names_a_wait_counts_and_is_waited_for(clock):
    bench = Bench(clock, {"p": [Scripted(500, retry_after_s=30)] * 9}, max_attempts=3)
    outcome = await bench.run()
    assert outcome.status is Status.FAILED
    assert len(outcome.attempts) == 3
    assert [attempt.wait_s for attempt in outcome.attempts] == [30.0, 30.0, 0.0]


async def test_an_outage_is_sat_out_with_ever_longer_waits(clock):
    bench = Bench(clock, {"p": [Scripted(None, fault=Fault.CONNECT, latency_s=0)] * 20})
    bench.runner._connectivity.note(clock.now(), reached=True)
    assert await bench.run() is None
    assert len(bench.api.asked) < 20
    assert clock.now() >= clock.start_s + 120


async def test_a_pause_of_the_process_is_no_outage(clock):
    bench = Bench(clock, {"p": [Scripted(None, fault=Fault.CONNECT, latency_s=0.1)] * 4})

    def pause(event):
        if len(bench.api.asked) == 2:
            clock.stop(3600)

    bench.runner._observe = pause
    assert (await bench.run()).status is Status.SUCCEEDED
    assert clock.now() > clock.start_s + 3600


PAGE = {"fault": Fault.NOT_THE_API, "message": "a web page", "latency_s": 0.1}


async def test_a_page_that_comes_once_is_waited_out(clock):
    bench = Bench(clock, {"p": [Scripted(404, **PAGE)]}, known=True)
    outcome = await bench.run()
    assert outcome.status is Status.SUCCEEDED
    assert [attempt.status for attempt in outcome.attempts] == [404, 200]
    assert outcome.attempts[0].wait_s > 0


async def test_a_page_that_comes_back_fails_its_job_alone_and_can_be_tried_in_another_run(clock):
    bench = Bench(clock, {"p": [Scripted(403, **PAGE)] * 9}, known=True, max_attempts=6)
    outcome = await bench.run()
    assert (outcome.status, outcome.error.kind, outcome.error.status) == (Status.FAILED, "not_the_api", 403)
    assert len(bench.api.asked) == 2
    assert (await bench.run("q")).status is Status.SUCCEEDED


async def test_pages_for_three_jobs_in_a_row_stop_the_run_with_jobs_pending(clock):
    bench = Bench(clock, {prompt: [Scripted(403, **PAGE)] * 9 for prompt in "abc"}, known=True)
    outcomes = [await bench.run(prompt) for prompt in "abc"]
    assert outcomes[2] is None
    assert bench.stop_signal.stop.code is ExitCode.TEMPORARY
    assert bench.stop_signal.stop.reason.startswith("something on the way to the API refuses everything: a web page")


@pytest.mark.parametrize(("status", "code"), [(403, ExitCode.KEY_REFUSED), (404, ExitCode.TEMPORARY)])
async def test_a_page_before_anything_has_worked_asks_whether_the_address_is_right(clock, status, code):
    bench = Bench(clock, {"p": [Scripted(status, **PAGE)]})
    assert await bench.run() is None
    assert bench.stop_signal.stop.code is code
    assert "is --base-url right?" in bench.stop_signal.stop.reason


async def test_a_key_that_has_worked_is_asked_about_once_more(clock):
    refused = Scripted(401, message="Authentication failed")
    bench = Bench(clock, {"p": [refused], "q": [refused] * 9})
    assert (await bench.run("first")).status is Status.SUCCEEDED
    assert (await bench.run("p")).status is Status.SUCCEEDED
    assert await bench.run("q") is None
    assert bench.stop_signal.stop == Stop(ExitCode.KEY_REFUSED, "the API refused the key: Authentication failed")
    assert [prompt for _, prompt in bench.api.asked] == ["first", "p", "p", "q", "q"]


async def test_one_attempt_that_is_refused_on_the_way_fails_and_rejects_nothing(clock):
    bench = Bench(clock, {"p": [Scripted(401, message="Authentication failed")]}, max_attempts=1)
    await bench.run("first")
    assert (await bench.run("p")).status is Status.FAILED
    assert bench.stop_signal.stop is None


async def test_an_account_without_quota_is_out_of_money_and_not_over_its_rate(clock):
    bench = Bench(clock, {"p": [Scripted(429, message="You exceeded your current quota (insufficient_quota)")]})
    assert await bench.run() is None
    assert bench.stop_signal.stop.code is ExitCode.OUT_OF_MONEY


MAY_BE_CHARGED = [
    Scripted(None, fault=Fault.TIMEOUT, message="no answer within 300 s"),
    Scripted(None, fault=Fault.CUT, message="the connection broke"),
    Scripted(200, fault=Fault.NO_IMAGE, message="the answer holds no image"),
    *(Scripted(status, message="a web page") for status in (502, 504, 520, 524)),
]
FREE = [
    Scripted(None, fault=Fault.CONNECT, message="refused", latency_s=0),
    Scripted(429, retry_after_s=0.1),
    *(Scripted(status) for status in (408, 429, 500, 503, 521, 522, 523, 525, 526)),
]


@pytest.mark.parametrize("lost", MAY_BE_CHARGED)
@pytest.mark.parametrize("most", [1, 2, 3])
async def test_attempts_that_may_be_charged_are_bounded_by_themselves(clock, lost, most):
    bench = Bench(clock, {"p": [lost] * 9}, max_attempts=6, max_paid_attempts=most, catalogue=PRICED)
    outcome = await bench.run()
    assert (outcome.status, len(outcome.attempts), outcome.flags.possibly_billed) == (Status.FAILED, most, True)
    attempts = "1 attempt" if most == 1 else f"{most} attempts"
    again = "to try again, run again or raise --max-paid-attempts"
    assert outcome.error.message == f"{lost.message}; {attempts} may have been charged: {again}"
    assert outcome.at_most_usd == pytest.approx(0.4 * most)


@pytest.mark.parametrize("free", FREE)
async def test_attempts_that_cost_nothing_do_not_count_among_them(clock, free):
    lost = Scripted(None, fault=Fault.TIMEOUT)
    bench = Bench(clock, {"p": [free, lost, free, OK]}, max_attempts=6)
    outcome = await bench.run()
    assert (outcome.status, len(outcome.attempts)) == (Status.SUCCEEDED, 4)


async def test_the_last_of_all_attempts_says_nothing_of_those_that_may_be_charged(clock):
    lost = Scripted(None, fault=Fault.TIMEOUT, message="no answer")
    bench = Bench(clock, {"p": [lost] * 9}, max_attempts=2, max_paid_attempts=2)
    assert (await bench.run()).error.message == "no answer"


async def test_what_is_not_the_api_stops_the_run_and_rejects_nothing(clock):
    bench = Bench(clock, {"p": [Scripted(404, fault=Fault.NOT_THE_API, message="a web page")]})
    assert await bench.run() is None
    assert bench.stop_signal.stop.code is ExitCode.TEMPORARY


@pytest.mark.parametrize("attempts", [0, -1])
def test_at_least_one_attempt_is_needed(attempts):
    with pytest.raises(UsageError, match="--max-attempts"):
        AttemptRules(max_attempts=attempts)
    with pytest.raises(UsageError, match="--max-paid-attempts"):
        AttemptRules(max_paid_attempts=attempts)


async def test_a_stop_ends_a_backoff_at_once(clock):
    bench = Bench(clock, {"p": [Scripted(500)] * 9})

    def stop_at_first(event):
        bench.stop_signal.request(Stop(ExitCode.SIGINT, "test"))

    bench.runner._observe = stop_at_first
    assert await bench.run() is None
    assert clock.now() == clock.start_s + 1.0
    assert len(bench.api.asked) == 1


async def test_a_server_that_sends_a_job_back_for_ever_is_given_up(clock):
    bench = Bench(clock, {"p": [Scripted(429, retry_after_s=0.0, latency_s=0)] * 200})
    outcome = await bench.run()
    assert outcome.status is Status.FAILED
    assert len(outcome.attempts) == 100


async def test_a_price_is_set_aside_before_sending_and_spent_on_success(clock):
    bench = Bench(clock, {}, catalogue=PRICED, spending=Spending(limit=1_000_000))
    outcome = await bench.run()
    assert outcome.cost_usd == 0.4
    assert (bench.spending.spent, bench.spending.reserved) == (400_000, 0)


async def test_what_was_refused_costs_nothing(clock):
    bench = Bench(clock, {"p": [Scripted(400)]}, catalogue=PRICED, spending=Spending(limit=1_000_000))
    outcome = await bench.run()
    assert outcome.cost_usd == 0.0
    assert (bench.spending.spent, bench.spending.reserved) == (0, 0)
    assert [ended.spent_usd for ended in bench.events] == [0.0]


async def test_what_may_have_been_charged_counts_as_spent(clock):
    lost = [Scripted(None, fault=Fault.TIMEOUT)]
    bench = Bench(clock, {"p": lost}, catalogue=PRICED, spending=Spending(limit=1_000_000))
    outcome = await bench.run()
    assert outcome.status is Status.SUCCEEDED
    assert outcome.cost_usd is None
    assert (bench.spending.spent, bench.spending.reserved) == (800_000, 0)
    assert [(ended.possibly_billed, ended.spent_usd) for ended in bench.events] == [(True, 0.4), (False, 0.4)]


async def test_a_job_that_may_have_been_charged_says_what_it_has_cost_at_most(clock):
    lost = Scripted(None, fault=Fault.CUT)
    scripts = {"p": [lost, lost, OK], "q": [Scripted(500)] * 6}
    bench = Bench(clock, scripts, catalogue=PRICED, max_paid_attempts=3)
    found = await bench.run("p")
    assert (found.cost_usd, found.at_most_usd, found.spent_usd) == (None, 1.2, 1.2)
    failed = await bench.run("q")
    assert (failed.cost_usd, failed.at_most_usd, failed.spent_usd) == (0.0, None, 0.0)


async def test_a_rewritten_prompt_is_paid_for_and_one_left_as_it_is_is_not(clock):
    scripts = {"p": [Scripted(enhanced_prompt="p, in detail")]}
    bench = Bench(clock, scripts, catalogue=PRICED, spending=Spending(limit=880_000))
    assert (await bench.run("p", enhance_prompt=True)).cost_usd == 0.44
    assert (bench.spending.spent, bench.spending.reserved) == (440_000, 0)
    assert (await bench.run("q", enhance_prompt=True)).cost_usd == 0.4
    assert (bench.spending.spent, bench.spending.reserved) == (840_000, 0)
    assert [ended.spent_usd for ended in bench.events] == [0.44, 0.4]
    assert await bench.run("r", enhance_prompt=True) is None, "0.44 do not fit into the 0.04 that are left"


async def test_what_is_lost_on_the_way_counts_with_the_enhancement(clock):
    bench = Bench(clock, {"p": [Scripted(None, fault=Fault.TIMEOUT)]}, catalogue=PRICED)
    found = await bench.run("p", enhance_prompt=True)
    assert [ended.spent_usd for ended in bench.events] == [0.44, 0.4]
    assert (found.at_most_usd, bench.spending.spent) == (0.84, 840_000)


async def test_a_content_violation_is_rejected_and_costs_nothing(clock):
    violation = Scripted(content_violation=True, enhanced_prompt="p, in detail")
    bench = Bench(clock, {"p": [violation]}, catalogue=PRICED, spending=Spending(limit=1_000_000))
    found = await bench.run("p", enhance_prompt=True)
    assert (found.status, found.error.kind, found.cost_usd) == (Status.REJECTED, "content_violation", 0.0)
    assert (bench.spending.spent, bench.spending.reserved) == (0, 0)
    assert [ended.spent_usd for ended in bench.events] == [0.0]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "API key USD spend limit exceeded.",
            "the key's own limit is used up: API key USD spend limit exceeded; the account may have money:"
            " raise the key's limit, then run the same command again",
        ),
        ("Insufficient balance", "out of money: Insufficient balance; top up, then run the same command again"),
    ],
)
async def test_a_402_is_told_as_the_keys_limit_or_as_an_empty_account(clock, message, reason):
    bench = Bench(clock, {"p": [Scripted(402, message=message)]}, catalogue=PRICED)
    assert await bench.run() is None
    assert bench.stop_signal.stop == Stop(ExitCode.OUT_OF_MONEY, reason)


async def test_an_image_that_could_not_be_stored_is_paid_for_all_the_same(clock):
    lost = [Scripted(raises=FolderError("out", "the disk is full"))]
    bench = Bench(clock, {"p": lost}, catalogue=PRICED, spending=Spending(limit=1_000_000))
    with pytest.raises(FolderError):
        await bench.run()
    assert (bench.spending.spent, bench.spending.reserved) == (400_000, 0)
    assert [ended.spent_usd for ended in bench.events] == [0.4]


async def test_a_job_that_does_not_fit_stops_the_run_unsent(clock):
    bench = Bench(clock, {}, catalogue=PRICED, spending=Spending(limit=700_000))
    assert (await bench.run("p")).status is Status.SUCCEEDED
    assert await bench.run("q") is None
    assert bench.stop_signal.stop.code is ExitCode.OUT_OF_MONEY
    assert "0.40 USD are spent" in bench.stop_signal.stop.reason
    assert [prompt for _, prompt in bench.api.asked] == ["p"]


async def test_a_job_waits_for_money_that_another_may_give_back(clock):
    bench = Bench(clock, {"p": [Scripted(400, latency_s=5)]}, catalogue=PRICED, spending=Spending(limit=500_000))
    outcomes = {}

    async def run(prompt):
        outcomes[prompt] = await bench.run(prompt)

    async with anyio.create_task_group() as group:
        group.start_soon(run, "p")
        group.start_soon(run, "q")
    assert outcomes["p"].status is Status.REJECTED
    assert outcomes["q"].status is Status.SUCCEEDED
    assert bench.api.most_in_flight == 1


async def test_a_picture_that_is_another_by_now_fails_its_job_alone_and_costs_nothing(clock):
    bench = Bench(clock, {"p": [Scripted(raises=SourceError("a.png has changed"))]}, catalogue=PRICED)
    outcome = await bench.run()
    assert (outcome.status, outcome.error.kind, outcome.error.message) == (Status.FAILED, "source", "a.png has changed")
    assert (outcome.attempts, outcome.cost_usd, bench.spending.spent) == ((), 0.0, 0)
    assert (await bench.run("other")).status is Status.SUCCEEDED


async def test_a_job_without_a_known_price_is_not_sent_under_a_cap(clock):
    bench = Bench(clock, {}, catalogue=PRICED, spending=Spending(limit=1_000_000))
    assert await bench.run(model="unlisted") is None
    assert bench.stop_signal.stop.reason == "--max-cost: the price of the next job is not known"
    assert bench.api.asked == []
    bench = Bench(clock, {}, catalogue=PRICED)
    assert (await bench.run(model="unlisted")).cost_usd is None
    assert [ended.spent_usd for ended in bench.events] == [None]


async def test_an_image_that_could_not_be_stored_is_told_of(clock):
    bench = Bench(clock, {"p": [Scripted(raises=FolderError("out", "the disk is full"))]})
    with pytest.raises(FolderError):
        await bench.run()
    (ended,) = bench.events
    assert (ended.possibly_billed, ended.attempt.error) == (True, "out: the disk is full")
