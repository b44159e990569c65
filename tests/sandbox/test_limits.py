from datetime import datetime
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.sandbox.limits import (
    FailureBlock,
    QuotaState,
    open_window,
    rate_headers,
    reset_value,
    retry_after,
)

NOW = 1_800_000_000.0
KINDS = ("fixed", "aligned", "sliding", "token-bucket")


def window(kind, limit=3, count_refused=False):
    return open_window(kind, limit, 60.0, count_refused=count_refused)


@pytest.mark.parametrize("kind", KINDS)
def test_the_quota_can_be_used_at_once_and_not_exceeded(kind):
    tested = window(kind)
    assert [tested.acquire(1000.0).granted for _ in range(5)] == [True] * 3 + [False] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_remaining_counts_down(kind):
    tested = window(kind)
    assert [tested.acquire(1000.0).remaining for _ in range(4)] == [2, 1, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_peeking_uses_no_quota(kind):
    tested = window(kind)
    assert [tested.peek(1000.0).remaining for _ in range(5)] == [3] * 5
    assert tested.acquire(1000.0).granted


@pytest.mark.parametrize("kind", KINDS)
@given(gaps=st.lists(st.floats(0, 50), min_size=1, max_size=40), limit=st.integers(1, 5))
def test_waiting_until_the_reset_is_always_enough(kind, gaps, limit):
    tested, now = window(kind, limit), 1_800_000_000.0
    for gap in gaps:
        now += gap
        state = tested.acquire(now)
        if not state.granted:
            assert state.reset_at > now
            now = state.reset_at
            assert tested.acquire(now).granted


@given(gaps=st.lists(st.floats(0, 50), max_size=60))
def test_a_sliding_window_never_grants_more_than_the_limit_in_any_minute(gaps):
    tested, now, granted = window("sliding"), 0.0, []
    for gap in gaps:
        now += gap
        if tested.acquire(now).granted:
            granted.append(now)
            assert sum(moment > now - 60 for moment in granted) <= 3


def test_a_fixed_window_opens_with_the_first_request_after_the_last_one_ended():
    tested = window("fixed")
    assert tested.acquire(1000.0).reset_at == 1060.0
    assert tested.acquire(1075.0).reset_at == 1135.0


def test_an_aligned_window_ends_on_multiples_of_its_length():
    tested = window("aligned")
    assert tested.acquire(1000.0).reset_at == 1020.0
    assert tested.peek(1020.0).reset_at == 1080.0


def test_a_token_bucket_refills_one_by_one():
    tested = window("token-bucket")
    for _ in range(3):
        tested.acquire(1000.0)
    assert tested.acquire(1000.0).reset_at == pytest.approx(1020.0)
    assert tested.acquire(1020.0).granted
    assert not tested.acquire(1020.0).granted
    assert tested.peek(2000.0).remaining == 3


@pytest.mark.parametrize("kind", ["sliding", "token-bucket"])
def test_refused_requests_use_quota_only_with_the_setting(kind):
    lenient, strict = window(kind), window(kind, count_refused=True)
    for tested in (lenient, strict):
        for _ in range(3):
            tested.acquire(1000.0)
        tested.acquire(1010.0)
        tested.acquire(1010.0)
    later = 1060.0
    assert lenient.peek(later).remaining > strict.peek(later).remaining


def test_refused_requests_never_put_a_token_bucket_more_than_one_bucket_in_debt():
    tested = window("token-bucket", count_refused=True)
    for _ in range(100):
        tested.acquire(1000.0)
    assert tested.peek(1000.0).reset_at <= 1000.0 + 120.0


@pytest.mark.parametrize(
    ("form", "fine", "expected"),
    [
        ("seconds", False, "1800000084"),
        ("seconds", True, "1800000083.457"),
        ("fractional", False, "1800000083.457"),
        ("ms", False, "1800000083457"),
        ("iso", False, "2027-01-15T08:01:23.457Z"),
        ("duration", False, "1m23.457s"),
    ],
)
def test_each_form_of_the_reset(form, fine, expected):
    assert reset_value(NOW + 83.4561, NOW, form, fine=fine) == expected


def test_short_durations_have_no_minutes():
    assert reset_value(NOW + 8.5, NOW, "duration", fine=False) == "8.5s"


@given(wait=st.floats(0, 1000))
def test_every_form_is_rounded_up(wait):
    reset = NOW + wait
    slack = 2e-3
    assert float(reset_value(reset, NOW, "seconds", fine=False)) >= reset
    assert float(reset_value(reset, NOW, "fractional", fine=False)) >= reset - slack
    assert int(reset_value(reset, NOW, "ms", fine=False)) >= (reset - slack) * 1000
    assert datetime.fromisoformat(reset_value(reset, NOW, "iso", fine=False)).timestamp() >= reset - slack
    date = retry_after(wait, NOW, "date", fine=False)["Retry-After"]
    assert parsedate_to_datetime(date).timestamp() >= reset


def test_the_headers_name_limit_remaining_and_type():
    headers = rate_headers(QuotaState(True, 20, 7, NOW), NOW, "seconds", fine=False)
    assert headers == {
        "x-ratelimit-limit-requests": "20",
        "x-ratelimit-remaining-requests": "7",
        "x-ratelimit-reset-requests": "1800000000",
        "x-ratelimit-type": "user",
    }


def test_none_sends_nothing():
    assert rate_headers(QuotaState(True, 20, 7, NOW), NOW, "none", fine=False) == {}
    assert retry_after(3.0, NOW, "none", fine=False) == {}


def test_retry_after_in_seconds_is_whole_unless_fine():
    assert retry_after(3.2, NOW, "seconds", fine=False) == {"Retry-After": "4"}
    assert retry_after(0.20011, NOW, "seconds", fine=True) == {"Retry-After": "0.201"}


def test_twenty_failures_are_tolerated_and_one_more_blocks_for_half_a_minute():
    block = FailureBlock(20, 30.0, 30.0)
    assert not any(block.record_failure(100.0 + i) for i in range(20))
    assert block.remaining_s(120.0) == 0
    assert block.record_failure(120.0)
    assert block.remaining_s(120.0) == 30.0
    assert block.remaining_s(149.5) == 0.5
    assert block.remaining_s(150.0) == 0


def test_failures_older_than_the_window_do_not_count():
    block = FailureBlock(2, 30.0, 30.0)
    assert not any(block.record_failure(t) for t in (0.0, 1.0, 30.0, 31.0, 60.0, 61.0))


def test_failures_during_a_block_do_not_extend_it():
    block = FailureBlock(1, 30.0, 30.0)
    block.record_failure(0.0)
    assert block.record_failure(0.0)
    assert not any(block.record_failure(20.0) for _ in range(10))
    assert block.remaining_s(30.0) == 0
    assert not block.record_failure(30.0)


def test_a_limit_of_zero_lifts_the_rule():
    block = FailureBlock(0, 30.0, 30.0)
    assert not any(block.record_failure(0.0) for _ in range(100))
