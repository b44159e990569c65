import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venice_batch.api.answers import Fault
from venice_batch.pacing.error_budget import FIRST_ANSWERS, ErrorBudgets, ErrorRule, likely_errors
from venice_batch.pacing.reset_time import ResetTime

OLDER = "Too many failed attempts (> 20) resulting in a non-success status code."
NEWER = "Too many failed attempts (> 50) resulting in a non-success status code."


class Budgets:
    """Error budgets with one call for each event; `left` and `resets_s` are an answer's headers for the bucket."""

    def __init__(self, answer, rule=None, *, assumed=True, share=1):
        self.budgets = ErrorBudgets((rule or ErrorRule()) if assumed else None, share=share)
        self._answer = answer

    def send(self, bucket="a", times=1, now_s=0.0):
        for _ in range(times):
            assert self.budgets.wait_s(bucket, now_s) == 0
            self.budgets.sent(bucket)

    def answer(self, status=200, bucket="a", *, now_s=1.0, sent_s=0.0, times=1, resets_s=None, **head):
        for _ in range(times):
            given = self._answer(status, sent_s=sent_s, now_s=now_s, **head)
            reset = None if resets_s is None else ResetTime.at(resets_s)
            self.budgets.answered(bucket, given, sent_s=sent_s, reset=reset)

    def wait_s(self, bucket="a", now_s=1.0):
        return self.budgets.wait_s(bucket, now_s)


@pytest.fixture
def budgets(answer):
    return lambda *args, **options: Budgets(answer, *args, **options)


@pytest.fixture
def with_headers(budgets):
    """Return the budgets of a server that has sent the error budget's headers once."""
    found = budgets()
    found.budgets.listed()
    return found


def test_a_few_errors_are_left_to_other_programs():
    assert ErrorRule(limit=50, margin=2).affordable == 48
    assert ErrorRule(limit=1, margin=5).affordable == 1


@pytest.mark.parametrize(("status", "counts", "counts_on_older"), [
    (200, False, False), (400, True, True), (404, True, True), (422, True, True), (402, True, True),
    (429, False, True), (500, False, True), (503, False, True), (None, False, True),
])  # fmt: skip
def test_client_errors_count_and_on_older_servers_every_failure(answer, status, counts, counts_on_older):
    given = answer(status, fault=Fault.TIMEOUT if status is None else None)
    assert ErrorRule().counts(given) is counts
    assert ErrorRule(older=True).counts(given) is counts_on_older


def test_unsent_requests_and_blocks_are_not_errors(answer):
    assert not ErrorRule(older=True).counts(answer(None, fault=Fault.CONNECT))
    assert not ErrorRule(older=True).counts(answer(429, message=OLDER))
    assert not ErrorRule(older=True).counts(answer(200, fault=Fault.NO_IMAGE))


def test_no_errors_are_expected_before_the_first():
    assert likely_errors(80, 0, 0) == 0.0
    assert likely_errors(80, 500, 0) == 0.0


def test_after_errors_only_all_requests_are_expected_to_fail():
    assert likely_errors(10, 5, 5) == pytest.approx(10.0)


def test_one_error_among_many_answers_expects_few_more():
    assert 5 < likely_errors(80, 100, 1) < 18


@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_the_bound_lies_above_the_mean_and_grows_with_every_argument(requests, answers, data):
    errors = data.draw(st.integers(1, answers))
    bound = likely_errors(requests, answers, errors)
    assert requests * errors / answers - 1e-9 <= bound <= requests
    assert likely_errors(requests + 1, answers, errors) >= bound - 1e-9
    assert likely_errors(requests, answers + 1, errors + 1) >= bound - 1e-9


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.floats(0.02, 0.98), st.integers(30, 200), st.integers(1, 60))
def test_more_than_the_bound_fails_once_in_a_hundred_draws_at_most(seed, share, answers, requests):
    rng, exceeded = random.Random(seed), 0
    for _ in range(200):
        errors = sum(rng.random() < share for _ in range(answers))
        failed = sum(rng.random() < share for _ in range(requests))
        exceeded += bool(errors) and failed > likely_errors(requests, answers, errors) + 1
    assert exceeded <= 6


