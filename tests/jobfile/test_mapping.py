"""Columns as fields: what options ask for, and what becomes of a line."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.errors import UsageError
from venice_batch.jobfile.columns import Columns, line_map
from venice_batch.jobfile.mapping import FieldMap, entry, is_own_shape, parse_map


def applied(record, unknown="error", stem="anime", **fields):
    """The line and its complaints after a map whose fields have `_` for the dot of `metadata.`."""
    named = {name.replace("metadata_", "metadata."): column for name, column in fields.items()}
    field_map = FieldMap.of(named, unknown)
    columns = Columns(field_map)
    columns.look(record)
    complaints = line_map(field_map, columns, stem=stem).apply(record)
    return record, complaints


@pytest.mark.parametrize(
    ("record", "fields", "expected"),
    [
        ({"Text": "a cat"}, {"prompt": "Text"}, {"prompt": "a cat"}),
        ({"TEXT": "a cat"}, {"prompt": "text"}, {"prompt": "a cat"}),
        ({"a": {"b": {"c": "a cat"}}}, {"prompt": "a.b.c"}, {"prompt": "a cat"}),
        ({"a.b": "a cat"}, {"prompt": "a.b"}, {"prompt": "a cat"}),
        ({"a.b": {"c": "a cat"}}, {"prompt": "a.b.c"}, {"prompt": "a cat"}),
        ({"texts": ["a cat"]}, {"prompt": "texts.0"}, {"prompt": "a cat"}),
        ({"rows": [{"text": "a cat"}]}, {"prompt": "Rows.0.Text"}, {"prompt": "a cat"}),
        ({"Text": "p", "Seed": "5", "safe": "true"}, {"prompt": "Text", "seed": "Seed", "safe_mode": "safe"},
         {"prompt": "p", "seed": 5, "safe_mode": True}),
        ({"prompt": "p", "number": 7}, {"id": "number"}, {"prompt": "p", "id": "7"}),
        ({"prompt": "p", "number": 7.0}, {"id": "number"}, {"prompt": "p", "id": "7"}),
        ({"prompt": "p", "id": 7}, {"id": "id"}, {"prompt": "p", "id": "7"}),
        ({"prompt": "p", "kind": "x"}, {"metadata_kind": "kind"}, {"prompt": "p", "metadata": {"kind": "x"}}),
        ({"prompt": "p", "info": {"a": 1}}, {"metadata": "info"}, {"prompt": "p", "metadata": {"a": 1}}),
        ({"prompt": "p"}, {"metadata_style": "@file"}, {"prompt": "p", "metadata": {"style": "anime"}}),
        ({"Text": "p"}, {"prompt": "Text", "metadata_text": "Text"}, {"prompt": "p", "metadata": {"text": "p"}}),
    ],
)  # fmt: skip
def test_a_field_comes_from_its_column(record, fields, expected):
    assert applied(record, **fields) == (expected, [])


def test_a_text_can_have_several_columns_in_it_which_stay_metadata():
    line = {"prompt": "p", "group": "anime", "id": 3, "x": {"y": [True]}}
    found, complaints = applied(line, "metadata", id="{group}-{id}-{x.y.0}-{@file}")
    assert found == {
        "prompt": "p",
        "id": "anime-3-true-anime",
        "metadata": {"id": 3, "group": "anime", "x": {"y": [True]}},
    }
    assert complaints == []


def test_a_column_that_a_nested_value_came_from_stays_whole_unless_nothing_else_is_in_it():
    line = {"prompt": "p", "include": [{"class": "bench", "count": 1}]}
    found, _ = applied(line, "metadata", metadata_first="include.0.class")
    assert found["metadata"] == {"include": [{"class": "bench", "count": 1}], "first": "bench"}
    found, _ = applied({"data": {"text": "p", "n": [1, 2]}}, prompt="data.text", metadata_one="data.n.0")
    assert found == {"data": {"text": "p", "n": [1, 2]}, "prompt": "p", "metadata": {"one": 1}}
    found, _ = applied({"data": {"text": "p", "n": [1]}}, prompt="data.text", metadata_one="data.n.0")
    assert found == {"prompt": "p", "metadata": {"one": 1}}


def test_a_field_in_whose_place_another_column_comes_becomes_metadata():
    found, complaints = applied({"prompt": "short", "long": "a long one"}, prompt="long")
    assert found == {"prompt": "a long one", "metadata": {"prompt": "short"}}
    assert complaints == []


@pytest.mark.parametrize("unknown", ["error", "metadata"])
@pytest.mark.parametrize(
    "line",
    [{"prompt": "OLD", "data": {"caption": None}}, {"prompt": "OLD", "data": {}}, {"prompt": "OLD"}],
    ids=["null", "no key", "no object"],
)
@pytest.mark.parametrize("column", ["data.caption", "{data.caption}, {n}"])
def test_a_field_whose_column_has_no_value_is_missing_and_not_the_lines_own(line, column, unknown):
    field_map = FieldMap.of({"prompt": column}, unknown)
    columns = Columns(field_map)
    columns.look({"data": {"caption": "a cat"}, "n": 1})
    line = orjson.loads(orjson.dumps(line))
    assert line_map(field_map, columns).apply(line) == []
    assert "prompt" not in line
    assert line["metadata"]["prompt"] == "OLD"


def test_null_in_a_column_that_a_field_comes_from_is_no_unknown_field():
    field_map = FieldMap.of({"prompt": ["data.caption", "zh"], "seed": "data.n"})
    columns = Columns(field_map)
    columns.look({"data": {"caption": "p", "n": 1}, "zh": "q"})
    found = line_map(field_map, columns)
    for line, expected in [
        ({"zh": "q", "data": {"caption": None, "n": None}}, {"prompt": "q"}),
        ({"zh": None, "data": {"caption": None, "n": 2}}, {"seed": 2}),
        ({"data": {"caption": None, "other": 5}}, {"data": {"caption": None, "other": 5}}),
    ]:
        assert found.apply(line) == []
        assert line == expected


def test_of_several_entries_for_a_field_only_the_first_whose_column_is_there_counts():
    field_map = FieldMap((entry("prompt", "zzz", "file"), entry("prompt", "a", "file"), entry("prompt", "b", "set")))
    columns = Columns(field_map)
    columns.look({"a": "p", "b": "q"})
    line = {"b": "q"}
    line_map(field_map, columns).apply(line)
    assert line == {"b": "q"}


def test_the_first_column_with_a_value_counts_and_null_is_none():
    field_map = FieldMap.of({"prompt": ["en", "zh"]})
    columns = Columns(field_map)
    lines = [{"en": None, "zh": "b"}, {"en": "a", "zh": "b"}, {"zh": "c"}, {"id": "x"}]
    for line in lines:
        columns.look(line)
    found = line_map(field_map, columns)
    assert all(not found.apply(line) for line in lines)
    assert [line.get("prompt") for line in lines] == ["b", "a", "c", None]


def test_a_line_of_another_shape_has_no_value():
    field_map = FieldMap.of({"prompt": "a.0.b", "seed": "a.1"})
    columns = Columns(field_map)
    columns.look({"a": [{"b": "p"}, 5]})
    found = line_map(field_map, columns)
    for line in ({"a": "text"}, {"a": [5]}, {"a": {"0": {"b": 1}}}, {"a": None}):
        before = dict(line)
        assert found.apply(line) == []
        assert line == before


def test_unknown_keys_become_metadata_beside_the_lines_own():
    line = {"prompt": "p", "tag": "x", "metadata": {"a": 1}, "include": [1], "n": 2, "seed": 1}
    found, complaints = applied(line, "metadata")
    # `n` is a field of another endpoint: taking it for metadata could hide a mistake.
    assert found == {"prompt": "p", "n": 2, "seed": 1, "metadata": {"a": 1, "tag": "x", "include": [1]}}
    assert complaints == []


def test_words_with_a_meaning_of_their_own_are_metadata_if_they_cannot_have_it():
    line = {"prompt": "p", "metadata": "a text", "parent": "x", "vars": [1], "matrix": {"seed": [1]}}
    found, _ = applied(line, "metadata")
    assert found == {
        "prompt": "p",
        "matrix": {"seed": [1]},
        "metadata": {"metadata": "a text", "parent": "x", "vars": [1]},
    }


def test_a_metadata_key_with_two_values_is_a_mistake():
    _, complaints = applied({"prompt": "p", "tag": "x", "metadata": {"tag": "y"}}, "metadata")
    assert complaints == [("metadata.tag", "the line has it twice; add --map metadata.NAME=tag")]
    assert applied({"prompt": "p", "tag": "x", "metadata": {"tag": "x"}}, "metadata")[1] == []
    assert applied({"prompt": "p", "k": "x", "metadata": 5}, metadata_k="k") == ({"prompt": "p", "metadata": 5}, [])


def test_a_line_without_a_value_for_its_id_is_a_mistake():
    field_map = FieldMap.of({"id": "key", "seed": "seed"})
    columns = Columns(field_map)
    columns.look({"key": "a", "seed": 1})
    found = line_map(field_map, columns)
    assert found.apply({"prompt": "p"}) == [("id", "missing: the line has no value for it (--map id=key)")]
    line = {"prompt": "p", "id": "own", "key": None}
    assert found.apply(line) == [("id", "missing: the line has no value for it (--map id=key)")]
    assert line == {"prompt": "p", "metadata": {"id": "own"}}
    template = FieldMap.of({"id": "{a}-{b}"})
    columns = Columns(template)
    columns.look({"a": 1, "b": 2})
    assert line_map(template, columns).apply({"a": 1})[0][0] == "id"


@pytest.mark.parametrize(
    "line",
    [
        {"custom_id": "a", "method": "POST", "url": "/v1/images/generations", "body": {"prompt": "p"}},
        {"schema": 1, "id": "a", "request": {"prompt": "p"}, "other": 1},
    ],
)
def test_batch_lines_and_records_need_no_map(line):
    before = dict(line)
    assert is_own_shape(line)
    assert applied(line, "metadata", stem="x") == (before, [])
    assert not is_own_shape({"body": "a letter", "schema": "x"})


NAMES = st.sampled_from(["a", "B", "a.b", "0", "prompt", "id", "metadata", "tag", "seed", "vars", "body", "url"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
COLUMNS = st.sampled_from(["a", "b", "A.B", "a.0", "a.b.0", "tag", "{a}-{b}", "{a.b}", "@file", "prompt", "metadata.a"])


@given(
    st.lists(st.dictionaries(NAMES, VALUES, max_size=6), min_size=1, max_size=4),
    st.dictionaries(st.sampled_from(["prompt", "id", "seed", "metadata", "metadata.x", "metadata.a"]), COLUMNS),
)
def test_whatever_the_lines_nothing_is_lost_but_what_moved(lines, fields):
    field_map = FieldMap.of(fields, "metadata")
    columns = Columns(field_map)
    for line in lines:
        columns.look(line)
    found = line_map(field_map, columns, stem="s")
    for line in lines:
        before = orjson.loads(orjson.dumps(line))
        if is_own_shape(line):
            assert found.apply(line) == []
            assert line == before
            continue
        complaints = found.apply(line)
        assert {field.partition(".")[0] for field, _ in complaints} <= {"id", "metadata"}
        assert line.keys() <= {"prompt", "id", "seed", "vars", "metadata"}
        if not complaints and isinstance(line.get("metadata"), dict):
            kept = line["metadata"].keys() | found.keys | found.targets
            assert all(name in kept or name in line for name in before)


def test_values_nested_too_deeply_raise_nothing():
    deep = orjson.loads("[" * 1000 + "]" * 1000)
    other = orjson.loads("[" * 1000 + "]" * 1000)
    _, complaints = applied({"prompt": "p", "tag": deep, "metadata": {"tag": other}}, "metadata")
    assert [field for field, _ in complaints] == ["metadata.tag"]
    assert applied({"prompt": "p", "a": deep}, "metadata", id="x-{a}")[1][0][0] == "id"


def test_several_maps_are_read_and_the_last_for_a_field_wins():
    first, second = parse_map(["prompt=a", " id = key ", "prompt=b=c"])
    assert (first.field, first.names, first.origin) == ("prompt", ("b=c",), "--map prompt=b=c")
    assert (second.field, second.names) == ("id", ("key",))
    assert parse_map(["new_field=x"], allow_unknown=True)[0].field == "new_field"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("prompt", "--map prompt: expected FIELD=NAME, as in --map prompt=Caption"),
        ("prompt= ", "--map prompt= : expected FIELD=NAME, as in --map prompt=Caption"),
        ("promt=x", "--map promt=x: no job has this field; did you mean 'prompt'?"),
        ("tag=x", "--map tag=x: no job has this field; metadata.tag keeps the column as metadata"),
        ("metadata.=x", "--map metadata.=x: no job has this field; did you mean 'metadata'?"),
        ("matrix=x", "--map matrix=x: 'matrix' cannot come from a column"),
        ("=x", "--map =x: '' cannot come from a column"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(setting, message):
    with pytest.raises(UsageError) as caught:
        parse_map([setting])
    assert str(caught.value) == message


def test_a_map_that_changes_nothing_is_false():
    assert not FieldMap()
    assert FieldMap(unknown="metadata")
    assert FieldMap.of({"prompt": "x"})
    assert entry("prompt", ["a ", "{b}-{@file}"], "there").columns == ("a", "b")
