"""Text as a terminal shows it, and tables."""

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.cli.text import cropped, folded, one_table, table, terminal_width, text_width


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
def test_cropped_text_ends_in_an_ellipsis(text, width, expected):
    assert cropped(text, width) == expected


def test_folded_lines_break_at_spaces_and_are_indented():
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
def test_the_narrowest_lines_hold_one_character_each(text, width, lines):
    assert folded(text, width) == lines


@given(st.lists(st.text("abc水🎨", min_size=1, max_size=30), min_size=1, max_size=10), st.integers(1, 40))
def test_folding_loses_nothing_but_spaces(words, width):
    assert "".join(folded(" ".join(words), width)).replace(" ", "") == "".join(words)


def test_only_a_terminal_has_a_width():
    assert terminal_width(None) is None
    assert terminal_width(io.StringIO()) is None
    closed = io.StringIO()
    closed.close()
    assert terminal_width(closed) is None
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as terminal:
        assert terminal_width(terminal) is None  # of unknown width
        import fcntl
        import struct
        import termios

        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 91, 0, 0))
        assert terminal_width(terminal) == 91
    os.close(master)


def test_numbers_are_aligned_right_and_text_left():
    made = table(("model", "jobs", "usd"), [("sd", 5, 0.25), ("flux-dev", 120, 1.0)])
    assert made.split("\n") == ["model     jobs   usd", "sd           5  0.25", "flux-dev   120     1"]


def test_a_missing_value_is_a_dash_among_text_and_numbers():
    assert table(("a", "count"), [(None, 7), ("x", None), ("y", 10)]).split("\n") == [
        "a  count", "-      7", "x      -", "y     10",
    ]  # fmt: skip


def test_a_table_without_rows_has_a_header():
    assert table(("model", "usd"), []) == "model  usd"


def test_a_column_of_text_and_numbers_is_aligned_left():
    assert table(("value",), [(1,), ("many",)]) == "value\n1\nmany"


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises((IndexError, ValueError)):
        table(("a", "b"), [(1,)])


@given(st.lists(st.tuples(st.text(max_size=8), st.none() | st.integers(), st.none() | st.text(max_size=8)), max_size=5))
def test_every_row_is_one_printable_line_with_nothing_trailing(rows):
    lines = table(("a", "b", "c"), rows).split("\n")
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() and line == line.rstrip() for line in lines)


def test_control_characters_in_a_cell_are_replaced():
    assert table(("id",), [("\x1b[2Jx",)]) == "id\n\ufffd[2Jx"


def test_markup_and_emoji_codes_in_a_cell_are_shown_as_they_are():
    assert table(("id",), [("[bold]a[/bold] :smile:",)]) == "id\n[bold]a[/bold] :smile:"


def test_a_table_has_no_colours_even_if_they_are_forced(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert table(("id", "jobs"), [("a", 1)]) == "id  jobs\na      1"


ROWS = [("gondola", 12, "1.5 MB", 0.25, 3.5), ("a-very-long-name-of-a-job", 7, "90 kB", 1, 2)]
HEADER = ("id", "jobs", "size", "p50", "p95")


def test_without_a_width_nothing_in_a_table_is_folded():
    assert max(map(len, table(HEADER, ROWS * 3).split("\n"))) == 50


def test_columns_that_do_not_fit_follow_in_a_table_below():
    made = table(HEADER, ROWS, width=30, right=("size",))
    assert made.split("\n") == [
        "id          jobs    size   p50",
        "gondola       12  1.5 MB  0.25",
        "a-very-lon     7   90 kB     1",
        "g-name-of-",
        "a-job",
        "",
        "id          p95",
        "gondola     3.5",
        "a-very-lon    2",
        "g-name-of-",
        "a-job",
    ]


def test_long_text_is_folded_at_spaces_before_columns_move_below():
    made = table(("model", "usd", "traits"), [("sd", 0.01, "default, fastest, eliza-default")], width=30)
    assert made.split("\n") == ["model   usd  traits", "sd     0.01  default, fastest,", "             eliza-default"]


def test_a_group_of_columns_stays_together():
    first, second = table(HEADER, ROWS, width=34, groups=(2, 2)).split("\n\n")
    assert first.split("\n")[0].split() == ["id", "jobs", "size"]
    assert second.split("\n")[0].split() == ["id", "p50", "p95"]


def test_wide_characters_leave_the_columns_in_line():
    made = table(("id", "jobs"), [("水の都", 1), ("e\u0301t\u00e9", 20)]).split("\n")
    assert made == ["id      jobs", "水の都     1", "e\u0301t\u00e9       20"]


CELLS = st.tuples(st.text("abc水🎨", max_size=30), st.integers(0, 10**6), st.text("xyz", max_size=10), st.floats(0, 1))


@given(st.lists(CELLS, max_size=4), st.integers(30, 100))
def test_no_table_is_wider_than_asked(rows, width):
    made = table(("id", "jobs", "size", "usd"), rows, width=width)
    assert all(text_width(line) <= width for line in made.split("\n"))


@given(st.lists(CELLS, max_size=4), st.integers(30, 100))
def test_folding_loses_no_cell_of_a_table(rows, width):
    made = table(("id", "jobs", "size", "usd"), rows, width=width)
    for char in "水🎨xy":
        assert made.count(char) >= sum(row[place].count(char) for row in rows for place in (0, 2))


def test_a_single_table_leaves_out_what_can_be_spared_before_it_cuts_text():
    wide = one_table(HEADER, ROWS, right=("size",), spare=(3, 2))
    assert wide == table(HEADER, ROWS, right=("size",))
    assert one_table(HEADER, ROWS, width=50, right=("size",), spare=(3, 2)) == wide
    assert one_table(HEADER, ROWS, width=36, right=("size",), spare=(3, 2)).split("\n") == [
        "id                 jobs    size  p95",
        "gondola              12  1.5 MB  3.5",
        "a-very-long-name…     7   90 kB    2",
    ]
    assert one_table(HEADER, ROWS, width=20, spare=(3, 2)).split("\n") == [
        "id         jobs  p95", "gondola      12  3.5", "a-very-l…     7    2",
    ]  # fmt: skip


@given(st.lists(CELLS, max_size=4), st.integers(30, 100))
def test_a_single_table_is_never_wider_than_asked(rows, width):
    made = one_table(("id", "jobs", "size", "usd"), rows, width=width, spare=(3, 2, 1)).split("\n")
    assert len(made) == len(rows) + 1
    assert all(text_width(line) <= width for line in made)
