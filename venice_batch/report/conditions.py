"""Conditions on an image's annotations, such as `score<0.5` or `label=cat`."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from venice_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from venice_batch.output.annotations import Value

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
_SPELLINGS = {"==": "=", "≤": "<=", "≥": ">=", "≠": "!="}
_CONDITION = re.compile(r"\s*([^<>=!≤≥≠]+?)\s*(<=|>=|!=|==|[<>=≤≥≠])\s*(.+?)\s*", re.DOTALL)
_OPERATOR = re.compile("[<>=!≤≥≠]")
_WORDS = {"true": 1.0, "false": 0.0}
_PREFIX = "annotation."


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of one annotation with a value.

    Numbers compare as numbers; true and false are 1 and 0. Texts are equal or not, whatever their case. An image
    without the annotation meets no condition on it, not even `!=`. A text is neither less nor greater than a number.
    """

    name: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{self.value}"

    def is_met(self, values: Mapping[str, Value]) -> bool:
        """Return whether an image with these annotations meets it."""
        found = values.get(self.name)
        if found is None:
            return False
        number = _number(self.value)
        if isinstance(found, str) or number is None:
            return self.operator in ("=", "!=") and (str(found).casefold() == self.value.casefold()) == (
                self.operator == "="
            )
        return _OPERATORS[self.operator](float(found), number)


def is_condition(text: str) -> bool:
    """Return whether `text` holds an operator, so that it is meant as a condition."""
    return _OPERATOR.search(text) is not None


def parse_condition(text: str, option: str) -> Condition:
    """Return the condition in `text`: NAME, one of < <= > >= = !=, and a value, which may be in quotes.

    NAME may begin with `annotation.`, as the columns of an export do.

    Raises:
        UsageError: it is none; the message names `option`.
    """
    example = "score<0.5, correct=true or label=cat"
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise UsageError(f"{option}: {text!r} is no condition; write it like {example}")
    name, sign, value = found.groups()
    sign = _SPELLINGS.get(sign, sign)
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    if is_quoted:
        value = value[1:-1]
    elif is_condition(value):
        raise UsageError(
            f"{option}: {text!r} has two operators; give two conditions, such as 'score>0.2' and 'score<0.5'"
        )
    if sign not in ("=", "!=") and _number(value) is None:
        raise UsageError(f"{option}: {text!r} compares with {value!r}, which is no number; texts take = and != only")
    return Condition(name.removeprefix(_PREFIX), sign, value)


def _number(text: str) -> float | None:
    if text.casefold() in _WORDS:
        return _WORDS[text.casefold()]
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
