import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venice_batch.api.answers import Fault
from venice_batch.api.listings import Quota
from venice_batch.pacing.error_budget import ErrorRule
from venice_batch.pacing.limiter import RateLimiter, SendingRules

BLOCKED = "Too many failed attempts (> 20) resulting in a non-success status code."
EPOCH_S = 1_800_000_000.0


@pytest.fixture
def limiter():
    return RateLimiter(SendingRules(concurrency=8), random.Random(1), quotas={"a": Quota(rpm=20), "b": Quota(rpm=20)})


def send(limiter, name, now_s, times=1):
    lane = limiter.lane(name)
    permits = []
    for _ in range(times):
        assert limiter.wait_s(lane, now_s) == 0
        permits.append(limiter.send(lane, now_s))
    return permits


def test_lanes_are_made_once():
    limiter = RateLimiter(SendingRules(), random.Random(1))
    assert limiter.lane("a") is limiter.lane("a")
    assert [state.name for state in limiter.states(0.0)] == ["a"]


def test_the_ceiling_holds_over_all_lanes(limiter):
    send(limiter, "a", 0.0, 5)
    send(limiter, "b", 0.0, 3)
    assert limiter.wait_s(limiter.lane("b"), 0.0) == math.inf


def test_a_closed_lane_does_not_hold_another(limiter, answer):
    (permit,) = send(limiter, "a", 0.0)
    limiter.answered(permit, answer(429, hint_s=30.0))
    assert limiter.wait_s(limiter.lane("a"), 1.0) >= 30
    assert limiter.wait_s(limiter.lane("b"), 1.0) == 0


def test_a_block_of_an_older_server_holds_every_lane_and_counts_once(limiter, answer):
    permits = send(limiter, "a", 0.0, 3)
    for permit in permits:
        limiter.answered(permit, answer(429, message=BLOCKED))
    assert limiter.errors.blocks == 1
    assert limiter.held_s(1.0) == limiter.wait_s(limiter.lane("b"), 1.0) == 30.0
    assert limiter.wait_s(limiter.lane("b"), 31.5) == 0


def test_a_block_of_a_present_server_holds_and_shows_in_its_own_lane(limiter, answer):
    limiter.listed(answer(200, left=50))
    (permit,) = send(limiter, "a", 0.0)
    send(limiter, "b", 0.0)
    limiter.answered(permit, answer(429, message=BLOCKED.replace("20", "50"), hint_s=12.0, left=0))
    assert limiter.wait_s(limiter.lane("b"), 1.0) == 0
    assert [state.held_s for state in limiter.states(1.0)] == [12.0, 0.0]


def test_errors_of_uploads_are_counted_apart_from_their_models(limiter, answer):
    limiter.listed(answer(200, left=50))
    lane = limiter.lane("a")
    for _ in range(3):
        permit = limiter.send(lane, 0.0, bucket="uploads")
        limiter.answered(permit, answer(400, left=0))
    assert limiter.wait_s(lane, 1.0, bucket="uploads") > 0
    assert limiter.wait_s(lane, 1.0) == 0


def test_a_listing_teaches_the_servers_clock(limiter, answer):
    limiter.listed(answer(200, sent_s=0.0, now_s=0.2, date_s=EPOCH_S))
    (permit,) = send(limiter, "a", 1.0)
    limiter.answered(permit, answer(429, sent_s=1.0, now_s=9.0, limit=20, remaining=0, reset_s=EPOCH_S + 30))
    assert limiter.wait_s(limiter.lane("a"), 9.0) == pytest.approx(21.2, abs=0.1)


def test_a_request_uses_quota_for_each_of_its_images(limiter):
    lane = limiter.lane("a")
    for _ in range(5):
        assert limiter.wait_s(lane, 0.0, images=4) == 0
        limiter.send(lane, 0.0, images=4)
    assert limiter.wait_s(lane, 0.0) > 50


def test_remembers_the_most_requests_in_flight(limiter, answer):
    permits = send(limiter, "a", 0.0, 3)
    limiter.answered(permits[0], answer())
    send(limiter, "a", 1.0)
    assert limiter.most_in_flight == 3


def test_a_block_lasts_as_long_as_the_server_says(limiter, answer):
    (permit,) = send(limiter, "a", 0.0)
    limiter.answered(permit, answer(429, message=BLOCKED, hint_s=12.0))
    assert limiter.wait_s(limiter.lane("b"), 1.0) == 12.0


def test_a_request_given_up_is_no_longer_in_flight(limiter):
    (permit,) = send(limiter, "a", 0.0)
    limiter.given_up(permit, 1.0)
    assert limiter.states(1.0)[0].in_flight == 0


def test_a_model_that_may_not_exist_gets_one_request_first(answer):
    limiter = RateLimiter(SendingRules(), random.Random(1), quotas={"a": Quota(rpm=20)}, untested=["a"])
    limiter.listed(answer(200, left=50))
    (permit,) = send(limiter, "a", 0.0)
    assert limiter.wait_s(limiter.lane("a"), 0.0) == math.inf
    limiter.answered(permit, answer())
    send(limiter, "a", 1.0, 19)