def test_a_healthy_lane_never_waits_under_a_known_rule(with_headers):
    with_headers.send(times=300)
    with_headers.answer(times=300, left=50)
    with_headers.send(times=300)


def test_an_unknown_server_gets_few_requests_before_its_first_answers(budgets):
    found = budgets()
    found.send(times=18)
    assert found.wait_s() == math.inf
    found.answer(times=FIRST_ANSWERS)
    found.send(times=300)


def test_without_an_assumed_rule_nothing_is_held_back(budgets):
    found = budgets(assumed=False)
    found.send(times=100)
    found.answer(400, times=100)
    assert found.wait_s() == 0


def test_errors_of_one_model_hold_back_that_model_alone(with_headers):
    with_headers.send(times=48)
    with_headers.answer(400, times=48, left=2, resets_s=20.0)
    assert with_headers.wait_s() == pytest.approx(19.0)
    assert with_headers.wait_s("b") == 0


def test_all_uploads_share_a_bucket(with_headers):
    with_headers.send("uploads", times=48)
    with_headers.answer(400, "uploads", times=48, left=2, resets_s=20.0)
    assert with_headers.wait_s("uploads") > 0


def test_the_servers_own_figure_goes_before_every_count(with_headers):
    with_headers.send(times=40)
    with_headers.answer(400, times=39)
    with_headers.answer(400, left=50, resets_s=30.0)
    with_headers.send(times=40, now_s=1.0)


def test_errors_of_other_programs_show_in_the_servers_figure(with_headers):
    with_headers.send(times=3)
    with_headers.answer(400, times=3, left=2, resets_s=12.0)
    assert with_headers.wait_s() == pytest.approx(11.0)


def test_after_the_reset_the_whole_budget_is_there_again(with_headers):
    with_headers.send(times=48)
    with_headers.answer(400, left=50, resets_s=20.0)
    with_headers.answer(400, times=47, left=1, resets_s=20.0)
    assert with_headers.wait_s() > 0
    with_headers.send(times=48, now_s=20.0)


def test_a_slow_answer_does_not_raise_the_errors_left(with_headers):
    with_headers.send(times=49)
    with_headers.answer(400, left=49, resets_s=20.0)
    with_headers.answer(400, times=46, left=2, resets_s=20.0)
    with_headers.answer(200, left=49, resets_s=20.0)  # written when its request came in
    with_headers.answer(200, left=50, resets_s=19.0)  # before the first error opened the window
    assert with_headers.wait_s() == pytest.approx(19.0)


def test_an_answer_about_a_past_window_does_not_change_the_next(with_headers):
    with_headers.send(times=49)
    with_headers.answer(200, left=50, resets_s=20.0)
    with_headers.answer(400, times=48, left=2, resets_s=20.0)
    with_headers.send(times=40, now_s=21.0)
    with_headers.answer(200, left=2, resets_s=20.0, now_s=22.0)
    assert with_headers.wait_s(now_s=22.0) == 0


def test_a_later_windows_figure_replaces_an_earlier_ones(with_headers):
    with_headers.send(times=48)
    with_headers.answer(400, times=48, left=2, resets_s=20.0)
    with_headers.answer(200, left=50, resets_s=25.0)
    assert with_headers.wait_s() == 0


def test_an_error_without_headers_lowers_the_errors_left(with_headers):
    with_headers.send(times=30)
    with_headers.answer(400, left=20, resets_s=30.0)
    with_headers.answer(400, times=18)
    assert with_headers.wait_s() == pytest.approx(29.0)


