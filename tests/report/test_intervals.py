"""Intervals: shares as published, means as a plain bootstrap finds them."""

import itertools
import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.report.intervals import (
    FEW,
    FEWEST,
    MOST,
    RESAMPLES,
    ClusteredSample,
    Estimate,
    Resamples,
    Sample,
    is_number,
    wilson,
)

NUMBERS = st.floats(-1e6, 1e6)


def sample(values):
    found = Sample()
    for value in values:
        found.add(value)
    return found


def estimate(values, seed=0):
    return sample(values).estimate(Resamples(seed), as_share=False)


def plain_bootstrap(values, resamples, seed):
    """The 2.5th and the 97.5th percentile of the means of resamples, as textbooks have it."""
    chance = random.Random(seed)
    means = sorted(statistics.fmean(chance.choices(values, k=len(values))) for _ in range(resamples))
    return means[round(0.025 * resamples)], means[round(0.975 * resamples)]


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # R. G. Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_of_a_share_is_as_published(successes, trials, low, high):
    found = wilson(successes, trials)
    assert (found.n, found.method) == (trials, "wilson")
    assert found.mean == pytest.approx(successes / trials)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    other = wilson(trials - successes, trials)
    assert (other.low, other.high) == (pytest.approx(1 - found.high), pytest.approx(1 - found.low))


def test_the_interval_of_all_or_nothing_ends_there_exactly():
    assert (wilson(7, 7).high, wilson(0, 7).low) == (1.0, 0.0)
    assert wilson(0, 0) is None


@pytest.mark.parametrize("n", [3, 5, FEWEST, FEWEST + 1, 30, FEW])
def test_a_few_values_are_resampled(n):
    chance = random.Random(n)
    values = [chance.expovariate(1) for _ in range(n)]
    found = estimate(values)
    low, high = plain_bootstrap(values, 20_000, seed=1)
    error = statistics.pstdev(values) / math.sqrt(n)
    assert found.method == "bootstrap"
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert abs(found.low - low) < 0.25 * error
    assert abs(found.high - high) < 0.25 * error


@pytest.mark.parametrize("n", [FEW + 1, 1000])
@pytest.mark.parametrize(
    "draw",
    [random.Random.random, lambda chance: chance.expovariate(1), lambda chance: chance.lognormvariate(0, 1),
     lambda chance: 1e9 + chance.random(), lambda chance: chance.random() < 0.1],
    ids=["uniform", "skewed", "more skewed", "far from zero", "rare"],
)  # fmt: skip
def test_of_many_values_the_moments_give_what_a_bootstrap_does(draw, n):
    chance = random.Random(n)
    values = [float(draw(chance)) for _ in range(n)]
    found = estimate(values)
    low, high = plain_bootstrap(values, 4_000, seed=1)
    error = statistics.pstdev(values) / math.sqrt(n)
    assert found.method == "moments"
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert abs(found.low - low) < 0.25 * error
    assert abs(found.high - high) < 0.25 * error


@given(st.lists(NUMBERS, min_size=2, max_size=30), st.randoms(use_true_random=False))
def test_an_interval_holds_its_mean_and_does_not_depend_on_the_order(values, chance):
    found = estimate(values)
    slack = 1e-9 * max(map(abs, values)) + 1e-300
    assert min(values) - slack <= found.low <= found.mean + slack
    assert found.mean - slack <= found.high <= max(values) + slack
    chance.shuffle(values)
    again = estimate(values)
    assert (again.low, again.high) == (found.low, found.high)


@given(st.lists(NUMBERS, min_size=1, max_size=5))
def test_the_mean_of_many_values_loses_no_digits(few):
    values = few * FEW * 2
    found = sample(values)
    assert found.mean == pytest.approx(math.fsum(values) / len(values), rel=1e-9, abs=1e-9)


def test_of_the_fewest_values_all_resamples_are_taken():
    values = [1.0, 2.0, 4.0]
    means = sorted(sum(drawn) / 3 for drawn in itertools.product(values, repeat=3))
    found = estimate(values)
    assert (found.low, found.high) == (means[math.ceil(27 / 40) - 1], means[-math.ceil(27 / 40)])
    assert estimate(values, seed=9) == found


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = [0.1, 0.4, 0.2, 0.9, 0.7, 0.3, 0.6, 0.8]
    one = estimate(values, seed=3)
    assert one == estimate(values, seed=3)
    assert (one.low, one.high) != (estimate(values, seed=4).low, estimate(values, seed=4).high)


