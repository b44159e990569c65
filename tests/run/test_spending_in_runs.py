"""Whole runs against an API that charges, on a simulated clock: what is spent, and how they end."""

import random

import anyio
import pytest
from fakes import FakeClock, job
from run.money import CONCURRENCY, MOST_USD, SHAPES, MoneyRun

from venice_batch.errors import ExitCode
from venice_batch.model import Status
from venice_batch.run.retry import AttemptRules
from venice_batch.run.stop import Stop
from venice_batch.sandbox.ledger import Payment


@pytest.fixture
async def clock():
    async with FakeClock() as clock:
        clock.IDLE_TURNS = 12
        yield clock


def jobs_of(rng, count):
    enhanced = ({}, {}, {"enhance_prompt": True})
    return [job(f"j{number}", **rng.choice(SHAPES), **rng.choice(enhanced)) for number in range(count)]


@pytest.mark.no_cover
async def test_no_run_of_two_hundred_spends_more_than_its_cap(clock):
    """Random jobs, prices, faults, stops and caps; the API itself counts what it has charged."""
    rng = random.Random(7)
    reached = cut_short = 0
    nearest = 0.0
    for _ in range(200):
        jobs = jobs_of(rng, rng.randint(1, 50))
        cap_usd = round(rng.uniform(0.01, 4.0), rng.randint(2, 6))
        run = MoneyRun(
            clock, rng, jobs, cap_usd=cap_usd, fault_rate=rng.choice((0.0, 0.2, 0.6)), lists=False, grace_s=5.0,
            refused=rng.choice((0.0, 0.3)),
        )  # fmt: skip
        await run(stop_after_s=rng.choice((None, None, rng.uniform(1, 30))))
        assert run.charged <= run.spending.spent <= round(cap_usd * 1e6)
        assert run.spending.reserved == 0
        nearest = max(nearest, run.charged / (cap_usd * 1e6))
        reached += run.stop_signal.stop is not None and run.stop_signal.stop.code is ExitCode.OUT_OF_MONEY
        cut_short += run.stop_signal.stop is not None and run.stop_signal.stop.code is ExitCode.SIGINT
    assert nearest > 0.99
    assert reached > 50
    assert cut_short > 20


@pytest.mark.no_cover
async def test_no_job_of_two_hundred_runs_is_charged_more_often_than_it_may_be(clock):
    rng = random.Random(17)
    most_often = dict.fromkeys((1, 2, 3), 0)
    given_up = 0
    for _ in range(200):
        bound = rng.choice(tuple(most_often))
        rules = AttemptRules(max_attempts=rng.choice((2, 6, 12)), max_paid_attempts=bound)
        run = MoneyRun(
            clock, rng, jobs_of(rng, rng.randint(1, 30)), lists=False, grace_s=5.0, rules=rules,
            fault_rate=rng.choice((0.2, 0.6, 0.9)), refused=rng.choice((0.0, 0.3)),
        )  # fmt: skip
        await run(stop_after_s=rng.choice((None, None, rng.uniform(1, 30))))
        often = max(run.api.charges.values(), default=0)
        assert often <= bound
        most_often[bound] = max(most_often[bound], often)
        assert run.charged <= run.spending.spent
        unlucky = [one for one in run.journal.outcomes if one.error and "--max-paid-attempts" in one.error.message]
        assert all(one.status is Status.FAILED and one.flags.possibly_billed for one in unlucky)
        given_up += len(unlucky)
    assert (most_often[1], most_often[2]) == (1, 2), "the faults put the bounds to the test"
    assert given_up > 200


def same(count, **fields):
    return [job(f"j{number}", model="venice-sd35", **fields) for number in range(count)]


