"""How far a run has come."""

import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import IMAGE, attempt, failed, job, outcome

from venice_batch.api.answers import Verdict
from venice_batch.events import AttemptEnded, JobEnded, Notice, RunStarted, RunState, Sending, Stopping
from venice_batch.model import Status
from venice_batch.pacing.lane import LaneState
from venice_batch.report.progress import RATE_S, LaneMode, ProgressMeter, Rate

SD, FLUX = "venice-sd35", "flux"
STARTED = RunStarted("r", "out", 100, 10, (SD, FLUX), pending={SD: 60, FLUX: 20}, expected_usd=0.8)


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


def lane(name=SD, **changes):
    return LaneState(
        **{
            "name": name, "in_flight": 0, "limit": 16, "window_limit": 20, "window_left": 20.0, "opens_in_s": 0.0,
            "refused": 0, **changes,
        }
    )  # fmt: skip


def state(*lanes, concurrency=16, held_s=0.0, spent_usd=0.1):
    return Sending(lambda: RunState(lanes, concurrency, held_s, spent_usd))


def meter(*events, clock=None):
    counting = ProgressMeter(clock or Clock())
    for event in events:
        counting(event)
    return counting


def seen(*events):
    return meter(*events).progress()


def lanes(*events):
    return {one.name: one for one in seen(*events).lanes}


def tried(verdict=Verdict.SUCCEEDED, status=200, duration_s=1.0, model=SD, **more):
    return AttemptEnded(job(model=model), attempt(status, duration_s), verdict, lane(model), **more)


def test_before_anything_happens_there_is_nothing():
    found = seen()
    assert (found.jobs, found.left, found.lanes, found.eta_s) == (0, 0, (), None)


def test_a_run_begins_with_what_is_left_of_each_lane():
    found = seen(STARTED)
    assert (found.jobs, found.done, found.rejected_before, found.left) == (100, 10, 10, 80)
    assert [(one.name, one.jobs, one.left, one.mode) for one in found.lanes] == [
        (SD, 60, 60, LaneMode.WAITING),
        (FLUX, 20, 20, LaneMode.WAITING),
    ]
    assert (found.expected_usd, found.spent_usd, found.eta_s) == (0.8, None, None)


def test_jobs_are_counted_by_how_they_ended():
    found = seen(
        STARTED,
        JobEnded(outcome("a", files=(IMAGE, IMAGE), attempts=(attempt(503), attempt(500), attempt()))),
        JobEnded(failed("b")),
        JobEnded(failed("c", status=Status.REJECTED, lane=FLUX)),
        Notice("x"),
    )
    assert (found.done, found.failed, found.rejected, found.left) == (11, 1, 1, 77)
    assert (found.images, found.bytes, found.retries) == (2, 10, 2)
    assert [(one.done, one.failed, one.rejected, one.left) for one in found.lanes] == [(1, 1, 0, 58), (0, 0, 1, 19)]


def test_what_may_have_been_charged_without_an_image_is_added_up():
    lost = tried(Verdict.TRANSIENT, None, possibly_billed=True, spent_usd=0.1)
    unpriced = tried(Verdict.TRANSIENT, None, possibly_billed=True)
    assert seen(STARTED, lost, lost, tried(spent_usd=0.1), unpriced).possibly_billed_usd == 0.2


def test_requests_at_a_price_that_is_not_known_are_counted_and_a_sandbox_is_recognised():
    found = seen(STARTED, tried(), tried(Verdict.REJECTED, 400), tried(spent_usd=0.1), JobEnded(outcome(sandbox=True)))
    assert (found.unpriced, found.sandbox) == (1, True)
    assert (seen(STARTED).unpriced, seen(STARTED, JobEnded(outcome())).sandbox) == (0, False)


def test_the_time_left_counts_the_images_that_a_job_takes_of_its_window():
    started = RunStarted("r", "out", 16, 0, (SD,), pending={SD: 16})
    now = state(lane(window_limit=20, window_left=16.0, window_s=60.0, renews_in_s=60.0))
    four = JobEnded(outcome("a", files=(IMAGE,) * 4))
    # 15 jobs are left, four of them in this window, five in each later one
    several = seen(started, now, tried(), four).eta_s
    assert several == pytest.approx(seen(started, now, tried(), JobEnded(outcome("a"))).eta_s + 3 * 60.0, abs=5.0)


def test_while_a_lane_stays_closed_until_an_answer_comes_the_time_left_is_unknown():
    closed = state(lane(opens_in_s=math.inf), lane(FLUX))
    assert seen(STARTED, closed).eta_s is None