def test_an_error_exactly_one_window_old_may_still_count(budgets):
    found = budgets()
    found.send(times=18)
    found.answer(400, times=18, now_s=1.0)
    assert found.wait_s(now_s=30.9) == pytest.approx(0.1)
    assert found.wait_s(now_s=31.1) == 0


def test_a_block_of_a_present_server_holds_its_bucket_until_the_reset(with_headers):
    with_headers.send(times=3)
    with_headers.answer(429, times=3, message=NEWER, left=0, resets_s=13.0)
    assert with_headers.budgets.blocks == 1
    assert with_headers.wait_s() == pytest.approx(12.0)
    assert with_headers.wait_s("b") == 0


def test_a_block_that_names_another_limit_is_believed(with_headers):
    with_headers.send(times=10)
    with_headers.answer(429, message="Too many failed attempts (> 12)", resets_s=2.0)
    with_headers.answer(400, times=9, now_s=2.0)
    with_headers.send(now_s=2.0)
    with_headers.answer(400, now_s=2.5)
    assert with_headers.wait_s(now_s=2.5) > 20


@pytest.mark.parametrize(("hint_s", "wait_s"), [(None, 30.0), (12.0, 12.0)])
def test_a_block_of_an_older_server_holds_every_model(budgets, hint_s, wait_s):
    found = budgets()
    found.send(times=2)
    found.answer(429, times=2, message=OLDER, hint_s=hint_s)
    assert found.budgets.blocks == 1
    assert found.wait_s("b") == wait_s
    assert found.budgets.held_s(1.0) == wait_s
    assert found.budgets.is_shared


def test_once_an_older_server_has_shown_itself_every_failure_counts(budgets):
    found = budgets()
    found.send(times=12)
    found.answer(429, message=OLDER, hint_s=1.0)
    found.answer(500, "a", times=11)
    found.send("b", times=7, now_s=40.0)
    found.answer(500, "b", times=7, now_s=41.0)
    found.send("b", times=11, now_s=41.0)
    found.answer(500, "b", times=11, now_s=41.0)
    assert found.wait_s("a", 41.0) > 0


def test_a_request_given_up_may_count_on_an_older_server_only(budgets, with_headers):
    for found, waits in ((budgets(), True), (with_headers, False)):
        found.send(times=18)
        for _ in range(18):
            found.budgets.given_up("a", 1.0)
        assert (found.wait_s() > 0) is waits


def test_with_headers_no_budget_is_shared(with_headers):
    assert with_headers.budgets.held_s(1.0) == 0.0
    assert not with_headers.budgets.is_shared


def test_old_answers_leave_the_sample(with_headers):
    with_headers.send(times=10)
    with_headers.answer(400, times=10, left=50)
    for _ in range(20):
        with_headers.send(times=10)
        with_headers.answer(times=10, left=50)
    with_headers.send(times=300)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 20), st.sampled_from(["send", "good", "bad", "lost"])), max_size=200),
    st.integers(1, 25),
)
def test_if_everything_fails_no_window_has_more_errors_than_allowed(answer, script, limit):
    rule = ErrorRule(limit=limit, margin=0)
    found, now_s, under_way, failed = ErrorBudgets(rule), 0.0, 0, []
    for _ in range(FIRST_ANSWERS):
        found.sent("a")
        found.answered("a", answer(400, sent_s=-101.0, now_s=-100.0), sent_s=-101.0, reset=None)
    for pause_s, what in script:
        now_s += pause_s
        wait_s = found.wait_s("a", now_s)
        assert wait_s >= 0
        assert not math.isnan(wait_s)
        if what == "send" and wait_s == 0:
            found.sent("a")
            under_way += 1
        elif what != "send" and under_way:
            under_way -= 1
            if what == "lost":
                found.given_up("a", now_s)
            else:
                status = 400 if what == "bad" else 500
                found.answered("a", answer(status, now_s=now_s), sent_s=now_s, reset=None)
            failed.append(now_s)
    for moment_s in failed:
        assert sum(moment_s <= other_s <= moment_s + rule.window_s for other_s in failed) <= min(limit, 20)


