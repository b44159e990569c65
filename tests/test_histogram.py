"""Percentiles of durations that are not kept."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.histogram import Histogram
from venice_batch.summary import Percentiles


@given(st.lists(st.floats(1e-4, 1e5), min_size=1, max_size=200))
def test_percentiles_are_those_of_the_nearest_rank_within_three_percent(values):
    counted = Histogram()
    for value in values:
        counted.add(value)
    found = counted.percentiles()
    for share, estimate in ((50, found.p50), (95, found.p95), (99, found.p99)):
        exact = sorted(values)[-(-len(values) * share // 100) - 1]
        assert estimate == pytest.approx(exact, rel=0.03)


def test_without_durations_there_are_no_percentiles():
    assert Histogram().percentiles() == Percentiles(None, None, None)


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-9])
def test_a_duration_of_nothing_counts_as_a_microsecond(value):
    counted = Histogram()
    counted.add(value)
    assert counted.percentiles().p50 == pytest.approx(1e-6, rel=0.06)


def test_a_histogram_does_not_grow_with_what_it_counts():
    counted = Histogram()
    for number in range(20_000):
        counted.add(1 + number / 20_000)
    assert len(counted._buckets) <= math.ceil(math.log(2) / math.log(1.05)) + 1


@given(st.lists(st.floats(1e-4, 1e5), max_size=50))
def test_every_duration_lies_within_its_bucket(values):
    counted = Histogram()
    for value in values:
        counted.add(value)
    buckets = counted.counts()
    assert list(buckets) == sorted(buckets)
    assert sum(buckets.values()) == len(values)
    bounds = [(Histogram.starts_at_s(bucket), Histogram.starts_at_s(bucket + 1)) for bucket in buckets]
    for value in values:
        assert any(low <= value * (1 + 1e-9) and value <= high * (1 + 1e-9) for low, high in bounds)
