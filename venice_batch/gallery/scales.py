"""Numbers as positions on a chart."""

from __future__ import annotations

import math
from dataclasses import dataclass

_TIME_STEPS_S = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800),
)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: its place and its value."""

    at: float
    value: float


@dataclass(frozen=True, slots=True)
class Label:
    """A text at a place along an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Linear:
    """Map `low`..`high` evenly to `start`..`end`; if `low` equals `high`, every value lies at `start`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the place of `value`, to a tenth of a pixel."""
        if self.high == self.low:
            return self.start
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self, most: int) -> list[Tick]:
        """Return at most `most` + 1 round values from `low` on, 1, 2 or 5 times a power of ten apart."""
        return [Tick(self.at(value), value) for value in _multiples(self.low, self.high, _round_step(self, most))]

    def time_ticks(self, most: int) -> list[Tick]:
        """Return ticks at steps of a clock: every 15 s, 5 min, 6 h."""
        needed = (self.high - self.low) / most
        step = next((step for step in _TIME_STEPS_S if step >= needed), math.ceil(needed / 604_800) * 604_800)
        return [Tick(self.at(value), value) for value in _multiples(self.low, self.high, step)]


@dataclass(frozen=True, slots=True)
class Logarithmic:
    """Map `low`..`high`, both above 0, to `start`..`end` so that every doubling is equally wide."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the place of `value`, to a tenth of a pixel."""
        line = Linear(math.log(self.low), math.log(self.high), self.start, self.end)
        return line.at(math.log(value))

    def ticks(self, most: int) -> list[Tick]:
        """Return 1, 2 and 5 times the powers of ten, or fewer of them so that there are at most `most`."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in ((1, 2, 5), (1,)):
            values = [factor * 10.0**decade for decade in decades for factor in factors]
            found = [Tick(self.at(value), value) for value in values if self.low <= value <= self.high]
            if len(found) <= most:
                return found
        return found[:: math.ceil(len(found) / most)]


def ceiling(value: float, most: int) -> float:
    """Return the smallest multiple of a round step that is at least `value`, so that the top tick is at the top."""
    if value <= 0:
        return 1.0
    step = _round_step(Linear(0, value, 0, 1), most)
    return math.ceil(round(value / step, 9)) * step


def _round_step(scale: Linear, most: int) -> float:
    needed = (scale.high - scale.low) / most
    if needed <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(needed))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= needed * (1 - 1e-9))


def _multiples(low: float, high: float, step: float) -> list[float]:
    first = math.ceil(round(low / step, 9))
    last = math.floor(round(high / step, 9))
    return [round(number * step, 9) for number in range(first, last + 1)]