def test_resets_in_unix_time_follow_the_servers_own_clock(limiter, answer):
    (permit,) = send(limiter, "a", 0.0)
    limiter.answered(
        permit, answer(429, limit=20, remaining=0, reset_s=EPOCH_S + 30, date_s=EPOCH_S, now_s=1.0)
    )  # fmt: skip
    assert limiter.wait_s(limiter.lane("a"), 1.0) == pytest.approx(30.0, abs=0.1)


def test_resets_in_seconds_count_from_the_answer(limiter, answer):
    (permit,) = send(limiter, "a", 0.0)
    limiter.answered(permit, answer(429, limit=20, remaining=0, reset_in_s=30.0))
    assert limiter.wait_s(limiter.lane("a"), 1.0) == pytest.approx(30.0, abs=0.1)


def test_a_unix_reset_without_any_date_is_not_guessed_at(limiter, answer):
    (permit,) = send(limiter, "a", 0.0)
    limiter.answered(permit, answer(200, limit=20, remaining=19, reset_s=EPOCH_S))
    assert limiter.wait_s(limiter.lane("a"), 1.0) == 0


@pytest.mark.parametrize("limit", [None, 3, 20])
def test_a_refusal_that_comes_after_the_reset_it_names_holds_the_lane_no_longer(limiter, answer, limit):
    (elsewhere,) = send(limiter, "b", 99.9)
    limiter.answered(elsewhere, answer(sent_s=99.9, now_s=100.0, date_s=EPOCH_S))  # which tells the server's clock
    first, refused = send(limiter, "a", 100.0, 2)
    limiter.answered(first, answer(sent_s=100.0, now_s=100.5, limit=limit))
    head = {"limit": limit, "date_s": EPOCH_S, "reset_s": EPOCH_S + 1}
    limiter.answered(refused, answer(429, sent_s=100.0, now_s=112.0, **head))
    assert limiter.wait_s(limiter.lane("a"), 112.0) < 1.1


answers = st.fixed_dictionaries(
    {
        "status": st.sampled_from([200, 200, 200, 400, 401, 422, 429, 429, 500, 503, None]),
        "message": st.sampled_from(["", BLOCKED, "overloaded"]),
        "hint_s": st.one_of(st.none(), st.floats(0, 90)),
        "limit": st.one_of(st.none(), st.integers(0, 40)),
        "remaining": st.one_of(st.none(), st.integers(0, 40)),
        "reset_s": st.one_of(st.none(), st.floats(EPOCH_S - 10, EPOCH_S + 600)),
        "date_s": st.one_of(st.none(), st.integers(0, 400).map(lambda second: EPOCH_S + second)),
    }
)
steps = st.tuples(st.sampled_from(["send", "send", "answer", "give up"]), st.integers(0, 2), st.floats(0, 20), answers)


@settings(deadline=None)
@given(
    script=st.lists(steps, max_size=150), ceiling=st.integers(1, 12), failures=st.integers(1, 20), listed=st.booleans()
)
def test_guarantees_hold_for_any_sequence_of_answers(answer, script, ceiling, failures, listed):
    rule = ErrorRule(limit=failures, margin=0)
    limiter = RateLimiter(
        SendingRules(concurrency=ceiling, errors=rule),
        random.Random(1),
        quotas={name: Quota(rpm=5, rpd=50) for name in "012"} if listed else None,
    )
    now_s, under_way, closed_until_s = 0.0, [], {}
    for what, number, pause_s, given_answer in script:
        now_s += pause_s
        lane = limiter.lane(str(number))
        wait_s = limiter.wait_s(lane, now_s)
        assert wait_s >= 0
        assert not math.isnan(wait_s)
        if what == "send" and wait_s == 0:
            assert now_s >= closed_until_s.get(lane.name, 0.0) - 1e-6
            under_way.append(limiter.send(lane, now_s))
            assert len(under_way) <= ceiling
            assert lane.in_flight <= lane.concurrency.limit
        elif what == "answer" and under_way:
            permit = under_way.pop(number % len(under_way))
            fault = Fault.CUT if given_answer["status"] is None else None
            came = answer(**given_answer, sent_s=permit.sent_s, now_s=now_s, fault=fault)
            limiter.answered(permit, came)
            if came.status in (429, 503) and came.hint_s is not None and came.message != BLOCKED:
                name = permit.lane.name
                closed_until_s[name] = max(closed_until_s.get(name, 0.0), now_s + came.hint_s)
        elif what == "give up" and under_way:
            limiter.given_up(under_way.pop(), now_s)
    # Progress: if everything is answered well from now on, every lane soon sends.
    while under_way:
        permit = under_way.pop()
        limiter.answered(permit, answer(200, sent_s=permit.sent_s, now_s=now_s))
    for number in range(3):
        lane = limiter.lane(str(number))
        for _ in range(60):
            wait_s = limiter.wait_s(lane, now_s)
            assert wait_s < math.inf
            if wait_s == 0:
                break
            now_s += max(0.01, wait_s)
        assert limiter.wait_s(lane, now_s) == 0
