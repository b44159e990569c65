"""Losses in parsing JSON: repeated keys and long integers."""

import json

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from venice_batch.errors import UsageError
from venice_batch.jobfile import Defaults
from venice_batch.jobfile.defaults import complaint, parse_setting
from venice_batch.jobfile.exact import losses
from venice_batch.jobfile.line import parse

TWICE = "is given twice on the line; keep one of them"
TOO_LONG = " has more than 64 bits, which JSON readers round; put it in quotes"


def found(text):
    return losses(text.encode(), orjson.loads(text))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"width":1,"width":2}', "width"),
        ('{"width" : 1, "width"\t: 1}', "width"),
        ('{"a":1,"\\u0061":1}', "a"),
        ('{"metadata":{"x":1,"y":2,"x":3}}', "metadata.x"),
        ('{"style_references":[{"image":"a"},{"image":"a","image":"b"}]}', "style_references[1].image"),
        ('{"a\\nb":1,"a\\nb":2}', "a\\nb"),
        ('{"a":{"b":1},"a":{"b":1}}', "a"),
    ],
)
def test_a_key_that_is_given_twice_is_named(text, path):
    assert found(text) == [(path, TWICE)]


@pytest.mark.parametrize(
    "number", ["18446744073709551616", "-9223372036854775809", "9" * 24, "1" + "0" * 76, "-" + "1" * 30]
)
def test_an_integer_of_more_than_64_bits_is_named(number):
    shown = number[:24] + "…" * (len(number) > 24)
    assert found(f'{{"metadata":{{"token":[1,{number}]}}}}') == [("metadata.token[1]", shown + TOO_LONG)]


@pytest.mark.parametrize(
    "text",
    [
        '{"a":18446744073709551615,"b":-9223372036854775808}',
        '{"a":0.1234567890123456789012345,"b":1e22}',
        '{"a":"1234567890123456789012345"}',
        '{"prompt":"say \\"a\\": b, \\"a\\": c","b":"http://x:1"}',
        '{"a":{"x":1},"b":{"x":1}}',
        '[{"x":1},{"x":1}]',
        '"a:b"',
        "[" * 1000 + '"1:1:1"' + "]" * 1000,
    ],
)
def test_a_line_that_loses_nothing_is_accepted(text):
    assert found(text) == []


def test_too_deep_nesting_is_left_to_the_check_that_refuses_it():
    line = b'{"model":"m","prompt":"p","metadata":{"a":' + b"[" * 1010 + b'{"b":1,"b":2}' + b"]" * 1010 + b"}}"
    (problem,) = parse(line, number=1, first_index=0, defaults=Defaults(), source="jobs.jsonl").problems
    assert str(problem) == "jobs.jsonl:1: metadata: is nested too deeply; at most 250 levels"


KEYS = st.sampled_from(["a", "b", '":', "c:", "é"])
VALUES = st.recursive(
    st.one_of(st.integers(), st.text(alphabet='a":{}\\', max_size=8), st.floats(allow_nan=False, allow_infinity=False)),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(KEYS, inner), max_size=4).map(tuple),
    max_leaves=12,
)


def written(value):
    """JSON in which an object is a tuple of pairs, so that a key may come twice."""
    if isinstance(value, tuple):
        return "{" + ",".join(f"{json.dumps(key)} : {written(inner)}" for key, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return json.dumps(value)


def is_lossy(value):
    if isinstance(value, tuple):
        return len(dict(value)) < len(value) or any(is_lossy(inner) for _, inner in value)
    if isinstance(value, list):
        return any(map(is_lossy, value))
    return isinstance(value, int) and not -(1 << 63) <= value < 1 << 64


@given(VALUES)
@example((("a", (("b", 1), ("b", 1))),))
@example([1 << 64])
def test_all_that_is_lost_is_seen_and_nothing_else(value):
    assert bool(found(written(value))) is is_lossy(value)


def test_a_line_that_would_lose_something_is_refused():
    line = b'{"model":"m","prompt":"p","width":512,"width":1024,"metadata":{"token":1157920892373161954235709850}}'
    parsed = parse(line, number=3, first_index=0, defaults=Defaults(), source="jobs.jsonl")
    assert [str(problem) for problem in parsed.problems] == [
        f"jobs.jsonl:3: width: {TWICE}",
        f"jobs.jsonl:3: metadata.token: 115792089237316195423570…{TOO_LONG}",
    ]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("steps=18446744073709551616", f"--set steps: 18446744073709551616{TOO_LONG}"),
        ("new=[18446744073709551616]", f"--set new: [0]: 18446744073709551616{TOO_LONG}"),
        ('new={"a":1,"a":2}', f"--set new: a: {TWICE}"),
    ],
)
def test_a_setting_that_json_cannot_hold_is_refused(setting, message):
    with pytest.raises(UsageError) as caught:
        parse_setting(setting, allow_unknown=True)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1 << 64, f"18446744073709551616{TOO_LONG}"),
        ([1, -(1 << 63) - 1], f"-9223372036854775809{TOO_LONG}"),
        ({"a": {"b": 10**5000}}, f"an integer{TOO_LONG}"),
        (float("nan"), "nan is not a number in JSON"),
        ([{"a": float("-inf")}], "-inf is not a number in JSON"),
    ],
)
def test_a_default_that_json_cannot_hold_is_refused(value, message):
    for name in ("steps", "new"):
        assert complaint(name, value, allow_unknown=True) == (name, message)


def test_a_default_that_json_can_hold_is_accepted():
    value = {"a": [1, True, None, "x", 0.5, (1 << 64) - 1, -(1 << 63)]}
    assert complaint("new", value, allow_unknown=True) is None
