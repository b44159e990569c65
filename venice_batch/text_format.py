"""Values as text: counts, sizes and durations for people, anything as JSON."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: "1 job", "2 jobs"; for nouns whose plural ends in s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


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
