import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venice_batch.pacing.reset_time import ResetTime, WindowKind
from venice_batch.pacing.window import LimitSource, Window, part_of


def send(window, now_s, times=1):
    for _ in range(times):
        assert window.wait_s(now_s) == 0
        window.sent(now_s)


def observe(window, now_s, *, remaining=None, ends_s=None, limit=20, sent_s=None, maybe_uncounted=0, in_flight=0):
    reset = None if ends_s is None else ResetTime.at(ends_s)
    sent_s = now_s if sent_s is None else sent_s
    window.observed(limit, remaining, reset, sent_s, now_s, maybe_uncounted=maybe_uncounted, in_flight=in_flight)


def refuse(window, sent_s, now_s, *, retry_after_s=None, ends_s=None):
    reset = None if ends_s is None else ResetTime.at(ends_s)
    window.refused(sent_s, now_s, retry_after_s=retry_after_s, reset=reset)


def fixed():
    """Return a window of 20, confirmed as fixed by its reset at 60 s; one request was sent at 60 s."""
    window = Window(60.0, 20)
    send(window, 0.0)
    send(window, 10.0, 19)
    observe(window, 10.0, remaining=0, ends_s=60.0)
    send(window, 60.0)
    observe(window, 61.0, remaining=19, ends_s=120.0, sent_s=60.0)
    assert window.kind is WindowKind.FIXED
    return window


def test_without_a_limit_it_never_waits():
    window = Window()
    send(window, 0.0, 1000)
    assert window.left(0.0) == math.inf
    assert window.limit is None
    assert window.source is LimitSource.NONE


def test_a_listed_limit_is_used_at_once():
    window = Window(60.0, 20)
    send(window, 0.0, 20)
    assert window.wait_s(0.0) > 0


def test_no_span_of_an_unknown_window_gets_more_than_the_limit():
    window = Window(60.0, 2)
    send(window, 0.0)
    send(window, 30.0)
    assert window.wait_s(59.0) > 1.0
    send(window, 61.0)
    assert window.wait_s(61.0) > 29.0


def test_the_users_cap_goes_before_every_other_limit():
    window = Window(60.0, 20, cap=3)
    assert window.limit == 3
    send(window, 0.0, 3)
    observe(window, 1.0, remaining=17)
    assert window.wait_s(1.0) > 0
    assert Window(60.0, None, cap=3).limit == 3


def test_headers_overrule_the_listing():
    window = Window(60.0, 40)
    send(window, 0.0, 18)
    observe(window, 1.0, remaining=2)
    assert window.source is LimitSource.HEADER
    send(window, 1.0, 2)
    assert window.wait_s(1.0) > 0


def test_at_the_first_reset_one_request_probes():
    window = Window(60.0, 20)
    send(window, 30.0, 20)
    observe(window, 31.0, remaining=0, ends_s=60.0)
    assert window.wait_s(59.0) == pytest.approx(1.0)
    send(window, 60.0)
    assert window.wait_s(60.5) > 0


def test_a_confirmed_fixed_window_is_used_at_once():
    window = fixed()
    send(window, 61.0, 19)
    assert window.wait_s(61.0) == pytest.approx(59.0)


def test_after_each_reset_one_request_is_a_tenth_of_a_second_ahead():
    window = fixed()
    send(window, 120.0)
    assert 0 < window.wait_s(120.0) <= 0.1
    send(window, 120.1, 19)
    assert window.wait_s(120.1) > 0


def test_a_request_sent_just_before_a_reset_counts_after_it():
    window = fixed()
    send(window, 119.5, 5)
    send(window, 120.0)
    send(window, 120.2, 14)
    assert window.wait_s(120.2) > 0


def test_a_late_answer_of_the_window_before_is_ignored():
    window = fixed()
    send(window, 120.0)
    observe(window, 121.0, remaining=0, ends_s=120.0, sent_s=100.0)
    send(window, 121.0, 19)


