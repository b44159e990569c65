import math

import pytest

from venice_batch.pacing.day import DAY_S, DayQuota


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


def test_where_its_end_is_unknown_a_day_counts_from_the_first_request():
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
