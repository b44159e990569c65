import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venice_batch.pacing.reset_time import ClockSkew, Period, ResetTime, WindowKind


@pytest.fixture
def period():
    return Period(60.0)


def test_the_end_is_unknown_before_an_answer_names_it(period):
    period.sent(0.0)
    assert period.kind is WindowKind.UNKNOWN
    assert period.ends_s is None
    assert not period.advance(1000.0)


def test_the_end_is_the_latest_possible_moment(period):
    period.observe(ResetTime(59.0, 60.5), 0.0, now_s=0.0)
    period.observe(ResetTime(58.5, 60.2), 0.0, now_s=0.0)
    assert period.kind is WindowKind.UNCONFIRMED
    assert period.ends_s == 60.2
    assert not period.advance(60.0)
    assert period.advance(60.2)
    assert period.opened_s == 60.2
    assert not period.advance(60.3)


def test_a_window_of_unknown_end_lasts_its_full_length_from_its_first_request(period):
    period.observe(ResetTime.at(10.0), 0.0, now_s=0.0)
    assert period.advance(10.0)
    assert period.ends_s is None
    assert period.awaits_first_request
    period.sent(12.0)
    assert not period.awaits_first_request
    assert period.ends_s == 73.0


def test_a_reset_that_moves_before_it_is_reached_means_a_sliding_window(period):
    period.observe(ResetTime.at(60.0), 0.0, now_s=0.0)
    period.observe(ResetTime.at(63.0), 1.0, now_s=1.0)
    assert period.kind is WindowKind.SLIDING
    assert period.ends_s is None
    period.observe(ResetTime.at(90.0), 2.0, now_s=2.0)
    assert period.ends_s is None


def test_a_next_reset_less_than_a_window_later_means_a_sliding_window(period):
    period.observe(ResetTime.at(60.0), 0.0, now_s=0.0)
    period.advance(60.0)
    period.observe(ResetTime.at(65.0), 60.0, now_s=60.0)
    assert period.kind is WindowKind.SLIDING


def test_a_late_answer_from_the_window_before_changes_nothing(period):
    period.observe(ResetTime.at(60.0), 0.0, now_s=0.0)
    period.advance(60.0)
    assert not period.observe(ResetTime.at(60.1), 0.0, now_s=0.0)
    assert period.kind is WindowKind.UNCONFIRMED
    assert period.ends_s is None


def test_notices_that_the_server_has_begun_a_new_window(period):
    period.observe(ResetTime.at(60.0), 0.0, now_s=0.0)
    assert period.observe(ResetTime.at(119.8), 59.8, now_s=59.8)
    assert period.ends_s == 119.8
    assert period.opened_s == 59.8


def test_a_fixed_window_is_confirmed_only_after_a_reset(period):
    period.observe(ResetTime.at(60.0), 0.0, now_s=0.0)
    period.confirm_fixed()
    assert period.kind is WindowKind.UNCONFIRMED
    period.advance(60.0)
    period.confirm_fixed()
    assert period.kind is WindowKind.FIXED


def test_a_reset_named_too_early_moves_all_later_ones(period):
    period.observe(ResetTime.at(60.0), 0.0, now_s=0.0)
    period.advance(60.0)
    period.sent(60.0)
    period.observe_early_end(ResetTime.at(60.0), 60.1)
    first_s = period.ends_s
    assert first_s > 60.1
    period.observe_early_end(ResetTime.at(60.0), 60.2)
    assert period.ends_s == first_s
    period.advance(first_s)
    period.observe(ResetTime.at(121.0), first_s, now_s=first_s)
    assert period.ends_s == 121.5


def test_a_refusal_with_another_reset_shows_no_early_end(period):
    period.observe_early_end(ResetTime.at(60.0), 0.0)
    period.observe(ResetTime.at(60.0), 0.0, now_s=0.0)
    period.advance(60.0)
    period.observe_early_end(ResetTime.at(120.0), 60.1)
    period.observe_early_end(ResetTime.at(60.0), 70.0)
    assert period.ends_s is None


def test_a_past_end_counts_if_no_other_is_known(period):
    period.sent(0.0)
    period.observe_past_end(ResetTime.at(1.0), 0.0, now_s=12.0)
    assert period.advance(12.0)
    assert (period.opened_s, period.ends_s) == (1.0, None)


def test_a_past_end_changes_nothing_of_a_known_window(period):
    period.observe(ResetTime.at(65.0), 6.0, now_s=6.0)
    period.observe_past_end(ResetTime.at(5.0), 0.0, now_s=12.0)
    assert (period.kind, period.ends_s) == (WindowKind.UNCONFIRMED, 65.0)


def test_one_request_is_sent_ahead_of_the_others_after_a_reset(period):
    period.observe(ResetTime.at(60.0), 0.0, now_s=0.0)
    period.advance(60.0)
    period.sent(60.0)
    assert 60.0 < period.probe_until_s < 60.5
    period.observe(ResetTime.at(120.0), 60.0, now_s=60.0)
    assert period.probe_until_s < 0


def test_grows_when_a_reset_is_further_ahead_than_a_window(period):
    period.observe(ResetTime.at(120.0), 0.0, now_s=0.5)
    assert period.length_s == 120.0
    assert period.kind is WindowKind.UNCONFIRMED