def test_images_of_other_programs_are_subtracted():
    window = Window(60.0, 20)
    send(window, 0.0, 5)
    observe(window, 1.0, remaining=5, ends_s=60.0)
    send(window, 1.0, 5)
    assert window.wait_s(1.0) > 0


def test_images_of_other_programs_leave_a_sliding_window_evenly():
    window = Window(60.0, 20)
    send(window, 0.0)
    observe(window, 0.0, remaining=0)
    assert window.left(0.0) <= 0
    assert window.left(30.0) == pytest.approx(10, abs=1)
    assert window.left(90.0) == 20


def test_requests_that_the_server_did_not_count_are_given_back():
    window = Window(60.0, 20)
    send(window, 0.0, 20)
    observe(window, 1.0, remaining=12, in_flight=0)
    send(window, 1.0, 12)
    assert window.wait_s(1.0) > 0


def test_images_in_flight_are_not_given_back():
    window = Window(60.0, 20)
    send(window, 0.0, 20)
    observe(window, 1.0, remaining=12, in_flight=10, maybe_uncounted=19)
    send(window, 1.0, 2)
    assert window.wait_s(1.0) > 0


def test_a_refusal_without_a_limit_teaches_how_many_were_let_in():
    window = Window(60.0)
    send(window, 0.0, 15)
    send(window, 5.0)
    refuse(window, 5.0, 5.1)
    assert window.limit == 15
    assert window.source is LimitSource.LEARNED
    assert window.wait_s(5.1) > 50
    send(window, 61.0, 15)


def test_a_hint_shows_since_when_the_server_has_counted():
    window = Window(60.0)
    send(window, 0.0, 10)
    send(window, 30.0, 7)
    send(window, 31.0)
    refuse(window, 31.0, 31.1, retry_after_s=50.0)
    assert window.limit == 7


@pytest.mark.parametrize("named", [{"retry_after_s": 0.3}, {"ends_s": 0.4}])
def test_a_short_refusal_after_few_requests_shows_no_limit(named):
    window = Window(60.0)
    send(window, 0.0)
    refuse(window, 0.0, 0.1, **named)
    assert window.limit is None
    assert window.wait_s(0.5) == 0
    send(window, 0.5, 3)
    refuse(window, 0.5, 0.6, retry_after_s=20.0)
    assert window.limit is None


def test_a_momentary_refusal_shows_no_limit():
    window = Window(60.0)
    send(window, 0.0, 7)
    refuse(window, 0.0, 0.1, retry_after_s=0.3)
    assert window.limit is None


def test_a_short_refusal_after_many_requests_shows_the_limit():
    window = Window(60.0)
    send(window, 0.0, 20)
    send(window, 1.0)
    refuse(window, 1.0, 1.1, retry_after_s=2.0)
    assert window.limit == 20


def test_a_refusal_after_most_of_a_window_shows_the_limit():
    window = Window(60.0)
    for second in (0.0, 20.0, 40.0):
        send(window, second)
    send(window, 55.0)
    refuse(window, 55.0, 55.1, retry_after_s=5.0)
    assert window.limit == 3


def test_learns_at_least_one():
    window = Window(60.0)
    send(window, 0.0)
    refuse(window, 0.0, 0.1)
    assert window.limit == 1


def test_a_learnt_limit_is_tried_again_by_one_request_alone():
    window = Window(60.0)
    send(window, 0.0, 3)
    send(window, 1.0)
    refuse(window, 1.0, 1.1)
    send(window, 61.0, 3)
    assert window.wait_s(61.0) > 0
    send(window, 61.5)
    assert window.wait_s(62.0) > 0
    window.accepted(61.5)
    assert window.limit == 4


def test_a_refused_trial_keeps_the_limit_and_delays_the_next():
    window = Window(60.0)
    send(window, 0.0, 3)
    send(window, 1.0)
    refuse(window, 1.0, 1.1)
    send(window, 61.0, 3)
    send(window, 61.5)
    refuse(window, 61.5, 61.6)
    assert window.limit == 3
    send(window, 122.5, 3)
    assert window.wait_s(123.0) > 0
    send(window, 183.9, 3)
    assert window.wait_s(184.0) == 0


