import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.sandbox.limits import open_window

KINDS = ("fixed", "aligned", "sliding", "token-bucket")


def window(kind, limit=3, count_refused=False):
    return open_window(kind, limit, 60.0, count_refused=count_refused)


@pytest.mark.parametrize("kind", KINDS)
def test_the_quota_can_be_used_at_once_and_not_exceeded(kind):
    tested = window(kind)
    assert [tested.ask(1000.0).granted for _ in range(5)] == [True] * 3 + [False] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_remaining_counts_down(kind):
    tested = window(kind)
    assert [tested.ask(1000.0).remaining for _ in range(4)] == [2, 1, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_peeking_uses_no_quota(kind):
    tested = window(kind)
    assert [tested.peek(1000.0).remaining for _ in range(5)] == [3] * 5
    assert tested.ask(1000.0).granted


@pytest.mark.parametrize("kind", KINDS)
@given(gaps=st.lists(st.floats(0, 50), min_size=1, max_size=40), limit=st.integers(1, 5))
def test_waiting_until_the_reset_is_always_enough(kind, gaps, limit):
    tested, now = window(kind, limit), 1_800_000_000.0
    for gap in gaps:
        now += gap
        verdict = tested.ask(now)
        if not verdict.granted:
            assert verdict.reset_at > now
            now = verdict.reset_at
            assert tested.ask(now).granted


@given(gaps=st.lists(st.floats(0, 50), max_size=60))
def test_a_sliding_window_never_grants_more_than_the_limit_in_any_minute(gaps):
    tested, now, granted = window("sliding"), 0.0, []
    for gap in gaps:
        now += gap
        if tested.ask(now).granted:
            granted.append(now)
            assert sum(moment > now - 60 for moment in granted) <= 3


def test_a_fixed_window_opens_with_the_first_request_after_the_last_one_ended():
    tested = window("fixed")
    assert tested.ask(1000.0).reset_at == 1060.0
    assert tested.ask(1075.0).reset_at == 1135.0


def test_an_aligned_window_ends_on_multiples_of_its_length():
    tested = window("aligned")
    assert tested.ask(1000.0).reset_at == 1020.0
    assert tested.peek(1020.0).reset_at == 1080.0


def test_a_token_bucket_refills_one_by_one():
    tested = window("token-bucket")
    for _ in range(3):
        tested.ask(1000.0)
    assert tested.ask(1000.0).reset_at == pytest.approx(1020.0)
    assert tested.ask(1020.0).granted
    assert not tested.ask(1020.0).granted
    assert tested.peek(2000.0).remaining == 3


@pytest.mark.parametrize("kind", ["sliding", "token-bucket"])
def test_refused_requests_use_quota_only_if_asked_to(kind):
    lenient, strict = window(kind), window(kind, count_refused=True)
    for tested in (lenient, strict):
        for _ in range(3):
            tested.ask(1000.0)
        tested.ask(1010.0)
        tested.ask(1010.0)
    later = 1060.0
    assert lenient.peek(later).remaining > strict.peek(later).remaining


def test_refused_requests_never_put_a_token_bucket_more_than_one_bucket_in_debt():
    tested = window("token-bucket", count_refused=True)
    for _ in range(100):
        tested.ask(1000.0)
    assert tested.peek(1000.0).reset_at <= 1000.0 + 120.0
