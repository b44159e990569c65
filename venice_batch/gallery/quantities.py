"""Durations, sums and counts as people read them."""

from __future__ import annotations

_LONGEST_S = 1e11
"""Longer than any run; a record that says more was not written by one."""


def duration(seconds: float | None) -> str:
    """`seconds` with two or three digits and its unit: 8 ms, 0.39 s, 12 s, 3 min 20 s, 2 h 05 min; – for None."""
    if seconds is None:
        return "–"
    if seconds > _LONGEST_S:
        return "ages"
    if seconds == 0:
        return "0 s"
    if seconds < 0.0995:
        return f"{seconds * 1000:.{0 if seconds >= 0.00095 else 1}f} ms"
    if seconds < 9.95:
        return f"{seconds:.2g} s" if seconds < 0.995 else f"{seconds:.1f} s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def short_duration(seconds: float) -> str:
    """As `duration`, for round values: 2 s, not 2.0 s."""
    return duration(seconds).replace(".0 s", " s")


def usd(amount: float | None) -> str:
    """An amount in dollars, with the digits that a cheap image needs; – for None."""
    if amount is None:
        return "–"
    if 0 < amount < 0.995:
        return f"${amount:.4f}".rstrip("0").ljust(5, "0")
    return f"${amount:,.2f}"


def count(number: int, one: str, many: str = "") -> str:
    """`number` with its noun: 1 image, 2,000 images."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