def test_a_share_of_the_errors_is_rounded_down_but_never_nothing():
    assert ErrorRule(limit=50, margin=2, share=3).affordable == 16
    assert ErrorRule(limit=50, margin=2, share=100).affordable == 1


def test_a_share_keeps_to_its_part_whatever_the_server_says_is_left(budgets):
    found = budgets(share=3)
    found.budgets.listed()
    found.send(times=16)
    found.answer(400, times=16, left=34, resets_s=20.0)
    assert found.wait_s(now_s=1.0) == pytest.approx(30.0)
    found.send(times=16, now_s=31.1)


def test_a_share_also_keeps_to_what_the_others_have_left(budgets):
    found = budgets(share=3)
    found.budgets.listed()
    found.send(times=2)
    found.answer(400, times=2, left=2, resets_s=12.0)
    assert found.wait_s() == pytest.approx(11.0)


def test_a_share_expects_all_requests_under_way_to_fail_after_errors_only(budgets):
    found = budgets(share=3)
    found.budgets.listed()
    found.send(times=1)
    found.answer(400, left=49, resets_s=20.0)
    found.send(times=15)
    assert found.wait_s() == pytest.approx(30.0)
    found.answer(200, times=15, left=49, resets_s=20.0)
    assert found.wait_s() == 0


def test_a_share_follows_the_limit_that_a_block_names(budgets):
    found = budgets(share=3, assumed=False)
    found.send()
    found.answer(429, message="Too many failed attempts (> 32)", hint_s=5.0)
    found.budgets.listed()
    found.send(times=10, now_s=6.0)
    found.answer(400, times=10, now_s=7.0)
    assert found.wait_s(now_s=7.0) > 0


def test_shares_on_an_older_server_send_fewer_before_the_first_answers(budgets):
    found = budgets(share=3)
    found.send(times=6)
    assert found.wait_s() == math.inf


def test_a_budget_that_turns_out_larger_is_shared_as_it_is(budgets):
    found = budgets(share=2)
    found.budgets.listed()
    found.send(times=40)
    found.answer(400, times=40, left=101, resets_s=20.0)
    found.send(times=9)
    assert found.wait_s() == pytest.approx(30.0)


class SharedBucket:
    """The server's bucket of one model: its window opens with the first error and lasts 30 s."""

    def __init__(self):
        self.errors = 0
        self.ends_s = -math.inf

    def take(self, now_s, *, is_error):
        """Return the errors left and the reset that the answer names."""
        if now_s >= self.ends_s:
            self.errors = 0
        if is_error and not self.errors:
            self.ends_s = now_s + 30.0
        self.errors += is_error
        return 50 - self.errors, max(self.ends_s, now_s + 1.0)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(2, 6), st.floats(0.1, 1.0))
def test_shares_with_many_errors_are_never_blocked_together(answer, seed, share, bad):
    rng, server, now_s = random.Random(seed), SharedBucket(), 0.0
    runs = [ErrorBudgets(None, share=share) for _ in range(share)]
    for run in runs:
        run.listed()
    in_flight = []
    for _ in range(1500):
        now_s += rng.expovariate(20.0)
        run = rng.choice(runs)
        if rng.random() < 0.5:
            if run.wait_s("a", now_s) == 0 and sum(other is run for other, _ in in_flight) < 8:
                run.sent("a")
                in_flight.append((run, now_s))
        elif in_flight:
            run, sent_s = in_flight.pop(rng.randrange(len(in_flight)))
            is_error = rng.random() < bad
            left, resets_s = server.take(now_s, is_error=is_error)
            given = answer(400 if is_error else 200, sent_s=sent_s, now_s=now_s, left=left)
            run.answered("a", given, sent_s=sent_s, reset=ResetTime.at(resets_s))
        assert server.errors <= 50
