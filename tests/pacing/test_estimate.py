"""How long requests take under limits."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.pacing.estimate import Load, lane_s, run_s, windows_needed


def load(requests, **changes):
    return Load(**{"requests": requests, "latency_s": 10.0, **changes})


@pytest.mark.parametrize(
    ("given_load", "expected_s"),
    [
        (load(0), 0.0),
        (load(0, under_way=3), 10.0),
        (load(1), 10.0),
        (load(1000), 10.0),
        (load(8, at_a_time=4), 20.0),
        (load(9, at_a_time=4), 30.0),
        (load(7, under_way=2, at_a_time=4), 30.0),
        (load(4, opens_in_s=5.0), 15.0),
        # the present window takes them all
        (load(20, quota=20, left=20), 10.0),
        # two more windows, the first of which opens in 15 s
        (load(45, quota=20, left=5, renews_in_s=15.0), 15.0 + 60.0 + 10.0),
        # when the window renews is not known
        (load(25, quota=20, left=5), 60.0 + 10.0),
        # the gate opens after the window does
        (load(21, quota=20, left=1, renews_in_s=15.0, opens_in_s=40.0), 40.0 + 10.0),
        # what is left over goes out four at a time
        (load(27, quota=20, left=0, renews_in_s=6.0, at_a_time=4, latency_s=1.0), 6.0 + 60.0 + 2.0),
        # so slow that windows do not matter
        (load(40, quota=20, left=20, at_a_time=1, latency_s=10.0), 400.0),
        # a compressed minute
        (load(40, quota=20, left=20, window_s=6.0, latency_s=1.0), 7.0),
        # a window in debt, since others use the quota too
        (load(20, quota=20, left=-3, renews_in_s=30.0), 40.0),
    ],
)
def test_windows_gates_and_requests_under_way_all_take_time(given_load, expected_s):
    assert lane_s(given_load) == pytest.approx(expected_s)


@pytest.mark.parametrize(
    ("sizes", "left", "expected"),
    [
        (((1, 20),), 20, (0, 20)),
        (((1, 21),), 20, (1, 1)),
        (((4, 15),), 20, (2, 5)),
        (((4, 15),), 3, (3, 5)),
        (((4, 15),), -8, (3, 5)),
        (((3, 1), (4, 5)), 20, (1, 1)),
        (((4, 4), (3, 2), (1, 1)), 20, (1, 2)),
        (((50, 2),), 20, (1, 1)),
        ((), 20, (0, 0)),
    ],
)
def test_requests_are_packed_into_windows_in_their_order(sizes, left, expected):
    windows, last = windows_needed(sizes, 20, left)
    assert (windows, last) == expected


def test_requests_for_several_images_take_more_windows():
    assert lane_s(load(15, sizes=((4, 15),), quota=20, left=20)) == 130.0
    assert lane_s(load(5, sizes=((4, 5),), quota=20, left=20)) == 10.0
    assert lane_s(load(1, sizes=((50, 1),), quota=20, left=20)) == 10.0


def test_the_longest_lane_decides():
    assert run_s([load(4), load(30, quota=20, left=20)], at_a_time=100) == 70.0


def test_lanes_share_what_may_be_under_way():
    assert run_s([load(20), load(20)], at_a_time=4) == 100.0


def test_nothing_to_do_takes_no_time():
    assert run_s([], at_a_time=4) == 0.0
    assert run_s([load(0)], at_a_time=4) == 0.0


LOADS = st.builds(
    Load,
    requests=st.integers(0, 10**6),
    latency_s=st.floats(0.01, 300),
    under_way=st.integers(0, 100),
    at_a_time=st.integers(1, 1000),
    quota=st.none() | st.integers(1, 1000),
    window_s=st.floats(0.1, 100),
    left=st.integers(-5, 1000) | st.just(math.inf),
    renews_in_s=st.floats(0, 100) | st.just(math.inf),
    opens_in_s=st.floats(0, 100),
)


@given(LOADS, st.integers(1, 1000))
def test_an_estimate_is_finite_and_no_shorter_than_one_answer(given_load, at_a_time):
    found = run_s([given_load], at_a_time)
    assert math.isfinite(found)
    assert found >= (given_load.latency_s if given_load.requests or given_load.under_way else 0.0)


@given(LOADS)
def test_one_request_more_never_takes_less_time(given_load):
    from dataclasses import replace

    more = replace(given_load, requests=given_load.requests + 1)
    assert lane_s(more) >= lane_s(given_load)
