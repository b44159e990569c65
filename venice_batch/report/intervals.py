"""95 % intervals of means and shares."""

from __future__ import annotations

import math
import random
from array import array
from itertools import combinations_with_replacement
from operator import itemgetter
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeGuard

    _Draw = Callable[[Sequence[float]], tuple[float, ...]]

FEW = 100
"""Up to this many values are kept as they are and resampled."""

FEWEST = 6
"""Of up to this many values all resamples are taken: there are at most 462 different ones."""

RESAMPLES = 999
"""Resamples of a bootstrap: with this number, the 2.5th and the 97.5th percentile are two of their means."""

MOST = 1e70
"""No score is larger: with larger numbers, the sums of their powers would have no value."""

_NUMBERS = frozenset((bool, int, float))

_Z = 1.959963984540054
"""How many standard deviations around the mean of a normal distribution hold 95 % of it."""

_TAIL = (RESAMPLES + 1) // 40


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value can be averaged: a number that is not too large, or a boolean (true is 1)."""
    return type(value) in _NUMBERS and -MOST <= value <= MOST  # type: ignore[operator]


class Estimate(msgspec.Struct, frozen=True, gc=False):
    """The mean of `n` values, and the interval from `low` to `high` that holds the true mean with 95 % confidence.

    `method` says how the interval was found: `bootstrap` (from resamples), `moments` (from the values' spread and
    skewness, which gives what a bootstrap of more than 100 values does) or `wilson` (values that are all 0 or 1). The
    interval is null for a single value that is no share; then there is no method.
    """

    n: int
    mean: float
    low: float | None
    high: float | None
    method: str | None


def wilson(successes: int, trials: int) -> Estimate | None:
    """Return a share with its Wilson score interval, which also holds near 0 and 1 and for few trials.

    None without trials.
    """
    if not trials:
        return None
    share = successes / trials
    square = _Z * _Z / trials
    middle = (share + square / 2) / (1 + square)
    half = _Z * math.sqrt(share * (1 - share) / trials + square / (4 * trials)) / (1 + square)
    # At the ends the formula gives 0 and 1 but for the last digit.
    low = 0.0 if not successes else middle - half
    high = 1.0 if successes == trials else middle + half
    return Estimate(trials, rounded(share), rounded(low), rounded(high), "wilson")


class Sample:
    """Numbers, for their mean and its interval.

    Up to `FEW` of them are kept, more are added up: memory does not grow with their number.
    """

    __slots__ = ("_few", "_from", "_largest", "_least", "_ones", "_powers", "_zeros", "n")

    def __init__(self) -> None:
        self.n = 0
        self._few: array[float] | None = array("d")
        self._zeros = self._ones = 0

    def add(self, value: float, cluster: int = 0) -> None:
        """Take a number into account that passes `is_number`; here all of them are independent."""
        value = float(value)
        self.n += 1
        self._zeros += value == 0
        self._ones += value == 1
        if self._few is None:
            self._add_powers(value)
        else:
            self._few.append(value)
            if self.n > FEW:
                self._add_up(self._few)

    def _add_up(self, values: array[float]) -> None:
        """Keep sums instead of the values from now on."""
        self._from = math.fsum(values) / len(values)
        self._powers = [0.0, 0.0, 0.0, 0.0]
        self._least, self._largest = min(values), max(values)
        for value in values:
            self._add_powers(value)
        self._few = None

    def _add_powers(self, value: float) -> None:
        # Powers of the distance to an early mean: the distances are as large as the spread, so that the sums lose no
        # digits where values are large and close together.
        if value < self._least:
            self._least = value
        elif value > self._largest:
            self._largest = value
        distance = value - self._from
        square = distance * distance
        powers = self._powers
        powers[0] += distance
        powers[1] += square
        powers[2] += square * distance
        powers[3] += square * square

    @property
    def is_share(self) -> bool:
        """Whether all numbers are 0 or 1."""
        return self._zeros + self._ones == self.n

    @property
    def mean(self) -> float | None:
        """The mean; None without a number."""
        if not self.n:
            return None
        return self._from + self._powers[0] / self.n if self._few is None else math.fsum(self._few) / self.n

    def estimate(self, resamples: Resamples, *, as_share: bool) -> Estimate | None:
        """Return the mean with its interval, None without a number; `as_share` if all values of the name are 0 or 1."""
        mean = self.mean
        if mean is None:
            return None
        if as_share:
            return wilson(self._ones, self.n)
        if self.n == 1:
            return Estimate(1, rounded(mean), None, None, None)
        if self._few is not None:
            low, high = resamples.interval(self._few)
            return Estimate(self.n, rounded(mean), rounded(low), rounded(high), "bootstrap")
        low, high = _from_moments(mean, self.n, self._powers)
        low, high = max(self._least, low), min(self._largest, high)
        return Estimate(self.n, rounded(mean), rounded(low), rounded(high), "moments")


class ClusteredSample:
    """Numbers that belong together in clusters, as the scores of a prompt's images do.

    Images of one prompt are alike, so that they say less about the mean than as many images of different prompts. The
    bootstrap therefore draws whole clusters. All clusters' sums are kept, about 200 bytes each.
    """

    __slots__ = ("_clusters", "n")

    def __init__(self) -> None:
        self.n = 0
        self._clusters: dict[int, list[float]] = {}

    is_share = False
    """Whether the interval may be that of a share: not if the numbers depend on each other."""

    def add(self, value: float, cluster: int = 0) -> None:
        """Take a number into account that passes `is_number`."""
        self.n += 1
        found = self._clusters.setdefault(cluster, [0.0, 0.0])
        found[0] += value
        found[1] += 1

    @property
    def mean(self) -> float | None:
        """The mean; None without a number."""
        return math.fsum(total for total, _ in self._clusters.values()) / self.n if self.n else None

    def estimate(self, resamples: Resamples, *, as_share: bool = False) -> Estimate | None:
        """Return the mean with its interval, None without a number; of a single cluster there is no interval."""
        mean = self.mean
        if mean is None:
            return None
        clusters = len(self._clusters)
        if clusters == 1:
            return Estimate(self.n, rounded(mean), None, None, None)
        if clusters <= FEW:
            low, high = resamples.clustered(self._clusters.values())
            return Estimate(self.n, rounded(mean), rounded(low), rounded(high), "bootstrap")
        # A mean of clusters of different sizes is a ratio. Near the mean it changes with each cluster by this much.
        parts = [(total - mean * count) * clusters / self.n for total, count in self._clusters.values()]
        powers = [math.fsum(part**power for part in parts) for power in (1, 2, 3, 4)]
        low, high = _from_moments(mean, clusters, powers)
        return Estimate(self.n, rounded(mean), rounded(low), rounded(high), "moments")


def _from_moments(mean: float, n: int, powers: Sequence[float]) -> tuple[float, float]:
    """Return the percentiles of a bootstrap's means by the Cornish-Fisher expansion, without drawing any.

    Source: P. Hall, "The Bootstrap and Edgeworth Expansion", 1992: beyond a few values the error is smaller than that
    of drawing 999 resamples. `powers` are the sums of the first four powers of `n` values.
    """
    first, second, third, fourth = (power / n for power in powers)
    variance = second - first * first
    if variance <= 0:
        return mean, mean
    sigma = math.sqrt(variance)
    skewness = (third - 3 * first * second + 2 * first**3) / sigma**3 / math.sqrt(n)
    excess = ((fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4) / variance**2 - 3) / n
    error = sigma / math.sqrt(n)
    low, high = sorted(mean + error * _cornish_fisher(z, skewness, excess) for z in (-_Z, _Z))
    return low, high


def _cornish_fisher(z: float, skewness: float, excess: float) -> float:
    """Return the quantile of a distribution whose normal quantile is `z`, from its skewness and its excess kurtosis."""
    return z + (z * z - 1) * skewness / 6 + (z**3 - 3 * z) * excess / 24 - (2 * z**3 - 5 * z) * skewness * skewness / 36


class Resamples:
    """Percentile bootstraps of means with a seed: equal values have equal intervals, in whatever order they came.

    Of up to `FEWEST` values all possible resamples are taken, each with its probability. Otherwise samples of the same
    size share their draws, which are made once for sizes that follow each other.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._size = 0
        self._draws: list[_Draw] = []
        self._weights: list[int] = []

    def interval(self, values: Iterable[float]) -> tuple[float, float]:
        """Return the interval of the mean of two or more values."""
        ordered = tuple(sorted(values))
        n = len(ordered)
        low, high = self._ends([sum(draw(ordered)) for draw in self._draws_of(n)])
        return low / n, high / n

    def clustered(self, clusters: Iterable[Sequence[float]]) -> tuple[float, float]:
        """Return the interval of the mean of two or more clusters, each as the sum and the number of its values."""
        totals, counts = zip(*sorted(map(tuple, clusters)), strict=True)
        return self._ends([sum(draw(totals)) / sum(draw(counts)) for draw in self._draws_of(len(totals))])

    def _draws_of(self, n: int) -> list[_Draw]:
        if n == self._size:
            return self._draws
        places = range(n)
        if n <= FEWEST:
            drawn = list(combinations_with_replacement(places, n))
            self._weights = [_orders(one) for one in drawn]
        else:
            chance = random.Random(f"{self._seed} {n}")
            drawn = [tuple(chance.choices(places, k=n)) for _ in range(RESAMPLES)]
            self._weights = []
        self._draws = [itemgetter(*one) for one in drawn]
        self._size = n
        return self._draws

    def _ends(self, means: list[float]) -> tuple[float, float]:
        """Return the smallest and the largest value beyond which less than 2.5 % lie on either side."""
        if not self._weights:
            means.sort()
            return means[_TAIL - 1], means[-_TAIL]
        weighted = sorted(zip(means, self._weights, strict=True))
        tail = sum(self._weights) / 40
        return _first(weighted, tail), _first(reversed(weighted), tail)


def _orders(drawn: Sequence[int]) -> int:
    """Return in how many orders these places can be drawn."""
    return math.factorial(len(drawn)) // math.prod(math.factorial(drawn.count(place)) for place in set(drawn))


def _first(weighted: Iterable[tuple[float, int]], tail: float) -> float:
    """Return the first value at which the weights so far reach `tail`."""
    reached = 0
    return next(value for value, weight in weighted if (reached := reached + weight) >= tail)


def rounded(value: float) -> float:
    """Return fifteen digits of a value, without those that only show how floats add up."""
    return float(f"{value:.15g}")
