"""Expand a line's `matrix`: one request for each combination of its values.

An id is `<base>__<field>-<value>__…` with the fields in the line's order, as in
`gondola-01__seed-1__style_preset-Anime`. A value is cut to 40 characters; anything but letters, digits, `.` and `+`
becomes `-`. Where that makes two values of a field look alike, each is followed by a hash of the value. So an id
depends neither on the order of the values nor on the other values of the field.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson

from venice_batch.jobfile.request_check import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_JOBS = 10_000
"""Jobs that one line may make."""

MAX_SLUG = 40
"""Characters of a value that an id repeats."""

# Underscores become "-" too, so that "__" always separates the parts of an id.
_UNSAFE = re.compile(r"[^\w.+]+|_+")


def faults(matrix: dict[str, Any], request: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is wrong with the matrix itself; its values are checked in the requests that they make."""
    found = []
    for field, values in matrix.items():
        path = f"matrix.{printable(field)}"
        if not isinstance(values, list) or not values:
            found.append((path, "expected an array of at least one value"))
            continue
        if field in request:
            found.append((path, "is in the line itself too; keep one of them"))
        try:
            most, times = Counter(map(_canonical, values)).most_common(1)[0]
        except orjson.JSONEncodeError:
            found.append((path, "is nested too deeply"))
            continue
        if times > 1:
            found.append((path, f"lists {printable(most.decode())} {times} times"))
    if not found:
        size = math.prod(len(values) for values in matrix.values())
        if size > MAX_JOBS:
            found.append(("matrix", f"makes {size:,} jobs; at most {MAX_JOBS:,} a line"))
    return found


def combinations(matrix: dict[str, list[Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the id's suffix and the fields of every combination; the last field varies fastest."""
    choices = [
        [(f"__{field}-{slug}", field, value) for slug, value in zip(_slugs(values), values, strict=True)]
        for field, values in matrix.items()
    ]
    for combination in itertools.product(*choices):
        suffix = "".join(part for part, _, _ in combination)
        yield suffix, {field: value for _, field, value in combination}


def _slugs(values: list[Any]) -> list[str]:
    plain = [_slug(value) for value in values]
    # Compared without case: ids become file names.
    alike = Counter(slug.casefold() for slug in plain)
    return [
        slug if slug and alike[slug.casefold()] == 1 else f"{slug}-{_digest(value)}".lstrip("-")
        for slug, value in zip(plain, values, strict=True)
    ]


def _slug(value: object) -> str:
    if isinstance(value, str):
        return _UNSAFE.sub("-", value[:MAX_SLUG]).strip("-.")
    text = _canonical(value).decode()
    return text if isinstance(value, int | float) else _UNSAFE.sub("-", text[:MAX_SLUG]).strip("-.")


def _canonical(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _digest(value: object) -> str:
    return hashlib.blake2b(_canonical(value), digest_size=4).hexdigest()
