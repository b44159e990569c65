"""Text as a terminal shows it."""

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.cli.text import cropped, folded, terminal_width, text_width
from venice_batch.text_format import seconds, size, span


@pytest.mark.parametrize(("text", "width"), [("", 0), ("abc", 3), ("水の都", 6), ("é", 1), ("e\u0301", 1), ("🎨", 2)])
def test_width_counts_columns_and_not_characters(text, width):
    assert text_width(text) == width


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("gondola", 7, "gondola"),
        ("gondola", 5, "gond…"),
        ("水の都", 6, "水の都"),
        ("水の都", 5, "水の…"),
        ("水の都", 4, "水…"),
    ],
)
def test_what_is_too_long_ends_in_an_ellipsis(text, width, expected):
    assert cropped(text, width) == expected


def test_lines_break_at_spaces_and_go_on_indented():
    assert folded("the prompt violates the policy", 14) == ["the prompt", "  violates the", "  policy"]


def test_without_a_width_nothing_is_folded():
    assert folded("x " * 500, None) == ["x " * 500]


def test_a_word_longer_than_a_line_is_cut():
    assert folded("a " + "x" * 20, 8) == ["a", "  xxxxxx", "  xxxxxx", "  xxxxxx", "  xx"]


@given(st.text(st.characters(categories=["L", "N", "P", "Zs", "So"]), max_size=80), st.integers(2, 40))
def test_no_folded_or_cropped_line_is_wider_than_asked(text, width):
    assert all(text_width(line) <= width for line in folded(text, width))
    assert text_width(cropped(text, width)) <= width


@pytest.mark.parametrize(("text", "width", "lines"), [
    ("ab c", 1, ["a", "b", "c"]), ("ab cd", 2, ["ab", "cd"]), ("水a", 1, ["水", "a"]), ("水", 1, ["水"]),
    ("   ", 1, [""]),
])  # fmt: skip
def test_the_narrowest_terminals_get_characters_below_each_other(text, width, lines):
    assert folded(text, width) == lines


@given(st.lists(st.text("abc水🎨", min_size=1, max_size=30), min_size=1, max_size=10), st.integers(1, 40))
def test_folding_loses_nothing_but_spaces(words, width):
    assert "".join(folded(" ".join(words), width)).replace(" ", "") == "".join(words)


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


def test_only_a_terminal_has_a_width():
    assert terminal_width(None) is None
    assert terminal_width(io.StringIO()) is None
    closed = io.StringIO()
    closed.close()
    assert terminal_width(closed) is None
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as terminal:
        assert terminal_width(terminal) is None  # it does not say
        import fcntl
        import struct
        import termios

        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 91, 0, 0))
        assert terminal_width(terminal) == 91
    os.close(master)
