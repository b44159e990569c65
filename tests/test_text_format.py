"""Values as text."""

import json
from pathlib import Path

import pytest

from venice_batch.text_format import counted, duration, json_bytes, seconds, short_duration, size, span


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


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"), (0, "0 s"), (0.0004, "0.4 ms"), (0.008, "8 ms"), (0.099, "99 ms"), (0.0996, "0.1 s"),
        (0.386, "0.39 s"), (0.996, "1.0 s"), (3.14, "3.1 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min"),
        (200, "3 min 20 s"), (3599.7, "1 h"), (7500, "2 h 05 min"), (172_800, "2 d"), (200_000, "2 d 7 h"),
        (1e12, "ages"),
    ],
)  # fmt: skip
def test_durations_have_two_or_three_digits_and_a_unit(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(2.0, "2 s"), (2.5, "2.5 s"), (0.2, "0.2 s"), (20, "20 s")])
def test_round_durations_go_without_a_fraction(seconds, text):
    assert short_duration(seconds) == text


def test_a_noun_goes_with_its_number():
    assert (
        counted(1, "image", grouped=True),
        counted(2000, "image", grouped=True),
        counted(0, "retry", "retries"),
    ) == (
        "1 image",
        "2,000 images",
        "0 retries",
    )
