"""Plain tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.cli.table import table


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
