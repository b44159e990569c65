"""Runs one after the other on a timeline, with waits and failed requests."""

import msgspec
import pytest
from gallery.made import timeline
from hypothesis import given
from hypothesis import strategies as st
from records import IMAGE, attempt, failed, outcome

from venice_batch.gallery.timeline import Span
from venice_batch.model import Timing


def at(second: float, job_id: str = "a", *, total_s: float = 2.0, run_id: str = "one", **changes):
    minute, rest = divmod(second, 60)
    stamp = f"2026-01-01T00:{int(minute):02}:{rest:06.3f}Z"
    timing = Timing(stamp, 0.0, 0.0, 0.0, 1.0, 0.1, 0.01, total_s)
    return outcome(job_id, run_id=run_id, timing=timing, **changes)


def test_nothing_takes_no_time():
    found = timeline([])
    assert (found.length_s, found.runs, found.arrivals) == (0.0, (), ())


def test_jobs_arrive_in_the_order_in_which_they_ended():
    found = timeline([at(10, "late", total_s=9.0), at(11, "early", total_s=1.0, files=(IMAGE, IMAGE), cost_usd=0.25)])
    assert [(one.at_s, one.images, one.cost_usd) for one in found.arrivals] == [(2.0, 2, 0.25), (9.0, 1, 0.0)]
    assert found.length_s == 9.0


def test_the_time_between_runs_is_left_out():
    found = timeline([at(1800, "b", run_id="second"), at(0, "a", run_id="first"), at(1, "c", run_id="first")])
    assert [(run.run_id, run.span) for run in found.runs] == [("first", Span(0.0, 3.0)), ("second", Span(3.0, 5.0))]
    assert [one.at_s for one in found.arrivals] == [2.0, 3.0, 5.0]
    assert found.ended_unix_s - found.runs[0].began_unix_s == pytest.approx(1802.0)


def test_a_retry_is_marked_where_its_attempt_ended():
    tries = (
        msgspec.structs.replace(attempt(429, 0.5, sent_s=1.0), retry_after_s=3.0),
        msgspec.structs.replace(attempt(500, 1.0, sent_s=5.0), wait_s=2.0),
        attempt(200, 0.5, sent_s=9.5),
    )
    found = timeline([at(0, total_s=10.0, attempts=tries)])
    assert found.retries == (6.0,)
    assert found.refusals == (Span(1.5, 4.5),)


def test_a_retry_without_a_recorded_time_lies_before_its_result():
    tries = (
        msgspec.structs.replace(attempt(429, 0.5, None), retry_after_s=3.0),
        msgspec.structs.replace(attempt(500, 1.0, None), wait_s=2.0),
        attempt(200, 1.5, None),
    )
    found = timeline([at(0, total_s=10.0, attempts=tries)])
    # Backwards from second 10: 1.5 s of success, 2 s of backoff, 1 s of failure, 3 s of gate.
    assert found.retries == (pytest.approx(6.5),)
    assert found.refusals == (Span(pytest.approx(2.5), pytest.approx(5.5)),)


def test_a_refusal_that_names_no_time_is_a_moment():
    found = timeline([at(0, total_s=10.0, attempts=(attempt(429, 0.5, sent_s=2.0), attempt(200, 1.0)))])
    assert found.refusals == (Span(2.5, 2.5),)


def test_the_last_attempt_of_a_job_that_failed_is_no_retry():
    assert timeline([failed(attempts=(attempt(500),))]).retries == ()


@pytest.mark.parametrize("stamp", ["", "yesterday", "2026-13-01T00:00:00Z"])
def test_a_record_whose_time_cannot_be_read_is_left_out(stamp):
    timing = msgspec.structs.replace(outcome().timing, enqueued_at=stamp)
    assert timeline([outcome(timing=timing)]).arrivals == ()


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3000),
            st.floats(0, 500),
            st.sampled_from("abc"),
            st.floats(0, 900),
            st.integers(1, 4),
            st.none() | st.floats(0, 900),
        ),
        max_size=12,
    )
)
def test_everything_lies_on_the_timeline_and_within_its_run(jobs):
    found = timeline(
        at(second, str(number), total_s=total_s, run_id=run_id, attempts=(attempt(500, took_s, sent_s),) * times)
        for number, (second, total_s, run_id, took_s, times, sent_s) in enumerate(jobs)
    )
    assert len(found.arrivals) == len(jobs)
    places = [one.at_s for one in found.arrivals] + list(found.retries)
    assert all(-1e-6 <= place <= found.length_s + 1e-6 for place in places)
    assert found.length_s == pytest.approx(sum(run.span.end_s - run.span.start_s for run in found.runs))
    ends = [0.0] + [run.span.end_s for run in found.runs]
    assert [run.span.start_s for run in found.runs] == pytest.approx(ends[:-1])