@pytest.mark.parametrize(("rewritten", "succeeded"), [(0.0, 7), (1.0, 2)])
async def test_enhancement_is_set_aside_for_each_request_and_never_spent_beyond_the_cap(clock, rewritten, succeeded):
    run = MoneyRun(clock, random.Random(1), same(10, enhance_prompt=True), cap_usd=0.11, rewritten=rewritten)
    await run()
    assert run.charged == run.spending.spent <= 110_000
    # With 0.07 spent the next request, which may cost 0.05, does not fit.
    assert run.succeeded == succeeded
    assert run.stop_signal.stop.code is ExitCode.OUT_OF_MONEY


async def test_one_enhancement_is_paid_for_whatever_the_variants(clock):
    run = await MoneyRun(clock, random.Random(1), same(1, enhance_prompt=True, variants=4), rewritten=1.0)()
    assert (run.charged, run.spending.spent) == (80_000, 80_000)
    assert run.journal.outcomes[0].cost_usd == 0.08


async def test_a_withheld_image_is_rejected_and_free_and_its_money_may_be_spent_by_others(clock):
    run = await MoneyRun(clock, random.Random(1), same(10, enhance_prompt=True), cap_usd=0.05, refused=1.0)()
    assert run.stop_signal.stop is None
    assert (run.charged, run.spending.spent) == (0, 0)
    assert {(outcome.status, outcome.error.kind, outcome.cost_usd) for outcome in run.journal.outcomes} == {
        (Status.REJECTED, "content_violation", 0.0)
    }


async def test_a_request_is_paid_from_one_currency_so_the_rest_of_others_is_left(clock):
    dear = [job(f"d{number}", model="nano-banana-pro", resolution="4K") for number in range(4)]  # 0.35 each
    run = await MoneyRun(clock, random.Random(2), dear, balance_usd=0.75, diem=0.6, bundled_usd=0.2)()
    assert run.succeeded == 3
    assert "402" not in run.api.counts
    assert run.stop_signal.stop.reason == (
        "the balance of 0.25 USD is below the 0.35 USD of the next job; top up, then run the same command again"
    )


@pytest.mark.no_cover
@pytest.mark.parametrize("lists", [True, False])
async def test_whatever_the_currencies_money_is_used_as_far_as_one_of_them_covers_a_request(clock, lists):
    rng = random.Random(11)
    for _ in range(40):
        money = {"balance_usd": round(rng.uniform(0, 2), 3), "diem": round(rng.uniform(0, 2), 3)}
        if lists:
            money["bundled_usd"] = rng.choice((0.0, round(rng.uniform(0, 2), 3)))
        run = await MoneyRun(clock, rng, jobs_of(rng, 60), lists=lists, **money)()
        assert run.charged == run.spending.spent or run.api.unpaid
        assert not run.api.unpaid or not lists, "more was under way than the account had"
        assert (run.stop_signal.stop is None) == (run.succeeded == 60)
        # Where only Diem has fallen no balance is believed, and a refusal says that the money is up. Without a list
        # the first requests go out before any balance is known.
        assert run.api.counts.get("402", 0) <= (1 if lists else CONCURRENCY)
        assert run.stop_signal.stop is None or max(run.api.ledger.spendable("").values()) < MOST_USD


@pytest.mark.parametrize("affordable", [1, 2, 31, 32, 33, 64, 90])
@pytest.mark.parametrize("seed", [1, 2])
async def test_with_a_balance_for_so_many_jobs_so_many_images_are_made_and_nothing_else_is_sent(
    clock, affordable, seed
):
    run = await MoneyRun(clock, random.Random(seed), same(100), balance_usd=affordable * 0.01 + 0.004)()
    assert run.api.counts == {"200": affordable}
    assert run.stop_signal.stop == Stop(
        ExitCode.OUT_OF_MONEY,
        "the balance of 0.004 USD is below the 0.01 USD of the next job; top up, then run the same command again",
    )


@pytest.mark.no_cover
async def test_whatever_the_prices_nothing_is_sent_that_the_balance_does_not_cover(clock):
    rng = random.Random(3)
    for _ in range(40):
        run = MoneyRun(clock, rng, jobs_of(rng, 60), balance_usd=round(rng.uniform(0.5, 4), 3), fault_rate=0.0)
        await run()
        assert "402" not in run.api.counts
        assert (run.stop_signal.stop is None) == (run.succeeded == 60)
        assert run.charged == run.spending.spent


