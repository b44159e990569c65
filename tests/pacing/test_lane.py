import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venice_batch.api.listings import Quota
from venice_batch.pacing.lane import DAY_S, FIRST_BURST, QUOTA_SPENT_S, DayQuota, Gate, Lane
from venice_batch.pacing.reset_time import ResetTime
from venice_batch.pacing.window import LimitSource


@pytest.fixture
def gate():
    return Gate(random.Random(1), spread_s=0.05)


def test_is_open_at_first(gate):
    assert gate.wait_s(0.0) == 0.0


def test_holds_all_requests_until_it_opens(gate):
    gate.close(10.0, 0.0)
    assert 6.0 <= gate.wait_s(4.0) <= 6.05


def test_an_earlier_opening_changes_nothing(gate):
    gate.close(10.0, 0.0)
    before_s = gate.wait_s(1.0)
    gate.close(5.0, 1.0)
    assert gate.wait_s(1.0) == before_s >= 9.0


def test_closing_until_a_moment_that_has_passed_does_nothing(gate):
    gate.close(1.0, 2.0)
    assert gate.wait_s(2.0) == 0.0


def test_requests_that_waited_together_pass_one_after_another(gate):
    gate.close(10.0, 0.0)
    now_s, passed = 10.0, []
    for _ in range(10):
        now_s += gate.wait_s(now_s)
        gate.passed(now_s)
        passed.append(now_s)
    assert len(set(passed)) == 10
    assert passed[-1] < 10.0 + 11 * 0.05


def test_long_after_an_opening_no_request_is_held(gate):
    gate.close(10.0, 0.0)
    gate.passed(12.0)
    assert gate.wait_s(12.0) == 0.0


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1), st.floats(0, 200))
def test_never_opens_before_any_moment_it_was_closed_until(closings, now_s):
    gate = Gate(random.Random(1))
    for until_s, at_s in closings:
        gate.close(until_s, at_s)
    latest_s = max((until_s for until_s, at_s in closings if until_s > at_s), default=0.0)
    assert now_s + gate.wait_s(now_s) >= latest_s - 1e-9
    assert gate.wait_s(now_s) >= 0


@pytest.mark.parametrize("limit", [None, 0])
def test_without_a_limit_it_never_waits(limit):
    day = DayQuota(limit, math.inf)
    for _ in range(100):
        day.sent(0.0)
    assert day.wait_s(0.0) == 0.0


def test_a_spent_quota_waits_for_the_days_end():
    day = DayQuota(2, 100.0)
    day.sent(1.0)
    day.sent(2.0)
    assert day.wait_s(10.0) == 90.0


def test_the_next_day_has_its_quota_again():
    day = DayQuota(1, 100.0)
    day.sent(1.0)
    assert day.wait_s(100.0) == 0.0
    day.sent(100.0)
    assert day.wait_s(101.0) == DAY_S - 1


def test_days_without_a_request_pass_too():
    day = DayQuota(1, 100.0)
    day.sent(1.0)
    now_s = 100.0 + 3.5 * DAY_S
    assert day.wait_s(now_s) == 0.0
    day.sent(now_s)
    assert day.wait_s(now_s) == pytest.approx(DAY_S / 2)


def test_a_day_with_unknown_end_begins_with_the_first_request():
    day = DayQuota(1, math.inf)
    day.sent(50.0)
    assert day.wait_s(60.0) == DAY_S - 10


def test_a_refused_request_did_not_count():
    day = DayQuota(1, 100.0)
    day.sent(1.0)
    day.refused()
    assert day.wait_s(2.0) == 0.0


def test_the_servers_word_goes_before_the_count():
    day = DayQuota(None, math.inf)
    day.spent(500.0)
    day.spent(400.0)
    assert day.wait_s(100.0) == 400.0
    assert day.wait_s(500.0) == 0.0


@pytest.fixture
def make():
    def lane(rpm=None, rpd=None, *, ceiling=32, day_ends_s=math.inf, share=1):
        return Lane(
            "model", quota=Quota(rpm, rpd), ceiling=ceiling, minute_s=60.0, rpm_cap=None, day_ends_s=day_ends_s,
            rng=random.Random(1), share=share,
        )  # fmt: skip

    return lane


def send(lane, now_s, times=1):
    for _ in range(times):
        assert lane.wait_s(now_s) == 0
        answered_before = lane.sent(now_s)
    return answered_before


def give(lane, answer, *, answered_before=0, reset=None):
    lane.answered(answer, sent_s=answer.sent_s, answered_before=answered_before, reset=reset)


def test_starts_with_few_when_nothing_is_known(make):
    lane = make()
    send(lane, 0.0, FIRST_BURST)
    assert lane.wait_s(0.0) == math.inf


def test_sends_a_listed_quota_at_once(make):
    lane = make(20)
    send(lane, 0.0, 20)
    assert 0 < lane.wait_s(0.0) < math.inf


def test_opens_up_to_the_quota_that_a_header_names(make, answer):
    lane = make()
    send(lane, 0.0, FIRST_BURST)
    give(lane, answer(limit=20, remaining=16))
    assert lane.concurrency.limit == 32
    assert lane.window.source is LimitSource.HEADER


def test_a_refusal_closes_the_gate_for_as_long_as_the_server_asks(make, answer):
    lane = make(20)
    send(lane, 0.0)
    give(lane, answer(429, hint_s=7.0))
    assert lane.wait_s(1.0) >= 7.0
    assert lane.refused == 1


def test_without_retry_after_the_gate_opens_at_the_named_reset(make, answer):
    lane = make(20)
    send(lane, 0.0)
    give(lane, answer(429, limit=20, remaining=0), reset=ResetTime.at(31.0))
    assert lane.wait_s(1.0) >= 30.0
    assert lane.wait_s(31.2) == 0.0


