"""How many a minute, lately."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.rate import RATE_S, Rate


def test_the_last_minute_counts():
    rate = Rate()
    rate.add(20, 1000.0)
    rate.add(10, 1030.0)
    assert rate.a_minute(1059.0, over_s=600) == 30
    assert rate.a_minute(1061.0, over_s=600) == 10
    assert rate.a_minute(2000.0, over_s=600) == 0


def test_what_began_a_moment_ago_is_reckoned_for_a_minute():
    rate = Rate()
    rate.add(5, 1000.0)
    assert rate.a_minute(1015.0, over_s=15) == 20
    assert rate.a_minute(1000.0, over_s=0) == 5 * 60


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 9)), max_size=100))
def test_it_agrees_with_a_log_of_everything(steps):
    rate, log, now_s = Rate(), [], 1000.0
    for gap_s, count in steps:
        now_s += gap_s
        rate.add(count, now_s)
        log.append((now_s, count))
    low = sum(count for moment_s, count in log if moment_s > now_s - RATE_S + 1)
    high = sum(count for moment_s, count in log if moment_s > now_s - RATE_S)
    assert low <= rate.a_minute(now_s, over_s=RATE_S) <= high


def test_its_memory_is_bounded():
    rate = Rate()
    for number in range(100_000):
        rate.add(1, number / 50)
    assert len(rate._counts) <= RATE_S + 1
    assert rate.a_minute(100_000 / 50, over_s=600) == pytest.approx(60 * 50, rel=0.02)
