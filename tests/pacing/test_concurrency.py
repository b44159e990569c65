from hypothesis import given, settings
from hypothesis import strategies as st

from venice_batch.pacing.concurrency import AdaptiveLimit


def good(limit, times, *, latency_s=1.0, now_s=0.0, in_flight=None):
    for _ in range(times):
        limit.good(in_flight=in_flight or limit.limit, latency_s=latency_s, sent_s=now_s, now_s=now_s + latency_s)


def test_starts_at_the_given_limit_up_to_the_ceiling():
    assert AdaptiveLimit(32, 4).limit == 4
    assert AdaptiveLimit(3, 4).limit == 3
    assert AdaptiveLimit(0, 0).limit == 1


def test_doubles_each_round_trip_at_first():
    limit = AdaptiveLimit(32, 4)
    good(limit, 4)
    assert limit.limit == 8


def test_never_exceeds_its_ceiling():
    limit = AdaptiveLimit(5, 4)
    good(limit, 50)
    assert limit.limit == 5


def test_grows_only_while_it_is_used():
    limit = AdaptiveLimit(32, 8)
    good(limit, 50, in_flight=2)
    assert limit.limit == 8


def test_an_overload_lowers_it_to_what_the_server_still_holds():
    limit = AdaptiveLimit(32, 20)
    limit.overloaded(sent_s=0.0, now_s=1.0, in_flight=4)
    assert limit.limit == 4


def test_requests_in_flight_at_an_overload_do_not_lower_it_again():
    limit = AdaptiveLimit(32, 20)
    limit.overloaded(sent_s=0.0, now_s=1.0, in_flight=19)
    assert limit.limit == 16
    limit.overloaded(sent_s=0.5, now_s=1.1, in_flight=18)
    assert limit.limit == 16


def test_never_falls_below_one():
    limit = AdaptiveLimit(32, 1)
    for second in range(20):
        limit.overloaded(sent_s=second, now_s=second + 0.5, in_flight=0)
    assert limit.limit == 1


def test_tries_the_point_of_overload_less_and_less_often():
    limit, tries, answers = AdaptiveLimit(32, 4), [], 0
    now_s = 0.0
    for _ in range(2000):
        now_s += 1.0
        answers += 1
        if limit.limit > 4:
            limit.overloaded(sent_s=now_s, now_s=now_s, in_flight=4)
            tries.append(answers)
            answers = 0
        else:
            good(limit, 1, now_s=now_s)
    assert 3 < len(tries) < 60
    assert tries[-1] > 4 * tries[1]


def test_much_slower_answers_count_as_overload():
    limit = AdaptiveLimit(32, 16)
    good(limit, 200, latency_s=2.0)
    before = limit.limit
    good(limit, 30, latency_s=20.0, now_s=100.0)
    assert limit.limit < before


def test_a_known_quota_opens_it_to_its_ceiling_unless_it_was_overloaded():
    limit = AdaptiveLimit(32, 4)
    limit.open()
    assert limit.limit == 32
    limit = AdaptiveLimit(32, 4)
    limit.overloaded(sent_s=0.0, now_s=1.0, in_flight=4)
    limit.open()
    assert limit.limit < 5


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.floats(0, 100), st.floats(0, 300))),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_stays_between_one_and_its_ceiling(events, ceiling, start):
    limit, now_s = AdaptiveLimit(ceiling, start), 0.0
    for well, in_flight, pause_s, latency_s in events:
        now_s += pause_s
        if well:
            limit.good(in_flight=in_flight, latency_s=latency_s, sent_s=now_s - latency_s, now_s=now_s)
        else:
            limit.overloaded(sent_s=now_s - latency_s, now_s=now_s, in_flight=in_flight)
        assert 1 <= limit.limit <= ceiling