def test_without_any_hint_the_window_is_waited_for(make, answer):
    lane = make()
    send(lane, 0.0, 3)
    give(lane, answer(429))
    assert lane.wait_s(1.0) > 55


def test_repeated_refusals_are_waited_out_longer_than_the_server_asks(make, answer):
    lane, waits = make(20), []
    now_s = 0.0
    for _ in range(40):
        now_s += lane.wait_s(now_s)
        answered_before = lane.sent(now_s)
        lane.answered(
            answer(429, sent_s=now_s, now_s=now_s + 0.1, hint_s=0.0),
            sent_s=now_s,
            answered_before=answered_before,
            reset=None,
        )
        waits.append(lane.gate.wait_s(now_s + 0.1))
    assert max(waits) > 5


def test_refusals_of_a_burst_close_the_gate_once(make, answer):
    lane = make(20)
    send(lane, 0.0, 3)
    for now_s in (1.0, 1.1, 1.2):
        give(lane, answer(429, now_s=now_s, hint_s=5.0))
    assert 5.0 <= lane.wait_s(1.2) < 5.1


def test_a_wait_of_hours_is_about_the_day_and_changes_no_window(make, answer):
    lane = make(20)
    send(lane, 0.0)
    give(lane, answer(429, hint_s=7200.0, limit=1000, remaining=0), reset=ResetTime.at(7201.0))
    assert lane.wait_s(1.0) > QUOTA_SPENT_S
    assert lane.window.limit == 20
    assert lane.wait_s(7201.5) == 0


def test_a_listed_daily_quota_is_kept(make):
    lane = make(20, 5, day_ends_s=30_000.0)
    send(lane, 0.0, 5)
    assert lane.wait_s(0.0) == 30_000.0


def test_a_block_is_not_held_against_the_window(make, answer):
    lane = make(1)
    send(lane, 0.0)
    give(lane, answer(429, message="Too many failed attempts"))
    assert lane.window.left(1.0) == 1


def test_an_overload_lowers_the_concurrency_and_holds_the_lane_a_moment(make, answer):
    lane = make(20)
    send(lane, 0.0, 10)
    give(lane, answer(503))
    assert lane.concurrency.limit <= 9
    assert lane.gate.wait_s(1.0) > 0


def test_an_overload_with_a_hint_closes_the_gate_until_then(make, answer):
    lane = make(20)
    send(lane, 0.0, 10)
    give(lane, answer(503, hint_s=9.0))
    assert 9.0 <= lane.gate.wait_s(1.0) <= 9.05


def test_a_success_forgets_setbacks(make, answer):
    lane = make(20)
    send(lane, 0.0)
    give(lane, answer(503))
    now_s = 1.0 + lane.wait_s(1.0)
    answered_before = send(lane, now_s)
    give(lane, answer(200, sent_s=now_s, now_s=now_s + 1), answered_before=answered_before)
    assert lane.wait_s(now_s + 1) == 0


def test_invalid_requests_that_used_no_quota_are_given_back(make, answer):
    lane = make(4)
    send(lane, 0.0, 4)
    for _ in range(3):
        give(lane, answer(400, limit=4, remaining=4))
    give(lane, answer(200, limit=4, remaining=3))
    send(lane, 1.0, 3)
    assert lane.wait_s(1.0) > 0


def test_a_request_given_up_frees_its_place(make):
    lane = make()
    send(lane, 0.0, FIRST_BURST)
    lane.given_up()
    assert lane.wait_s(0.0) == 0


def test_shows_its_state(make, answer):
    lane = make(20)
    send(lane, 0.0, 2)
    give(lane, answer(429, hint_s=5.0))
    state = lane.state(1.0)
    assert (state.name, state.in_flight, state.refused) == ("model", 1, 1)
    assert state.opens_in_s >= 5.0
    assert 5.0 <= state.gate_s <= state.opens_in_s


def test_shows_when_its_window_gives_more(make):
    lane = make(20)
    assert lane.state(0.0).renews_in_s == math.inf
    send(lane, 0.0, 20)
    state = lane.state(15.0)
    assert (state.window_limit, state.window_left, state.window_s, state.gate_s) == (20, 0, 60.0, 0.0)
    assert state.renews_in_s == state.opens_in_s == pytest.approx(45.0, abs=1.1)


def test_shows_that_the_day_is_spent(make):
    lane = make(20, 2, day_ends_s=5000.0)
    send(lane, 0.0, 2)
    assert lane.state(0.0).opens_in_s == 5000.0


def test_a_long_run_without_a_limit_stays_small(make, answer):
    lane, now_s = make(), 0.0
    for _ in range(5000):
        now_s += 0.1
        answered_before = lane.sent(now_s)
        give(lane, answer(200, sent_s=now_s, now_s=now_s), answered_before=answered_before)
    assert len(lane.window._log) < 700


def test_a_share_begins_with_its_part_of_the_first_burst(make):
    lane = make(share=2)
    send(lane, 0.0, FIRST_BURST // 2)
    assert lane.wait_s(0.0) == math.inf


def test_a_share_of_a_listed_quota_is_sent_at_once(make):
    lane = make(20, share=3)
    send(lane, 0.0, 6)
    assert 0 < lane.wait_s(0.0) < math.inf


def test_a_share_of_more_than_the_documented_quota_waits_for_a_header(make):
    lane = make(60, share=3)
    assert lane.window.limit == 20
    send(lane, 0.0, 6)
    assert lane.wait_s(0.0) == math.inf


def test_a_share_uses_its_part_of_the_day(make):
    lane = make(20, 4, day_ends_s=1000.0, share=2)
    send(lane, 0.0, 2)
    assert lane.wait_s(0.0) == 1000.0