def test_samples_of_one_size_in_any_order_have_the_same_intervals():
    few, more = [float(n * n) for n in range(9)], [float(n * n) for n in range(12)]
    resamples = Resamples()
    assert [resamples.interval(values) for values in (few, more, few)] == [
        Resamples().interval(values) for values in (few, more, few)
    ]
    assert RESAMPLES % 40 == 39  # the percentiles are two of the means


def test_a_single_value_has_no_interval_and_none_no_mean():
    assert estimate([0.25]) == Estimate(1, 0.25, None, None, None)
    assert estimate([]) is None
    assert Sample().mean is None


@pytest.mark.parametrize("n", [3, FEW + 5])
def test_equal_values_have_an_interval_of_no_width(n):
    found = estimate([0.1] * n)
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.1))


def test_values_that_are_all_zero_or_one_are_a_share():
    found = sample([True, 0, 1.0, False])
    assert found.is_share
    assert found.estimate(Resamples(), as_share=True) == wilson(2, 4)
    found.add(0.5)
    assert not found.is_share


def test_an_interval_from_moments_stays_within_the_values():
    values = [0.0] * (2 * FEW) + [1e6]
    found = estimate(values)
    assert found.low == 0.0
    assert found.high <= 1e6


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e71, 10**400, -(10**400), "0.5", None, [1]])
def test_a_value_that_cannot_be_averaged_is_recognised(value):
    assert not is_number(value)


@pytest.mark.parametrize("value", [True, 0, -3, 0.5, MOST, -MOST])
def test_numbers_and_booleans_can_be_averaged(value):
    assert is_number(value)
    found = estimate([value] * (FEW + 1))
    assert math.isfinite(found.mean)
    assert math.isfinite(found.high)


def clustered(clusters, seed=0):
    found = ClusteredSample()
    for number, values in enumerate(clusters):
        for value in values:
            found.add(value, number)
    return found.estimate(Resamples(seed))


def plain_cluster_bootstrap(clusters, resamples, seed):
    chance = random.Random(seed)
    means = []
    for _ in range(resamples):
        drawn = [value for cluster in chance.choices(clusters, k=len(clusters)) for value in cluster]
        means.append(statistics.fmean(drawn))
    means.sort()
    return means[round(0.025 * resamples)], means[round(0.975 * resamples)]


@pytest.mark.parametrize(
    ("count", "method"), [(4, "bootstrap"), (12, "bootstrap"), (FEW, "bootstrap"), (FEW + 50, "moments")]
)
def test_clusters_of_different_sizes_are_drawn_as_a_whole(count, method):
    chance = random.Random(count)
    clusters = []
    for _ in range(count):
        centre = chance.expovariate(1)
        clusters.append([centre + chance.gauss(0, 0.2) for _ in range(chance.randint(1, 5))])
    found = clustered(clusters)
    low, high = plain_cluster_bootstrap(clusters, 4_000, seed=1)
    width = high - low
    values = [value for cluster in clusters for value in cluster]
    assert (found.n, found.method) == (len(values), method)
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert abs(found.low - low) < 0.1 * width
    assert abs(found.high - high) < 0.1 * width
    alone = estimate(values)
    if count > FEWEST:  # images that are alike say less than they seem to
        assert alone.high - alone.low < 0.8 * width


def test_clusters_of_one_value_each_have_the_interval_of_the_values():
    values = [0.1, 0.4, 0.2, 0.9, 0.7]
    one, other = clustered([[value] for value in values]), estimate(values)
    assert (one.mean, one.low, one.high) == (other.mean, pytest.approx(other.low), pytest.approx(other.high))


def test_a_single_cluster_has_no_interval_and_none_no_mean():
    assert clustered([[1, 2, 3]]) == Estimate(3, 2.0, None, None, None)
    assert clustered([]) is None
    assert not ClusteredSample().is_share
