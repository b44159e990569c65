import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venice_batch.pacing.skew import ClockSkew

EPOCH_S = 1_800_000_000.0


def test_knows_nothing_before_any_answer():
    assert ClockSkew().local(EPOCH_S) is None


def test_one_date_tells_within_a_second_and_the_round_trip():
    skew = ClockSkew()
    skew.observe(EPOCH_S, 0.3, 0.4)
    ends = skew.local(EPOCH_S + 60)
    assert ends.latest_s == pytest.approx(60.4)
    assert ends.earliest_s == pytest.approx(58.3)


def test_answers_at_different_parts_of_a_second_narrow_it():
    skew = ClockSkew()
    for tenth in range(20):
        moment_s = tenth / 10
        skew.observe(math.floor(EPOCH_S + 0.55 + moment_s), moment_s, moment_s + 0.01)
    reached_s = skew.local(EPOCH_S + 60).latest_s
    assert 59.45 <= reached_s < 59.6


def test_a_clock_that_was_set_is_believed_anew():
    skew = ClockSkew()
    skew.observe(EPOCH_S, 0.0, 0.1)
    skew.observe(EPOCH_S + 3600, 1.0, 1.1)
    assert skew.local(EPOCH_S + 3660).latest_s == pytest.approx(61.1)


def test_what_is_known_wears_off_since_clocks_drift():
    skew = ClockSkew()
    skew.observe(EPOCH_S, 0.0, 0.0)
    skew.observe(EPOCH_S + 9999, 9999.9, 9999.9)
    assert skew.local(EPOCH_S).latest_s > 0.8


@settings(deadline=None)
@given(
    st.floats(0, 3600),
    st.lists(st.tuples(st.floats(0, 30), st.floats(0, 10), st.floats(0, 1)), min_size=1, max_size=50),
)
def test_never_takes_a_moment_for_reached_before_the_server_reaches_it(phase_s, answers):
    skew, now_s = ClockSkew(), 0.0
    for pause_s, takes_s, part in answers:
        now_s += pause_s
        dated_s = math.floor(EPOCH_S + phase_s + now_s + part * takes_s)
        skew.observe(dated_s, now_s, now_s + takes_s)
        now_s += takes_s
    ends = skew.local(EPOCH_S + phase_s + 1000.0)
    assert ends.latest_s >= 1000.0 - 1e-6
    assert ends.earliest_s <= 1000.0 + 1e-6
