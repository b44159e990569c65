"""Tables as text, Markdown and CSV, and numbers with their intervals."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.cli import formats
from venice_batch.cli.formats import (
    Shown,
    csv_bytes,
    estimate_texts,
    markdown_table,
    markdown_text,
    number_text,
    percent_text,
    text_table,
)
from venice_batch.cli.text import text_width
from venice_batch.report.intervals import Estimate, wilson

SHOWN = Shown(("model", "tag", "jobs"), [("flux", "cats", "12"), ("venice-sd35", "dogs", "3")], 2)


def estimate(mean, low=None, high=None):
    return Estimate(9, mean, low, high, "bootstrap")


def test_a_table_aligns_labels_to_the_left_and_figures_to_the_right():
    assert text_table(SHOWN, None).splitlines() == [
        "model        tag   jobs",
        "flux         cats    12",
        "venice-sd35  dogs     3",
    ]


@pytest.mark.parametrize("width", [80, 23])
def test_a_table_that_fits_the_terminal_is_the_same_there(width):
    assert text_table(SHOWN, width) == text_table(SHOWN, None)


def test_a_table_that_does_not_fit_has_its_labels_in_one_column_and_no_line_is_too_long():
    shown = Shown(("model", "tag", *"abcdefgh"), [("flux", "cats", *["12345"] * 8)], 2)
    lines = text_table(shown, 40).splitlines()
    assert lines[0].startswith("model, tag")
    assert sum("flux / cats" in line for line in lines) == 2
    assert max(map(text_width, lines)) <= 40


def test_of_a_very_long_table_the_first_rows_are_shown(monkeypatch):
    monkeypatch.setattr(formats, "MOST_ROWS", 1)
    assert text_table(SHOWN, None).splitlines()[-1] == "… and 1 more rows; --format csv has them all"
    assert markdown_table(SHOWN).count("\n") == 3


def test_markdown_aligns_figures_to_the_right():
    assert markdown_table(SHOWN).splitlines() == [
        "| model | tag | jobs |",
        "| --- | --- | --: |",
        "| flux | cats | 12 |",
        "| venice-sd35 | dogs | 3 |",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("run_id", "run_id"), ("_a_", r"\_a\_"), ("a|b", r"a\|b"), ("*a* [b](c)", r"\*a\* \[b\](c)"),
        ("`d` ~e~", r"\`d\` \~e\~"), ("a\\", r"a\\"), ("<b>&", "&lt;b&gt;&amp;"), ("a\nb", "a\ufffdb"),
        ("-0.5", "-0.5"),
    ],
)  # fmt: skip
def test_text_in_markdown_is_no_markup(text, shown):
    assert markdown_text(text) == shown


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.integers()), max_size=5))
def test_csv_gives_back_what_it_was_given(rows):
    read = list(csv.reader(io.StringIO(csv_bytes(("a", "b"), rows).decode(), newline="")))
    assert read[0] == ["a", "b"]
    for (text, number), (as_text, as_number) in zip(rows, read[1:], strict=True):
        assert as_text.removeprefix("'") == text  # an apostrophe in front is never the text's own
        assert as_number == str(number)


def test_a_share_is_shown_in_percent():
    assert percent_text(wilson(1, 3)) == "33.3% [6.1, 79.2]"
    assert percent_text(wilson(4, 4)) == "100% [51, 100]"
    assert percent_text(None) == "-"


def test_means_of_a_column_have_as_many_decimals_as_their_intervals_need():
    column = [estimate(0.81234, 0.79, 0.834), estimate(0.5, 0.46, 0.54), None, estimate(0.25)]
    assert estimate_texts(column) == ["0.812 [0.790, 0.834]", "0.500 [0.460, 0.540]", "-", "0.250"]
    assert estimate_texts([estimate(5123.4, 4000, 6000)]) == ["5123 [4000, 6000]"]
    assert estimate_texts([estimate(1e-9, 1e-9, 1e-9)]) == ["0.000000 [0.000000, 0.000000]"]
    assert estimate_texts([estimate(0.0)]) == ["0.00"]
    assert estimate_texts([None]) == ["-"]


def test_a_very_large_number_has_its_power_of_ten():
    assert number_text(1e70, 2) == "1e+70"
    assert estimate_texts([estimate(1e70, -1e70, 2e70)]) == ["1e+70 [-1e+70, 2e+70]"]