def test_shrinks_at_the_first_reset_that_forgets_too_much(period):
    period.sent(0.0)
    period.observe(ResetTime.at(6.0), 0.0, now_s=0.5)
    period.advance(6.1)
    period.sent(6.1)
    period.observe(ResetTime.at(12.1), 6.1, now_s=6.6, forgot=True)
    assert period.length_s == pytest.approx(6.1, abs=0.11)
    assert period.kind is WindowKind.UNCONFIRMED
    assert period.ends_s == 12.1


def test_a_pause_before_a_windows_first_request_does_not_count(period):
    period.sent(0.0)
    period.observe(ResetTime.at(6.0), 0.0, now_s=0.5)
    period.advance(6.0)
    period.sent(10.0)
    period.observe(ResetTime.at(16.0), 10.0, now_s=10.5, forgot=True)
    assert period.length_s == pytest.approx(6.0)


def test_later_windows_make_a_learnt_length_more_exact(period):
    period.sent(0.0)
    period.observe(ResetTime.at(6.5), 0.0, now_s=0.5)
    period.advance(6.5)
    period.sent(6.5)
    period.observe(ResetTime.at(12.6), 6.5, now_s=7.0, forgot=True)
    assert period.length_s == 6.5
    period.advance(12.6)
    period.sent(12.6)
    period.observe(ResetTime.at(18.7), 12.6, now_s=13.5)
    assert period.length_s == pytest.approx(6.1)


def test_part_of_an_aligned_minute_is_not_taken_for_a_window(period):
    period.sent(0.0)
    period.observe(ResetTime.at(20.0), 0.0, now_s=0.5)
    period.advance(20.0)
    period.sent(20.0)
    period.observe(ResetTime.at(80.0), 20.0, now_s=20.5, forgot=True)
    assert (period.length_s, period.kind) == (60.0, WindowKind.UNCONFIRMED)


def test_a_reset_that_moves_by_less_than_a_window_means_a_sliding_window(period):
    period.sent(0.0)
    period.observe(ResetTime.at(6.0), 0.0, now_s=0.5)
    period.advance(6.0)
    period.sent(6.0)
    period.observe(ResetTime.at(9.0), 6.0, now_s=6.5, forgot=True)
    assert period.kind is WindowKind.SLIDING


def test_a_sliding_window_is_no_longer_than_its_resets_show(period):
    period.limit_length(6.0)
    assert period.length_s == 60.0
    period.observe(ResetTime.at(60.0), 0.0, now_s=0.0)
    period.observe(ResetTime.at(63.0), 1.0, now_s=1.0)
    period.limit_length(58.0)
    assert period.length_s == 60.0
    period.limit_length(6.0)
    assert period.length_s == 6.0


def test_the_time_between_resets_is_as_the_server_says():
    assert ResetTime(1.0, 2.0, 100.0).after(ResetTime(0.5, 0.9, 94.0)) == 6.0
    assert ResetTime(1.0, 2.0).after(ResetTime(0.5, 0.9, 94.0)) == 0.5


EPOCH_S = 1_800_000_000.0


def test_knows_nothing_before_any_answer():
    assert ClockSkew().local(EPOCH_S) is None


def test_one_date_shows_the_time_within_a_second_and_the_round_trip():
    skew = ClockSkew()
    skew.observe(EPOCH_S, 0.3, 0.4)
    reset = skew.local(EPOCH_S + 60)
    assert reset.latest_s == pytest.approx(60.4)
    assert reset.earliest_s == pytest.approx(58.3)


def test_answers_at_different_parts_of_a_second_narrow_it():
    skew = ClockSkew()
    for tenth in range(20):
        moment_s = tenth / 10
        skew.observe(math.floor(EPOCH_S + 0.55 + moment_s), moment_s, moment_s + 0.01)
    reached_s = skew.local(EPOCH_S + 60).latest_s
    assert 59.45 <= reached_s < 59.6


def test_after_a_clock_was_set_its_new_time_counts():
    skew = ClockSkew()
    skew.observe(EPOCH_S, 0.0, 0.1)
    skew.observe(EPOCH_S + 3600, 1.0, 1.1)
    assert skew.local(EPOCH_S + 3660).latest_s == pytest.approx(61.1)


def test_bounds_widen_as_clocks_drift():
    skew = ClockSkew()
    skew.observe(EPOCH_S, 0.0, 0.0)
    skew.observe(EPOCH_S + 9999, 9999.9, 9999.9)
    assert skew.local(EPOCH_S).latest_s > 0.8


@settings(deadline=None)
@given(
    st.floats(0, 3600),
    st.lists(st.tuples(st.floats(0, 30), st.floats(0, 10), st.floats(0, 1)), min_size=1, max_size=50),
)
def test_a_reset_never_comes_earlier_than_at_the_server(phase_s, answers):
    skew, now_s = ClockSkew(), 0.0
    for pause_s, takes_s, part in answers:
        now_s += pause_s
        dated_s = math.floor(EPOCH_S + phase_s + now_s + part * takes_s)
        skew.observe(dated_s, now_s, now_s + takes_s)
        now_s += takes_s
    reset = skew.local(EPOCH_S + phase_s + 1000.0)
    assert reset.latest_s >= 1000.0 - 1e-6
    assert reset.earliest_s <= 1000.0 + 1e-6