def test_requests_under_way_and_money_spent_are_read_from_the_run_each_time():
    under_way = 0

    def look():
        return RunState((lane(in_flight=under_way),), 16, 0.0, under_way / 100)

    counting = meter(STARTED, Sending(look))
    for under_way in (1, 7):
        found = counting.progress()
        assert (found.in_flight, found.spent_usd) == (under_way, under_way / 100)


@pytest.mark.parametrize(
    ("now", "held_s", "expected"),
    [
        (lane(), 0.0, (LaneMode.OPEN, math.inf)),
        (lane(opens_in_s=31.0, window_left=0.0), 0.0, (LaneMode.WINDOW, 31.0)),
        (lane(opens_in_s=31.0, gate_s=31.0), 0.0, (LaneMode.GATE, 31.0)),
        (lane(opens_in_s=31.0, gate_s=2.0), 0.0, (LaneMode.WINDOW, 31.0)),
        (lane(), 12.0, (LaneMode.HELD, 12.0)),
        (lane(opens_in_s=31.0), 12.0, (LaneMode.WINDOW, 31.0)),
        (lane(), math.inf, (LaneMode.OPEN, math.inf)),
        (lane(held_s=9.0), 0.0, (LaneMode.HELD, 9.0)),
        (lane(held_s=9.0), 12.0, (LaneMode.HELD, 12.0)),
        (lane(held_s=math.inf), 0.0, (LaneMode.OPEN, math.inf)),
    ],
)
def test_a_lane_shows_its_reason_for_waiting_and_how_long(now, held_s, expected):
    found = lanes(STARTED, state(now, held_s=held_s))[SD]
    assert (found.mode, found.until_s) == expected


def test_a_lane_with_nothing_left_is_done_whatever_its_gate_does():
    started = RunStarted("r", "out", 1, 0, (SD,), pending={SD: 1})
    assert lanes(started, state(lane(opens_in_s=30.0)), JobEnded(outcome()))[SD].mode is LaneMode.DONE


def test_the_quota_left_is_whole_and_never_negative():
    assert lanes(STARTED, state(lane(window_left=7.9)))[SD].quota_left == 7
    assert lanes(STARTED, state(lane(window_left=-2.0)))[SD].quota_left == 0
    assert lanes(STARTED, state(lane(window_limit=None, window_left=math.inf)))[SD].quota_left is None


def test_the_quota_counts_the_lanes_that_make_the_rate():
    clock = Clock()
    counting = meter(STARTED, state(lane(), lane(FLUX, window_limit=5, window_s=6.0)), clock=clock)
    for number in range(20):
        counting(JobEnded(outcome(str(number), lane=FLUX)))
    clock.now_s += 59
    assert counting.progress().quota_a_minute == 20 + 50
    clock.now_s += 2
    assert counting.progress().quota_a_minute == 20


def test_a_quota_is_not_known_unless_all_are():
    assert seen(STARTED, state(lane())).quota_a_minute is None
    assert seen(STARTED, state(lane(), lane(FLUX, window_limit=None))).quota_a_minute is None


def test_the_rate_is_measured_over_the_window_and_not_its_first_moment():
    clock = Clock()
    counting = meter(STARTED, state(lane(), lane(FLUX)), clock=clock)
    for number in range(20):
        counting(JobEnded(outcome(str(number))))
    clock.now_s += 5
    assert counting.progress().images_a_minute == 20
    clock.now_s += 60
    assert counting.progress().images_a_minute == 0


def test_rate_and_quota_both_count_images():
    clock = Clock()
    counting = meter(STARTED, state(lane(window_s=6.0), lane(FLUX, window_s=6.0)), clock=clock)
    for moment_s in (1.0, 6.5):  # each window's 20 images are used at once, by jobs of four
        clock.now_s = Clock.now_s + moment_s
        for number in range(5):
            counting(JobEnded(outcome(str(number), files=(IMAGE,) * 4)))
            counting(JobEnded(outcome(str(number), files=(IMAGE,) * 4, lane=FLUX)))
        found = counting.progress()
        assert (found.images_a_minute, found.quota_a_minute) == (400, 400)


def test_without_a_window_the_rate_is_measured_over_the_elapsed_time():
    clock = Clock()
    counting = meter(STARTED, state(lane(window_limit=None, window_left=math.inf)), clock=clock)
    clock.now_s += 5
    for number in range(20):
        counting(JobEnded(outcome(str(number))))
    assert counting.progress().images_a_minute == 240


