"""Find what a JSON text loses when it is parsed: repeated keys, and integers of more than 64 bits."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from venice_batch.jobfile.request_check import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

Loss = tuple[str, str]

_KEY = re.compile(rb'"\s*:')
_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19
_SMALLEST, _LARGEST = -(1 << 63), (1 << 64) - 1
"""The range of integers that the manifest, and every program that reads it, can hold."""

TOO_LONG = "has more than 64 bits, which JSON readers round; put it in quotes"


class _Twice(dict[str, Any]):
    """An object that gives a key twice."""

    key = ""


class _TooLong(str):
    """The digits of an integer that is too long."""

    __slots__ = ()


def losses(text: bytes, value: object) -> list[Loss]:
    """Return what the valid JSON `text` lost when orjson parsed it into `value`, as (path, what)."""
    # Both are rare, and an exact check takes ten times as long as orjson: look for signs of them first. A regular
    # expression for the digits would take five times as long as `translate`.
    if _LONG_NUMBER not in text.translate(_DIGITS_AS_ZERO) and not _may_repeat_a_key(text, value):
        return []
    try:
        return list(_found(json.loads(text, object_pairs_hook=_object, parse_int=_integer), ""))
    except RecursionError:  # nested more deeply than a job may be, which is reported elsewhere
        return []


def unwritable(value: object) -> str:
    """Return which number in `value` JSON cannot hold, and why; "" if it holds all. TOML has such numbers."""
    match value:
        case dict() | list():
            return next(filter(None, map(unwritable, value.values() if isinstance(value, dict) else value)), "")
        case int() if _is_too_long(value):
            # Python refuses to write thousands of digits.
            return f"{value if value.bit_length() <= 256 else 'an integer'} {TOO_LONG}"
        case float() if not math.isfinite(value):
            return f"{value} is not a number in JSON"
    return ""


def _is_too_long(value: int) -> bool:
    return not _SMALLEST <= value <= _LARGEST


def _may_repeat_a_key(text: bytes, value: object) -> bool:
    """Return whether `text` has more colons behind a quote than `value` has keys; some may be inside strings."""
    colons = text.count(b":")
    if type(value) is dict and colons <= len(value):
        return False
    keys = _keys(value)
    return colons > keys and len(_KEY.findall(text)) > keys


def _keys(value: object) -> int:
    count, todo = 0, [value]
    while todo:
        match todo.pop():
            case dict() as found:
                count += len(found)
                todo.extend(found.values())
            case list() as found:
                todo.extend(found)
    return count


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    twice = _Twice(pairs)
    count = Counter(key for key, _ in pairs)
    twice.key = next(key for key, number in count.items() if number > 1)
    return twice


def _integer(digits: str) -> object:
    # `int` only for 20 characters or fewer: Python refuses to read thousands of digits.
    return _TooLong(digits) if len(digits) > 20 or _is_too_long(int(digits)) else int(digits)


def _found(value: object, path: str) -> Iterator[Loss]:
    match value:
        case _TooLong():
            yield path, f"{value[:24]}{'…' * (len(value) > 24)} {TOO_LONG}"
        case dict():
            if isinstance(value, _Twice):
                yield _under(path, value.key), "is given twice on the line; keep one of them"
            for key, inner in value.items():
                yield from _found(inner, _under(path, key))
        case list():
            for number, inner in enumerate(value):
                yield from _found(inner, f"{path}[{number}]")


def _under(path: str, key: str) -> str:
    # The end of a path through many levels is enough.
    return f"{path[-80:]}.{printable(key)}" if path else printable(key)
