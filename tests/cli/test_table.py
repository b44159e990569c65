"""Plain tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.cli.table import table
from venice_batch.cli.text import text_width


def test_numbers_stand_to_the_right_and_text_to_the_left():
    made = table(("model", "jobs", "usd"), [("sd", 5, 0.25), ("flux-dev", 120, 1.0)])
    assert made.split("\n") == ["model     jobs   usd", "sd           5  0.25", "flux-dev   120     1"]


def test_what_is_missing_is_a_dash_among_text_and_numbers():
    assert table(("a", "count"), [(None, 7), ("x", None), ("y", 10)]).split("\n") == [
        "a  count", "-      7", "x      -", "y     10",
    ]  # fmt: skip


def test_a_table_without_rows_is_its_header():
    assert table(("model", "usd"), []) == "model  usd"


def test_text_and_numbers_in_one_column_stand_to_the_left():
    assert table(("value",), [(1,), ("many",)]) == "value\n1\nmany"


def test_a_row_of_another_length_is_a_mistake():
    with pytest.raises((IndexError, ValueError)):
        table(("a", "b"), [(1,)])


@given(st.lists(st.tuples(st.text(max_size=8), st.none() | st.integers(), st.none() | st.text(max_size=8)), max_size=5))
def test_every_row_is_one_printable_line_with_nothing_trailing(rows):
    lines = table(("a", "b", "c"), rows).split("\n")
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() and line == line.rstrip() for line in lines)


def test_a_server_cannot_move_the_cursor():
    assert table(("id",), [("\x1b[2Jx",)]) == "id\n\ufffd[2Jx"


ROWS = [("gondola", 12, "1.5 MB", 0.25, 3.5), ("a-very-long-name-of-a-job", 7, "90 kB", 1, 2)]
HEADER = ("id", "jobs", "size", "p50", "p95")


def test_without_a_width_a_table_is_as_wide_as_it_gets():
    assert max(map(len, table(HEADER, ROWS * 3).split("\n"))) == 50


def test_what_does_not_fit_goes_on_in_a_table_below():
    made = table(HEADER, ROWS, width=30, right=("size",))
    assert made.split("\n") == [
        "id          jobs    size   p50",
        "gondola       12  1.5 MB  0.25",
        "a-very-lo…     7   90 kB     1",
        "",
        "id          p95",
        "gondola     3.5",
        "a-very-lo…    2",
    ]


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