async def test_answers_alone_tell_of_the_balance_where_the_key_may_not_read_it(clock):
    for seed in range(6):
        run = await MoneyRun(clock, random.Random(seed), same(300), balance_usd=2.004, lists=False)()
        # Of an API that charges only with the answer the last word is not known before one has asked.
        assert run.api.counts == ({"200": 200} if run.api.charges_at_once else {"200": 200, "402": 1})
        assert run.stop_signal.stop.code is ExitCode.OUT_OF_MONEY


async def test_a_listing_alone_suffices_where_answers_tell_of_no_balance(clock):
    run = await MoneyRun(clock, random.Random(1), same(100), balance_usd=0.404, tells=False)()
    assert run.api.counts == {"200": 40}


async def test_without_any_balance_a_refusal_for_want_of_money_stops_the_run(clock):
    run = await MoneyRun(clock, random.Random(1), same(100), balance_usd=0.404, tells=False, lists=False)()
    assert run.api.counts["200"] == 40
    assert run.stop_signal.stop.reason == "out of money: 402; top up, then run the same command again"


async def test_an_empty_account_gets_one_request_to_say_so(clock):
    run = await MoneyRun(clock, random.Random(1), same(100), balance_usd=0.004)()
    assert run.api.counts == {"402": 1}
    assert run.stop_signal.stop.code is ExitCode.OUT_OF_MONEY


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("balance_usd", [0.0, 0.015, 0.32])
async def test_credits_that_no_balance_shows_are_used_all_the_same(clock, balance_usd, lists):
    api = {"balance_usd": balance_usd, "credits_usd": 1.0}
    run = await MoneyRun(clock, random.Random(1), same(100), lists=lists, **api)()
    assert run.stop_signal.stop is None
    assert run.succeeded == 100


@pytest.mark.parametrize("lists", [True, False])
async def test_what_another_client_spends_meanwhile_is_noticed(clock, lists):
    run = MoneyRun(clock, random.Random(4), same(400), balance_usd=4.0, lists=lists)

    async def spend():
        while isinstance(run.api.ledger.reserve(20_000), Payment):
            await clock.wait(anyio.Event(), 1)

    async with anyio.create_task_group() as group:
        group.start_soon(spend)
        await run()
        group.cancel_scope.cancel()
    assert run.stop_signal.stop.code is ExitCode.OUT_OF_MONEY
    assert run.api.counts.get("402", 0) <= 1
    assert run.api.ledger.balance_usd < 0.01


async def test_a_top_up_during_the_run_is_noticed(clock):
    run = MoneyRun(clock, random.Random(4), same(200), balance_usd=1.0)

    async def top_up():
        await clock.wait(anyio.Event(), 15)
        run.api.ledger.give_back(Payment("", "USD", 1_000_000))

    async with anyio.create_task_group() as group:
        group.start_soon(top_up)
        await run()
    assert run.stop_signal.stop is None
    assert run.succeeded == 200


async def test_a_job_too_dear_stops_the_run_though_cheaper_ones_are_left(clock):
    dear = [job(f"d{number}", model="gpt-image-2", resolution="4K", quality="high") for number in range(3)]
    run = await MoneyRun(clock, random.Random(1), [*dear, *same(100)], balance_usd=1.0)()
    assert run.stop_signal.stop.code is ExitCode.OUT_OF_MONEY
    assert "402" not in run.api.counts


async def test_the_balance_is_not_held_back_by_what_failed(clock):
    rng = random.Random(5)
    for _ in range(10):
        run = await MoneyRun(clock, rng, same(60), balance_usd=0.304, fault_rate=0.4)()
        assert run.stop_signal.stop is not None
        assert run.api.ledger.balance_usd < 0.01 or run.stop_signal.stop.code is not ExitCode.OUT_OF_MONEY
        assert run.api.counts.get("402", 0) <= 1
