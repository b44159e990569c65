"""Fields by which tables are grouped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import failed, outcome

from venice_batch.errors import UsageError
from venice_batch.output.annotations import Annotation, Annotations
from venice_batch.report.group_fields import (
    cluster_field,
    cluster_of,
    group_fields,
    key_of,
    refuse_absent,
    sort_key,
    value_at,
    value_of,
    value_text,
)

METADATA = {
    "tag": "cats",
    "a": {"b": [{"c": 1}, 2]},
    "a.b": "as it is",
    "x.y": {"z": 3},
    "vars": {"who": "Ann"},
    "n": None,
}
RECORD = outcome("a", metadata=METADATA, request={"model": "fastest", "prompt": "p", "seed": 7, "steps": {"of": 2}})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "venice-sd35"), ("lane", "venice-sd35"), ("request.model", "fastest"), ("status", "succeeded"),
        ("endpoint", "/image/generate"), ("run_id", "20260101T000000Z-abc123"), ("date", "2026-01-01"), ("id", "a"),
        ("error", None), ("sandbox", False), ("seed", 7), ("prompt", "p"), ("width", None), ("request.seed", 7),
        ("request.steps.of", 2), ("metadata.tag", "cats"), ("metadata.a.b", "as it is"), ("metadata.a.b.1", 2),
        ("metadata.x.y.z", 3), ("vars.who", "Ann"), ("metadata.n", None), ("metadata.none.at.all", None),
    ],
)  # fmt: skip
def test_a_field_is_looked_up_in_a_record(name, value):
    (field,) = group_fields(name)
    assert (field.name, field.of(RECORD), field.annotation) == (name, value, "")


def test_records_without_metadata_have_no_value():
    tag, who, error = group_fields("metadata.tag,vars.who,error")
    assert (tag.of(outcome()), who.of(outcome()), error.of(failed())) == (None, None, "server")


def test_several_fields_are_separated_by_commas():
    assert [field.name for field in group_fields(" model, metadata.tag ,annotation.score")] == [
        "model",
        "metadata.tag",
        "annotation.score",
    ]
    assert group_fields("annotation.a.b")[0].annotation == "a.b"


def test_a_path_leads_through_objects_and_lists():
    value = {"a": [{"b": 1}, [5, 6]]}
    assert [value_at(value, path) for path in ("a.0.b", "a.1.1", "a.2", "a.x", "a.0.b.c")] == [1, 6, None, None, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle", "no field 'modle'; did you mean 'model'?"),
        ("tag", "is it metadata.tag or annotation.tag? Fields are model, "),
        ("foo.bar", "names with a dot begin with request., metadata., vars., annotation."),
        ("metadata.", "names with a dot begin with"),
        ("model,", "a name is empty"),
        ("", "a name is empty"),
        ("model,status,model", "names 'model' twice"),
        ("\x1b[2J", "\ufffd[2J"),
    ],
)
def test_a_name_that_is_no_field_is_refused_in_one_line(text, message):
    with pytest.raises(UsageError) as caught:
        group_fields(text)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metadata.tga", "no record has it (nearest: metadata.tag"),
        ("metadata.a.x", "nearest: metadata.a"),
        ("request.seeed", "nearest: request.seed"),
        ("vars.whom", "nearest: vars.who"),
        ("annotation.scroe", "nearest: annotation.score"),
        ("metadata.quick", "nearest: metadata.a, metadata.a.b, metadata.n"),
    ],
)
def test_a_field_that_no_record_has_is_refused_with_similar_ones(text, message):
    annotations = Annotations()
    annotations.add(Annotation("0" * 64, "a", 1, {"score": 0.5}, "2026-01-01T00:00:00Z"))
    with pytest.raises(UsageError) as caught:
        refuse_absent(group_fields(text), [RECORD], annotations)
    assert message in str(caught.value)


def test_a_cluster_is_a_field_of_jobs():
    field = cluster_field(" metadata.tag ")
    assert cluster_of(field, RECORD) == cluster_of(field, outcome("b", metadata={"tag": "cats"}))
    assert cluster_of(field, outcome("c")) != cluster_of(field, outcome("d"))
    with pytest.raises(UsageError, match=r"--cluster annotation\.score: give a field of jobs"):
        cluster_field("annotation.score")
    with pytest.raises(UsageError, match=r"--cluster: a record has no field 'promt'; did you mean 'prompt'"):
        cluster_field("promt")


def test_without_any_such_name_the_message_says_so():
    with pytest.raises(UsageError, match=r"--by annotation\.x: no record has it \(none has any annotation\)"):
        refuse_absent(group_fields("annotation.x"), [RECORD], Annotations())


def test_a_value_that_is_null_everywhere_is_no_mistake():
    refuse_absent(group_fields("metadata.n,error,width"), [RECORD], Annotations())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@given(st.lists(JSON, max_size=6))
def test_any_values_are_keys_and_can_be_sorted(values):
    assert [value_of(key_of(value)) for value in values] == values
    assert len({key_of(value) for value in values}) <= len(values)
    assert len(sorted(values, key=sort_key)) == len(values)
    assert all(isinstance(value_text(value), str) for value in values)


def test_equal_numbers_are_one_value_and_other_types_are_others():
    assert key_of(1) == key_of(1.0)
    assert len({key_of(value) for value in (1, "1", True, None, "", [1], {"b": 1, "a": 2}, {"a": 2, "b": 1})}) == 7


def test_values_are_sorted_by_type_and_then_by_size():
    values = [None, {"a": 1}, "b", "B", "a", True, False, 10, 9.5, -1]
    assert sorted(values, key=sort_key) == [-1, 9.5, 10, False, True, "a", "B", "b", {"a": 1}, None]
