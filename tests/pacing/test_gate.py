import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venice_batch.pacing.gate import Gate


@pytest.fixture
def gate():
    return Gate(random.Random(1), spread_s=0.05)


def test_is_open_at_first(gate):
    assert gate.wait_s(0.0) == 0.0


def test_holds_everybody_until_it_opens(gate):
    gate.close(10.0, 0.0)
    assert gate.wait_s(4.0) >= 6.0
    assert gate.opens_s == 10.0


def test_an_earlier_opening_changes_nothing(gate):
    gate.close(10.0, 0.0)
    gate.close(5.0, 1.0)
    assert gate.opens_s == 10.0


def test_closing_until_a_moment_that_has_passed_does_nothing(gate):
    gate.close(1.0, 2.0)
    assert gate.wait_s(2.0) == 0.0


def test_those_who_waited_together_pass_one_after_another(gate):
    gate.close(10.0, 0.0)
    now_s, passed = 10.0, []
    for _ in range(10):
        now_s += gate.wait_s(now_s)
        gate.passed(now_s)
        passed.append(now_s)
    assert len(set(passed)) == 10
    assert passed[-1] < 10.0 + 11 * 0.05


def test_long_after_an_opening_nobody_is_held(gate):
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
    assert now_s + gate.wait_s(now_s) >= min(latest_s, gate.opens_s)
    assert gate.wait_s(now_s) >= 0
