import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venice_batch.pacing.budget import BlockRule, FailureBudget


def test_affords_the_rule_less_its_margin():
    assert BlockRule(failures=20, margin=2).affordable == 18


def test_affords_at_least_one_whatever_the_margin():
    assert BlockRule(failures=1, margin=5).affordable == 1


def test_sends_only_as_many_as_may_all_fail():
    budget = FailureBudget(BlockRule(failures=5, margin=2))
    for _ in range(3):
        assert budget.wait_s(0.0) == 0.0
        budget.sent()
    assert budget.wait_s(0.0) == math.inf


def test_a_success_gives_its_place_back_at_once():
    budget = FailureBudget(BlockRule(failures=3, margin=2))
    budget.sent()
    budget.answered(1.0, failed=False)
    assert budget.wait_s(1.0) == 0.0


def test_a_failure_holds_its_place_for_the_rules_window():
    budget = FailureBudget(BlockRule(failures=3, margin=2, window_s=30.0))
    budget.sent()
    budget.answered(1.0, failed=True)
    assert budget.wait_s(2.0) == pytest.approx(29.0)
    assert budget.recent_failures(31.0) == 1
    assert budget.wait_s(31.1) == 0.0
    assert budget.recent_failures(31.1) == 0


def test_waits_for_nothing_where_the_server_has_no_such_rule():
    budget = FailureBudget(BlockRule(failures=0))
    for _ in range(1000):
        budget.sent()
        budget.answered(0.0, failed=True)
    assert budget.wait_s(0.0) == 0.0
    assert budget.recent_failures(0.0) == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 20), st.booleans(), st.booleans()), max_size=200), st.integers(1, 25))
def test_no_window_ever_holds_more_failures_than_are_affordable(script, failures):
    rule = BlockRule(failures=failures, margin=0)
    budget, now_s, under_way, failed = FailureBudget(rule), 0.0, 0, []
    for pause_s, send, fails in script:
        now_s += pause_s
        wait_s = budget.wait_s(now_s)
        assert wait_s >= 0
        if send and wait_s == 0:
            budget.sent()
            under_way += 1
        elif under_way:
            under_way -= 1
            budget.answered(now_s, failed=fails)
            failed += [now_s] if fails else []
    for moment_s in failed:
        assert sum(moment_s <= other_s <= moment_s + rule.window_s for other_s in failed) <= rule.affordable