def test_a_refusal_despite_headers_means_that_others_were_quicker():
    window = fixed()
    send(window, 70.0)
    observe(window, 70.5, remaining=0, ends_s=120.0, sent_s=70.0)
    refuse(window, 70.0, 70.5, ends_s=120.0)
    assert window.limit == 20
    assert window.wait_s(71.0) == pytest.approx(49.0)


def test_a_reset_named_too_early_is_waited_for_a_little_longer():
    window = fixed()
    send(window, 120.0)
    observe(window, 120.05, remaining=0, ends_s=120.0, sent_s=120.0)
    refuse(window, 120.0, 120.05, ends_s=120.0)
    assert 0 < window.wait_s(120.06) < 1.0
    send(window, 121.0)


def test_a_refusal_about_a_past_window_does_not_hold_the_next():
    window = Window(60.0, 3)
    send(window, 0.0)
    observe(window, 12.0, remaining=0, ends_s=1.0, limit=3, sent_s=0.0)
    refuse(window, 0.0, 12.0, ends_s=1.0)
    send(window, 12.0)
    observe(window, 12.1, remaining=2, ends_s=61.0, limit=3, sent_s=12.0)
    send(window, 12.2, 2)
    assert window.wait_s(12.2) > 48.0


def test_a_refusal_about_a_past_later_window_does_not_hold_the_next():
    window = fixed()
    send(window, 179.0)
    refuse(window, 179.0, 191.0, ends_s=180.0)
    assert window.wait_s(191.0) == 0


def test_remaining_headers_that_led_to_a_refusal_add_nothing_more():
    window = Window(60.0, 20)
    send(window, 0.0, 20)
    observe(window, 1.0, remaining=1)
    send(window, 1.0)
    refuse(window, 1.0, 1.1)
    observe(window, 2.0, remaining=1)
    assert window.wait_s(2.0) > 0


def test_a_request_refused_for_another_reason_uses_no_quota():
    window = Window(60.0, 1)
    send(window, 0.0)
    window.uncounted(0.0)
    assert window.wait_s(0.1) == 0


def test_a_request_counts_each_of_its_images():
    window = Window(60.0, 20)
    for _ in range(5):
        assert window.wait_s(0.0, 4) == 0
        window.sent(0.0, 4)
    assert window.left(0.0) == 0


def test_a_request_larger_than_the_rest_waits_for_the_next_window():
    window = Window(60.0, 10)
    for _ in range(2):
        window.sent(0.0, 4)
    assert window.left(0.0) == 2
    assert window.wait_s(0.0, 4) > 50
    assert window.wait_s(0.0, 2) == 0


def test_a_request_larger_than_the_limit_waits_for_a_whole_window():
    window = Window(60.0, 3)
    assert window.wait_s(0.0, 4) == 0
    window.sent(0.0)
    assert window.wait_s(0.1, 4) > 50


def test_at_the_first_reset_a_request_for_several_images_may_probe():
    window = Window(60.0, 20)
    for _ in range(5):
        window.sent(30.0, 4)
    observe(window, 31.0, remaining=0, ends_s=60.0)
    assert window.wait_s(60.0, 4) == 0
    window.sent(60.0, 4)
    assert window.wait_s(60.5, 4) > 0
    observe(window, 61.0, remaining=16, ends_s=120.0, sent_s=60.0)
    assert window.kind is WindowKind.FIXED
    for _ in range(4):
        assert window.wait_s(61.0, 4) == 0
        window.sent(61.0, 4)
    assert window.wait_s(61.0, 4) > 50


def test_a_refused_request_gives_all_its_images_back():
    window = Window(60.0, 4)
    window.sent(0.0, 4)
    window.uncounted(0.0, 4)
    assert window.left(0.1) == 4


