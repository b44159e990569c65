"""Values as text."""

import json
from pathlib import Path

import pytest

from venice_batch.text_format import counted, json_bytes, seconds, size, span


@pytest.mark.parametrize(("count", "told"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs")])
def test_one_thing_is_told_in_the_singular(count, told):
    assert counted(count, "job") == told


def test_json_of_a_name_that_is_no_text_has_question_marks():
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert json.loads(json_bytes({name: [name, {"deep": Path(name)}, 1]})) == {"caf?": ["caf?", {"deep": "caf?"}, 1]}


def test_json_of_text_is_that_text():
    assert json_bytes({"a": "é\u2028"}).decode() == '{"a":"é\u2028"}'


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_500_000, "1.5 MB"),
        (2 * 10**9, "2.0 GB"),
        (5 * 10**12, "5000.0 GB"),
    ],
)
def test_sizes_are_written_in_powers_of_ten(count, expected):
    assert size(count) == expected


@pytest.mark.parametrize(
    ("value_s", "expected"),
    [(None, "-"), (0.0, "0.00"), (9.994, "9.99"), (9.996, "10.0"), (99.94, "99.9"), (99.96, "100"), (7200.4, "7200")],
)
def test_seconds_have_the_decimals_that_matter(value_s, expected):
    assert seconds(value_s) == expected


@pytest.mark.parametrize(
    ("value_s", "text"),
    [(0, "0 s"), (59.4, "59 s"), (70, "1 min 10 s"), (3600, "1 h"), (4870, "1 h 21 min"), (1e6, "11 d 13 h")],
)
def test_spans_of_time_have_their_two_largest_units(value_s, text):
    assert span(value_s) == text