def test_time_is_counted_from_the_first_request_on():
    clock = Clock()
    counting = meter(STARTED, clock=clock)
    clock.now_s += 7
    counting(state(lane()))
    clock.now_s += 3
    assert counting.progress().elapsed_s == 3


def eta_s(*events, pending=60, now=None, **how):
    started = RunStarted("r", "out", pending, 0, (SD,), pending={SD: pending})
    return seen(started, state(now or lane(), **how), *events).eta_s


def test_the_time_left_follows_from_windows_and_the_latency_seen():
    assert eta_s() == 2 * 60 + 10 * 2  # nothing timed yet: ten seconds each; a window's 20 take two rounds of 16
    assert eta_s(tried(duration_s=1.0)) == 2 * 60 + 2
    closed = lane(window_left=0.0, opens_in_s=15.0, renews_in_s=15.0)
    assert eta_s(tried(duration_s=1.0), now=closed) == 15 + 2 * 60 + 2


def test_latency_is_a_mean_that_forgets():
    slow_then_quick = [tried(duration_s=30.0), *[tried(duration_s=1.0)] * 100]
    assert eta_s(*slow_then_quick, pending=1) == pytest.approx(1.0, rel=0.01)


def test_a_lane_without_answers_is_taken_to_be_as_quick_as_the_others():
    quick = lane(FLUX, window_limit=None, window_left=math.inf)
    started = RunStarted("r", "out", 2, 0, (SD, FLUX), pending={SD: 1, FLUX: 1})
    assert seen(started, state(lane(), quick), tried(duration_s=2.0, model=SD)).eta_s == 2.0


def test_a_lane_not_yet_used_counts_in_the_time_left():
    started = RunStarted("r", "out", 2, 0, (SD, FLUX), pending={SD: 0, FLUX: 40})
    assert seen(started, state(lane(), concurrency=4), tried(duration_s=2.0)).eta_s == 40 * 2 / 4


def test_failures_that_are_tried_again_take_their_time():
    halves = [tried(Verdict.TRANSIENT, 500), tried()] * 5 + [JobEnded(outcome(str(n))) for n in range(5)]
    without = lane(window_limit=None, window_left=math.inf, limit=1)
    assert eta_s(*halves, pending=15, now=without, concurrency=1) == 10 * 2


def test_a_request_that_the_server_asks_to_wait_is_no_failure():
    deferrals = [tried(Verdict.LIMITED, 429), tried()] * 5 + [JobEnded(outcome(str(n))) for n in range(5)]
    without = lane(window_limit=None, window_left=math.inf, limit=1)
    assert eta_s(*deferrals, pending=15, now=without, concurrency=1) == 10


def test_a_gate_and_the_apis_block_put_the_end_off():
    assert eta_s(tried(), pending=1, now=lane(opens_in_s=9.0, gate_s=9.0)) == 10
    assert eta_s(tried(), pending=1, held_s=20.0) == 21
    assert eta_s(tried(), pending=1, now=lane(held_s=20.0)) == 21
    assert eta_s(tried(), pending=1, held_s=math.inf) == 1


def test_a_run_that_stops_gives_the_reason_and_no_time_left():
    found = seen(STARTED, state(lane()), Stopping("stopped by SIGINT", 3))
    assert (found.stopping, found.eta_s) == ("stopped by SIGINT", None)


def test_a_lane_that_was_not_announced_is_counted_all_the_same():
    assert lanes(JobEnded(outcome(lane="other")))["other"].done == 1


def test_memory_does_not_grow_with_the_jobs():
    counting, ended = meter(STARTED), [JobEnded(outcome(str(number))) for number in range(100)]

    def count(times):
        for _ in range(times):
            for event in ended:
                counting(event)

    tracemalloc.start()
    try:
        count(10)
        before = tracemalloc.get_traced_memory()[0]
        count(100)
        assert tracemalloc.get_traced_memory()[0] - before < 2000
    finally:
        tracemalloc.stop()


def test_the_last_minute_counts():
    rate = Rate()
    rate.add(20, 1000.0)
    rate.add(10, 1030.0)
    assert rate.a_minute(1059.0, over_s=600) == 30
    assert rate.a_minute(1061.0, over_s=600) == 10
    assert rate.a_minute(2000.0, over_s=600) == 0


def test_the_rate_of_a_short_time_is_scaled_to_a_minute():
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
