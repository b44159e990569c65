"""Files of scores become rows, and rows become values."""

import gzip
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.errors import UsageError
from venice_batch.report.score_files import LONGEST_NAME, LONGEST_TEXT, annotation_name, rows, values_in


def read(text):
    return [(row.line, row.cells) for row in rows("scores", text.encode() if isinstance(text, str) else text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"id": "a", "x": 1}\n\n{"id": "b", "x": 2}', [(1, {"id": "a", "x": 1}), (3, {"id": "b", "x": 2})]),
        ('\ufeff{"id": "a"}\r\n', [(1, {"id": "a"})]),
        ('[{"id": "a"},\n {"id": "b"}]', [(1, {"id": "a"}), (2, {"id": "b"})]),
        ("id,x\na,1\n\nb,2\n", [(2, {"id": "a", "x": "1"}), (4, {"id": "b", "x": "2"})]),
        ("id;x\na;1,5\n", [(2, {"id": "a", "x": "1,5"})]),
        ("id\tx\na\t1\n", [(2, {"id": "a", "x": "1"})]),
        ("sep=;\nid;a,b,c\na;1\n", [(3, {"id": "a", "a,b,c": "1"})]),
        (",id,\n0,a,x\n", [(2, {"column 1": "0", "id": "a", "column 3": "x"})]),
        ("PARENT,id\nx,a\n", [(2, {"PARENT": "x", "id": "a"})]),
        ('id,x\na,"1"', [(2, {"id": "a", "x": "1"})]),
        ('id,x\na,"1\n2"\nb,3\n', [(3, {"id": "a", "x": "1\n2"}), (4, {"id": "b", "x": "3"})]),
        ("id,x,y\na,1\n", [(2, {"id": "a", "x": "1"})]),
    ],
)
def test_the_content_decides_the_format(text, expected):
    assert read(text) == expected


def test_numbers_that_python_writes_and_json_has_not_are_read():
    ((_, cells),) = read('{"id": "a", "x": NaN, "y": Infinity, "z": 1e400}')
    assert math.isnan(cells["x"])
    assert (cells["y"], cells["z"]) == (math.inf, math.inf)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "scores: holds no rows"),
        (" \n ", "scores: holds no rows"),
        (b'{"id": "a"}\n\xff', "scores:2: not valid UTF-8"),
        ('{"id": "a"}\n{"id": ', "scores:2: not valid JSON"),
        ('{"id": ', "scores: line 1 is not valid JSON"),
        ('{"id": "a"}\n[1]', "scores:2: expected an object"),
        ("[1]", "scores: element 1 is no object"),
        ("[{}", "scores: not valid JSON"),
        ("[" * 100_000, "scores: not valid JSON"),
        ('{\n"results": [{"id": "a"}]\n}', "its rows are in 'results': jq -c '.results[]' FILE"),
        ('{\n"my results": [{"id": "a"}]\n}', "jq -c '.[\"my results\"][]' FILE"),
        ('{\n"a": {"score": 1}\n}', "holds one JSON object; expected one a line: jq -c . FILE"),
        ("id,x,x\na,1,2\n", "scores:1: the header names 'x' twice"),
        ("[]", "scores: holds no rows: the list is empty"),
        ("not a table at all", "scores: holds no rows below its header, 'not a table at all'"),
        ("\nid,score\n\n", "scores: holds no rows below its header, 'id,score'"),
        ('id,"score\nfox,1', "scores:1: a quote opens in this row and is never closed"),
        ('id,score\nfox,"1\n\nsea,2\n', "scores:2: a quote opens in this row and is never closed"),
        ('id,score\nfox,"', "scores:2: a quote opens in this row and is never closed"),
        (
            gzip.compress(b"id,x\na,1\n", mtime=0),
            "scores: is packed with gzip; unpack it: gunzip -c FILE | venice-batch annotate",
        ),
        (
            b"\x28\xb5\x2f\xfd\x04",
            "scores: is packed with zstd; unpack it: zstd -dc FILE | venice-batch annotate OUT -",
        ),
        ("id,x\na,1\n".encode("utf-16"), "scores: is UTF-16 text; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"),
        ("id,x\na,1\n".encode("utf-16-le"), "scores: is UTF-16 text; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"),
        (b"PAR1\x15\x04\x00\xff", "scores: is a table in Parquet format; save it as CSV or JSON lines"),
        (b"BZh91AY&SY\xff", "scores: is not text: looks like a bzip2 archive; unpack it first"),
        ('{\n"models": ["a"], "my rows": [{"id": "a"}]\n}', "its rows are in 'my rows': jq -c '.[\"my rows\"][]' FILE"),
        ("id,x\na,1,2\n", "scores:2: has 3 cells, the header has 2"),
        ("id,x\na," + "y" * 200_000 + "\n", "scores:2: not a valid table: field larger than field limit"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(text, message):
    with pytest.raises(UsageError) as refused:
        read(text)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("0.81", 0.81),
        ("-1", -1),
        ("+3", 3),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("007", "007"),
        ("1_000", "1_000"),
        ("True", True),
        ("FALSE", False),
        (" yes ", "yes"),
        (10**30, 1e30),
        (2**62, 2**62),
        ([1, "é"], '[1, "é"]'),
        ("9" * 40, "9" * 40),
    ],
)
def test_text_that_is_a_number_or_a_boolean_counts_as_such(cell, value):
    found = values_in({"x": cell}).found["x"]
    assert (found, type(found)) == (value, type(value))


def test_empty_cells_are_left_out_and_numbers_that_are_not_finite_are_named():
    cells = {"a": "", "b": None, "c": " ", "d": [], "e": {}, "f": "NaN", "g": math.inf, "h": 10**400, "i": 0}
    found = values_in(cells)
    assert (found.found, found.not_finite) == ({"i": 0}, ("f", "g", "h"))


def test_objects_become_names_with_dots_and_get_the_prefix():
    found = values_in({"clip": {"score": 0.3, "of": {"part": True}}, "n": 1}, "v.")
    assert found.found == {"v.clip.score": 0.3, "v.clip.of.part": True, "v.n": 1}


def test_long_texts_are_cut_and_named_and_deep_objects_end_as_text():
    found = values_in({"x": "y" * 5_000})
    assert (len(found.found["x"]), found.cut) == (LONGEST_TEXT, ("x",))
    deep = {}
    for _ in range(100):
        deep = {"d": deep or 1}
    (name,) = values_in({"x": deep}).found
    assert name.count(".") == 20


def test_names_hold_no_operators_and_no_line_ends_and_are_not_too_long():
    assert annotation_name("P(x > 0)\n a") == "P(x _ 0)_ a"
    assert annotation_name("") == "_"
    assert len(annotation_name("x" * 500)) == LONGEST_NAME


CELLS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), CELLS, max_size=4))
def test_any_row_gives_values_that_json_can_hold(cells):
    ((_, read_back),) = rows("x", json.dumps(cells).encode())
    found = values_in(read_back).found
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert all(isinstance(value, bool | int | float | str) for value in found.values())
