"""Check a request against its endpoint's rules, and word everything that is wrong with it."""

from __future__ import annotations

import difflib
from collections import Counter
from enum import Enum, auto
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from msgspec import inspect

from venice_batch.jobfile.fields import FIELDS, READ_HERE, REQUESTS, Fault, cross_field
from venice_batch.model import Endpoint

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    Complaints = Iterator[tuple[str, str, "_Grade"]]


def faults(endpoint: Endpoint, request: dict[str, Any], *, beside: frozenset[str] = frozenset()) -> list[Fault]:
    """Return everything that is wrong with a request, in the request's order; missing fields come last.

    `beside` names keys that are valid next to the request's fields in the user's file; "did you mean" may suggest them.
    """
    try:
        msgspec.convert(request, REQUESTS[endpoint])
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        found = explain(endpoint, request, beside)
        # If `explain` finds nothing, msgspec's own words are better than letting the request pass.
        return found or [Fault("", str(error), is_open=False)]
    found = cross_field(request)
    if endpoint is Endpoint.BACKGROUND_REMOVE and not request.keys() & {"image", "image_url"}:
        found.append(Fault("image", "missing", is_open=False))
    return found


class _Grade(Enum):
    """The way in which a value differs from what this version knows."""

    UNKNOWN = auto()
    MISSING = auto()
    VALUE = auto()
    TYPE = auto()


_NEEDED_AS_KNOWN = frozenset({"model", "modelId", "image", "images", "image_url"})
"""Fields that the program itself acts on: they decide the lane, and the pictures that it reads and sends."""


SHOWN = 40
"""Characters of the user's own text that a message repeats."""


def explain(endpoint: Endpoint, request: dict[str, Any], beside: frozenset[str]) -> list[Fault]:
    """Return every fault of `request`, field by field: slower than `faults` where there is none."""
    known = _fields(endpoint)
    found: list[Fault] = []
    for name, value in request.items():
        if name in known:
            found += _graded(known[name], value)
        else:
            found.append(Fault(printable(name), _unknown(endpoint, name[:SHOWN], beside), is_open=True))
    found += cross_field(request)
    for name, field in known.items():
        if field.required and name not in request:
            found.append(Fault(name, "missing", _is_open(name, None, _Grade.MISSING)))
    return found


def explain_field(endpoint: Endpoint, name: str, value: object) -> list[Fault]:
    """Return every fault of `value` as the field `name`, which `endpoint` has."""
    return [*_graded(_fields(endpoint)[name], value), *cross_field({name: value})]


def _graded(field: inspect.Field, value: object) -> Iterator[Fault]:
    for path, what, grade in explain_value(field.type, value, field.name):
        yield Fault(path, what, _is_open(field.name, value, grade))


def _is_open(name: str, value: object, grade: _Grade) -> bool:
    """Return whether a server might accept this value of the field `name`."""
    if name in _NEEDED_AS_KNOWN:
        return name == "model" and grade is _Grade.MISSING
    if name == "variants":
        return grade is _Grade.VALUE and isinstance(value, int) and value >= 1
    return name not in READ_HERE or grade is not _Grade.TYPE


def few_values(name: str) -> tuple[str, ...]:
    """Return all values of a field that takes only a few, as in JSON but without quotes; () for other fields."""
    found: dict[str, None] = {}
    for endpoint in Endpoint:
        if name in _fields(endpoint):
            _, kind = _unwrap(_fields(endpoint)[name].type)
            if isinstance(kind, inspect.LiteralType):
                found |= dict.fromkeys(map(str, kind.values))
            elif isinstance(kind, inspect.BoolType):
                found |= {"true": None, "false": None}
    return tuple(found)


@cache
def takes_json(endpoint: Endpoint, name: str) -> bool:
    """Return whether the field `name`, which `endpoint` has, takes anything but text."""
    kind = _fields(endpoint)[name].type
    members = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    return not all(
        isinstance(member, inspect.StrType)
        or (isinstance(member, inspect.LiteralType) and isinstance(member.values[0], str))
        for member in members
    )


def explain_value(kind: inspect.Type, value: object, path: str) -> Complaints:
    """Yield the complaints about `value`, found under `path`, which has to be of `kind`."""
    nullable, kind = _unwrap(kind, value)
    if value is None:
        if not nullable:
            what = f"null is not allowed here; leave the field out, or give {expected(kind)}"
            yield path, what, _Grade.TYPE
    elif isinstance(kind, inspect.ListType) and isinstance(value, list):
        if len(value) < (kind.min_length or 0):
            yield path, "is empty", _Grade.VALUE
        for number, item in enumerate(value):
            yield from explain_value(kind.item_type, item, f"{path}[{number}]")
    elif isinstance(kind, inspect.StructType) and isinstance(value, dict):
        yield from _explain_object(kind, value, path)
    elif (found := _scalar(kind, value)) is not None:
        yield path, *found


def did_you_mean(name: str, names: Collection[str]) -> str:
    """Return "; did you mean '…'?" with the most similar of `names`; "" if none is similar."""
    others = sorted(set(names) - {name})
    close = difflib.get_close_matches(name[:SHOWN].lower(), others, n=1, cutoff=0.7)
    return f"; did you mean {close[0]!r}?" if close else ""


def printable(text: str) -> str:
    """Return `text` for one line of a terminal: shortened, control characters and lone surrogates escaped."""
    text = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
    return text if text.isprintable() else repr(text)[1:-1]