def test_a_learnt_limit_grows_by_the_images_beyond_it():
    window = Window(60.0)
    send(window, 0.0, 3)
    send(window, 1.0)
    refuse(window, 1.0, 1.1)
    send(window, 61.0, 3)
    window.sent(61.5, 2)
    window.accepted(61.5)
    assert window.limit == 5


def drive(window, length_s, *, latency_s, count, limit=20, opens="request", error_s=0.0):
    """Send `count` requests to a fixed window of `length_s`; its ends are known `error_s` too late. Returns moments."""
    now_s, sent, answers, ends_s, used = 0.0, [], [], -1.0, 0
    while len(sent) < count or answers:
        due_s = answers[0][0] if answers else math.inf
        wait_s = window.wait_s(now_s) if len(sent) < count else math.inf
        if wait_s == 0:
            if now_s >= ends_s:
                used = 0
                ends_s = now_s + length_s if opens == "request" else (now_s // length_s + 1) * length_s
            used += 1
            assert used <= limit
            window.sent(now_s)
            answered_before = len(sent) - len(answers)
            sent.append(now_s)
            answers.append((now_s + latency_s, now_s, limit - used, ends_s, answered_before))
        elif now_s + wait_s < due_s:
            now_s += wait_s
        else:
            now_s, sent_s, remaining, end_s, answered_before = answers.pop(0)
            reset, maybe_uncounted = ResetTime(end_s, end_s + error_s, end_s), len(sent) - answered_before - 1
            window.observed(
                limit, remaining, reset, sent_s, now_s, maybe_uncounted=maybe_uncounted, in_flight=len(answers)
            )
    return sent


@pytest.mark.parametrize("opens", ["request", "clock"])
@pytest.mark.parametrize("latency_s", [0.5, 3.0, 5.0])
@pytest.mark.parametrize("length_s", [6.0, 120.0])
def test_a_window_of_another_length_is_learnt_within_two(length_s, latency_s, opens):
    window = Window(60.0, 20)
    sent = drive(window, length_s, latency_s=latency_s, count=120, opens=opens, error_s=0.2)
    assert window.length_s == pytest.approx(length_s, rel=0.15)
    assert sent[-1] <= 5 * length_s + latency_s + 2.5


def test_a_short_window_is_learnt_from_answers_after_its_end():
    window = Window(60.0, 20)
    sent = drive(window, 6.0, latency_s=10.0, count=120)
    assert window.length_s < 12.0
    assert sent[-1] < 60.0


@pytest.mark.parametrize("latency_s", [2.0, 30.0, 100.0])
@pytest.mark.parametrize("opens", ["request", "clock"])
def test_a_minute_is_used_up_whatever_the_latency(latency_s, opens):
    window = Window(60.0, 20)
    sent = drive(window, 60.0, latency_s=latency_s, count=120, opens=opens)
    assert window.length_s == pytest.approx(60.0, rel=0.05)
    assert sent[-1] <= 310


events = st.tuples(
    st.sampled_from(["send", "ok", "refused", "headers"]),
    st.floats(0, 40),
    st.integers(0, 30),
    st.one_of(st.none(), st.floats(-5, 130)),
)


@settings(deadline=None)
@given(st.lists(events, max_size=120), st.one_of(st.none(), st.integers(1, 10)), st.booleans())
def test_waits_are_finite_numbers_whatever_the_answers_say(script, limit, with_headers):
    window, now_s, sent = Window(60.0, limit), 0.0, [0.0]
    for what, pause_s, number, in_s in script:
        now_s += pause_s
        wait_s = window.wait_s(now_s)
        assert wait_s >= 0
        assert not math.isnan(wait_s)
        ends_s = None if in_s is None else now_s + in_s
        if what == "send" and wait_s == 0:
            window.sent(now_s)
            sent.append(now_s)
        elif what == "ok":
            window.accepted(sent[-1])
        elif what == "headers":
            observe(window, now_s, remaining=number, ends_s=ends_s, limit=10 if with_headers else None, sent_s=sent[-1])
        elif what == "refused":
            refuse(window, sent[-1], now_s, retry_after_s=in_s, ends_s=ends_s)
    for _ in range(50):
        now_s += max(0.05, window.wait_s(now_s))
        if window.wait_s(now_s) == 0:
            break
    assert window.wait_s(now_s) == 0


@settings(deadline=None)
@given(st.lists(st.floats(0, 30), min_size=1, max_size=100), st.integers(1, 10))
def test_no_span_of_a_window_holds_more_than_a_listed_limit(pauses, limit):
    window, now_s, sent = Window(60.0, limit), 0.0, []
    for pause_s in pauses:
        now_s += pause_s
        if window.wait_s(now_s) == 0:
            window.sent(now_s)
            sent.append(now_s)
    for moment_s in sent:
        assert sum(moment_s <= other_s < moment_s + 60.0 for other_s in sent) <= limit


@pytest.mark.parametrize(("quota", "share", "part"), [(20, 1, 20), (20, 3, 6), (2, 3, 1), (0, 3, 1)])
def test_a_part_is_rounded_down_but_never_nothing(quota, share, part):
    assert part_of(quota, share) == part


def test_a_share_uses_its_part_of_the_listed_quota():
    window = Window(60.0, 20, share=3)
    assert window.limit == 6
    send(window, 0.0, 6)
    assert window.wait_s(0.0) > 0


def test_a_share_follows_the_limit_that_headers_name():
    window = Window(60.0, None, share=3)
    assert window.limit is None
    send(window, 0.0, 5)
    observe(window, 1.0, remaining=55, limit=60)
    assert window.limit == 20
    send(window, 1.0, 15)
    assert window.wait_s(1.0) > 0


def test_the_smaller_of_share_and_cap_counts():
    assert Window(60.0, 20, cap=3, share=4).limit == 3
    assert Window(60.0, 20, cap=9, share=4).limit == 5
    assert Window(60.0, None, cap=9, share=4).limit == 9


def test_images_of_the_other_shares_do_not_use_up_this_one():
    window = Window(60.0, 20, share=3)
    send(window, 0.0, 2)
    observe(window, 1.0, remaining=4)  # the others have taken 14
    send(window, 1.0, 4)
    assert window.wait_s(1.0) > 0


def test_a_limit_learnt_from_a_refusal_is_not_divided_again():
    window = Window(60.0, None, share=3)
    send(window, 0.0, 8)
    refuse(window, 0.0, 1.0)
    assert window.source is LimitSource.LEARNED
    assert window.limit == 7


def test_a_trial_of_a_learnt_limit_stays_within_the_share():
    window = Window(60.0, 20, share=3)
    send(window, 0.0, 6)
    refuse(window, 0.0, 1.0)
    assert window.limit == 5
    moment_s = 61.0
    for _ in range(40):
        wait_s = window.wait_s(moment_s)
        moment_s += wait_s
        if wait_s == 0:
            window.sent(moment_s)
            window.accepted(moment_s)
            moment_s += 0.001
        assert window.limit <= 6


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 60), st.integers(1, 8), st.lists(st.floats(0, 5), min_size=1, max_size=60), st.booleans())
def test_shares_that_do_not_see_each_other_fit_into_one_window(quota, share, gaps, listed):
    windows = [Window(60.0, quota if listed else None, share=share) for _ in range(share)]
    sent, now_s = [], 0.0
    for number, gap_s in enumerate(gaps):
        now_s += gap_s
        window = windows[number % share]
        if window.wait_s(now_s) > 0:
            continue
        window.sent(now_s)
        sent.append(now_s)
        window.observed(quota, None, None, now_s, now_s, maybe_uncounted=0, in_flight=0)
        in_span = sum(moment > now_s - 60.0 for moment in sent)
        assert in_span <= max(quota, share)
