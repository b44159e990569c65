"""Places of numbers on a chart, and round ticks."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.gallery.scales import Linear, Logarithmic, ceiling

sizes = st.floats(1e-3, 1e7)


@given(sizes, st.floats(0, 1))
def test_a_place_lies_between_the_ends_in_proportion(high, share):
    scale = Linear(0.0, high, 50.0, 250.0)
    assert scale.at(share * high) == pytest.approx(50 + share * 200, abs=0.06)


def test_a_range_of_nothing_lies_at_the_start():
    scale = Linear(3.0, 3.0, 10.0, 90.0)
    assert scale.at(3.0) == 10.0
    assert [tick.value for tick in scale.ticks(4)] == [tick.value for tick in scale.time_ticks(4)] == [3.0]


@given(sizes, st.integers(2, 9))
def test_ticks_are_few_round_and_evenly_apart(high, most):
    ticks = Linear(0.0, high, 0.0, 100.0).ticks(most)
    values = [tick.value for tick in ticks]
    assert values[0] == 0
    assert len(values) <= most + 1
    assert values[-1] <= high * (1 + 1e-9)
    steps = {round(b - a, 6) for a, b in pairwise(values)}
    assert all(step == pytest.approx(min(steps), rel=1e-3) for step in steps)


@given(sizes, st.integers(2, 9))
def test_the_ceiling_is_a_tick_no_lower_than_the_value(value, most):
    top = ceiling(value, most)
    assert top >= value * (1 - 1e-9)
    assert Linear(0.0, top, 0.0, 1.0).ticks(most)[-1].value == pytest.approx(top)


def test_nothing_still_has_a_ceiling():
    assert ceiling(0.0, 4) == 1.0


@pytest.mark.parametrize(
    ("length_s", "step_s"), [(6.6, 1), (50, 10), (170, 30), (3600, 600), (86_400, 21_600), (9e6, 1_814_400)]
)
def test_times_are_marked_where_a_clock_marks_them(length_s, step_s):
    values = [tick.value for tick in Linear(0.0, length_s, 0.0, 100.0).time_ticks(7 if length_s < 1e4 else 6)]
    assert values[1] - values[0] == pytest.approx(step_s)


@given(st.floats(1e-3, 1e3), st.floats(1.2, 1e4), st.integers(2, 9))
def test_logarithmic_ticks_are_few_and_within_the_range(low, factor, most):
    scale = Logarithmic(low, low * factor, 0.0, 300.0)
    ticks = scale.ticks(most)
    assert len(ticks) <= most
    assert all(low <= tick.value <= low * factor for tick in ticks)
    assert scale.at(low) == 0.0
    assert scale.at(low * factor) == 300.0


def test_each_doubling_is_as_wide_as_the_last():
    scale = Logarithmic(1.0, 8.0, 0.0, 300.0)
    assert [scale.at(value) for value in (1, 2, 4, 8)] == [0, 100, 200, 300]