def shown(value: object) -> str:
    """Return a JSON value for a message, shortened to a readable length."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(value if len(value) <= SHOWN else value[: SHOWN - 1] + "…")
        case dict():
            return "this"
        case list():
            return "[]" if not value else "this"
        case _:
            return printable(str(value))


def type_name(value: object) -> str:
    """Return JSON's name for the type of `value`, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case dict():
            return "an object"
        case list():
            return "an array"
        case _:
            return "a number"


def expected(kind: inspect.Type) -> str:
    """Return in words the values that `kind` accepts."""
    match kind:
        case inspect.IntType() | inspect.FloatType():
            return _number(kind)
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType(values):
            return "one of " + ", ".join(str(value) for value in values)
        case inspect.ListType(item):
            return f"an array, each item {expected(item)}"
        case inspect.StructType():
            return "an object with " + ", ".join(field.name for field in kind.fields)
        case _:
            return "a string"


def _number(kind: inspect.IntType | inspect.FloatType) -> str:
    noun = "an integer" if isinstance(kind, inspect.IntType) else "a number"
    if isinstance(kind, inspect.IntType) and kind.gt is not None:
        return f"{noun} from {kind.gt + 1} to {kind.le}"
    if kind.gt is not None:
        return f"{noun} above {kind.gt:g} and at most {kind.le:g}"
    if kind.ge is None:
        return noun
    if kind.ge == kind.le:
        return f"{kind.ge} only"
    # Not `:g`, which writes long integers with an exponent.
    return f"{noun} from {kind.ge} to {kind.le}"


def _scalar(kind: inspect.Type, value: object) -> tuple[str, _Grade] | None:
    """Return why `value` is not of the scalar `kind`; None if it is."""
    match kind, value:
        case inspect.LiteralType(values), str():
            return None if value in values else (f"{shown(value)} is not {expected(kind)}", _Grade.VALUE)
        case inspect.StrType(), str():
            return None if (what := _length(kind, value)) is None else (what, _Grade.VALUE)
        case inspect.BoolType(), bool():
            return None
        case inspect.IntType() | inspect.FloatType(), bool():
            pass  # a subclass of int in Python, a type of its own in JSON
        case inspect.IntType(), float() if abs(value) < 2**63:
            return f"{value} is not written as an integer; expected {expected(kind)}", _Grade.VALUE
        case inspect.IntType() | inspect.FloatType(), int() | float():
            within = _within(kind, value)
            return None if within else (f"{shown(value)} is out of range; expected {expected(kind)}", _Grade.VALUE)
    return f"{shown(value)} is {type_name(value)}; expected {expected(kind)}", _Grade.TYPE


def _within(kind: inspect.IntType | inspect.FloatType, value: float) -> bool:
    if isinstance(kind, inspect.IntType) and isinstance(value, float):
        return False  # JSON integers of more than 64 bits arrive as floats
    return (
        (kind.gt is None or value > kind.gt)
        and (kind.ge is None or value >= kind.ge)
        and (kind.le is None or value <= kind.le)
    )


def _length(kind: inspect.StrType, value: str) -> str | None:
    if not value and kind.min_length:
        return "is empty"
    if len(value) < (kind.min_length or 0):
        return f"has {len(value):,} characters; at least {kind.min_length:,} here"
    if kind.max_length is not None and len(value) > kind.max_length:
        return f"has {len(value):,} characters; at most {kind.max_length:,} here"
    return None


def _unwrap(kind: inspect.Type, value: object = None) -> tuple[bool, inspect.Type]:
    """Return whether null is allowed, and the type that any other `value` is checked against."""
    if not isinstance(kind, inspect.UnionType):
        return False, kind
    members = [member for member in kind.types if not isinstance(member, inspect.NoneType)]
    # If either an object or a scalar is allowed, an object is checked against the object's type.
    likely = [member for member in members if isinstance(member, inspect.StructType) is isinstance(value, dict)]
    return len(members) < len(kind.types), (likely or members)[0]


def _explain_object(kind: inspect.StructType, value: dict[str, Any], path: str) -> Complaints:
    known = {field.name: field for field in kind.fields}
    for name, item in value.items():
        if name in known:
            yield from explain_value(known[name].type, item, f"{path}.{name}")
        else:
            yield f"{path}.{printable(name)}", f"unknown field{did_you_mean(name, known)}", _Grade.UNKNOWN
    for name, field in known.items():
        if field.required and name not in value:
            yield f"{path}.{name}", "missing", _Grade.MISSING


@lru_cache(maxsize=1024)  # a search takes 60 us; the same name may be mistyped on a million lines
def _unknown(endpoint: Endpoint, name: str, beside: frozenset[str]) -> str:
    if name == "inpaint":
        return "in-painting was disabled by the API on May 19th, 2025; remove the field"
    if others := [str(other) for other in Endpoint if name in FIELDS[other]]:
        return f"belongs to {', '.join(others)}; this line goes to {endpoint}"
    return "unknown field" + did_you_mean(name, {*FIELDS[endpoint], *beside})


@cache
def _fields(endpoint: Endpoint) -> dict[str, inspect.Field]:
    rules = inspect.type_info(REQUESTS[endpoint])
    assert isinstance(rules, inspect.StructType)  # noqa: S101 - for the type checker
    return {field.name: field for field in rules.fields}


def values_fault(values: object) -> str | None:
    """Return why `values` cannot be the values of one field, or None if they can."""
    if not isinstance(values, list) or not values:
        return "expected an array of at least one value"
    try:
        most, times = Counter(map(canonical, values)).most_common(1)[0]
    except orjson.JSONEncodeError:
        return "is nested too deeply"
    return f"lists {printable(most.decode())} {times} times" if times > 1 else None


def canonical(value: object) -> bytes:
    """Return a value as JSON with its keys in order."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
