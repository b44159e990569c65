"""Values as text: counts, sizes and durations for people, anything as JSON."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "", *, grouped: bool = False) -> str:
    """Return a count with its noun: "1 job", "2000 jobs"; `grouped`: "2,000 jobs". `plural` defaults to noun + s."""
    return f"{f'{count:,}' if grouped else count} {noun if count == 1 else plural or noun + 's'}"


def json_bytes(value: object) -> bytes:
    """Return `value` as JSON in UTF-8.

    Bytes that are not UTF-8, as in a folder's name from another system, become question marks: JSON cannot hold them.
    """
    import msgspec  # late: `--help` needs none

    try:
        return msgspec.json.encode(value, enc_hook=str)
    except UnicodeEncodeError:
        return msgspec.json.encode(_text_only(msgspec.to_builtins(value, enc_hook=str)))


def _text_only(value: object) -> object:
    if isinstance(value, dict):
        return {_text_only(name): _text_only(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_text_only(item) for item in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def size(count: int) -> str:
    """Return a number of bytes for people, in powers of ten."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return ""  # not reached: the last unit takes any value


def seconds(value_s: float | None) -> str:
    """Return a duration in seconds, with as many decimals as matter; a dash for None."""
    if value_s is None:
        return "-"
    return f"{value_s:.2f}" if value_s < 9.995 else f"{value_s:.1f}" if value_s < 99.95 else f"{value_s:.0f}"


def span(seconds: float) -> str:
    """Return a time span for people, in its two largest units."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (left, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"


_LONGEST_S = 1e11
"""Longer than any run: a record that claims more was not written by one."""


def duration(seconds: float | None) -> str:
    """Return a duration with two or three digits and its unit: 8 ms, 0.39 s, 3 min 20 s, 2 h 05 min; – for None."""
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
    """Return a duration as `duration` does, but round values without decimals: 2 s, not 2.0 s."""
    return duration(seconds).replace(".0 s", " s")
