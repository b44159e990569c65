"""The schema against the check that it is generated from: never stricter, and not empty."""

from functools import cache

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jobfile.lines import problems
from jobfile.test_fields import anything
from jsonschema import Draft202012Validator
from msgspec import inspect

from venice_batch.jobfile import Defaults, matrix
from venice_batch.jobfile.draft import draft
from venice_batch.jobfile.fields import DEFAULTS, FIELDS, NOTES, REQUESTS, RESERVED
from venice_batch.jobfile.request_check import explain_field
from venice_batch.jobfile.schema import schema
from venice_batch.model import Endpoint

SCHEMA = schema()
DEFINITIONS = {"$defs": SCHEMA["$defs"]}
VALIDATOR = Draft202012Validator(SCHEMA)
LINE = {"model": "m", "prompt": "p"}
BATCH = {"custom_id": "a", "method": "POST", "url": "/v1/images/generations", "body": {"model": "m", "prompt": "p"}}
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1, max_size=9)


@cache
def validator(*given_for_all):
    return Draft202012Validator(schema(dict.fromkeys(given_for_all, "x")))


def fields(endpoint):
    return {field.name: field for field in inspect.type_info(REQUESTS[endpoint]).fields}


def values(kind):
    """Values that a type of the rules accepts."""
    match kind:
        case inspect.StrType():
            return st.text(st.characters(codec="utf-8"), min_size=kind.min_length or 0, max_size=kind.max_length or 99)
        case inspect.IntType():
            least = kind.gt + 1 if kind.gt is not None else kind.ge
            return st.integers(-(2**63) if least is None else least, 2**63 - 1 if kind.le is None else kind.le)
        case inspect.FloatType():
            least = kind.ge if kind.ge is not None else kind.gt and kind.gt + 0.01
            return st.floats(least, kind.le, allow_nan=False, allow_infinity=False) | st.just(kind.le or 1)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.LiteralType():
            return st.sampled_from(kind.values)
        case inspect.ListType():
            return st.lists(values(kind.item_type), min_size=kind.min_length or 0, max_size=3)
        case inspect.UnionType():
            return st.one_of(map(values, kind.types))
        case inspect.StructType():
            return objects(kind.fields)
    raise AssertionError(kind)


def objects(some):
    taken = {field.name: values(field.type) for field in some}
    required = {field.name: taken.pop(field.name) for field in some if field.required}
    return st.fixed_dictionaries(required, optional=taken)


PARENT = {"id": "a", "sha256": "0" * 64, "variant": 1}


@st.composite
def lines(draw):
    """A line of any shape, valid or with one mistake."""
    endpoint = draw(st.sampled_from(list(Endpoint)))
    request = draw(objects(fields(endpoint).values()))
    beside = {"id": TEXT, "metadata": st.none() | st.just({"k": 1}), "parent": st.none() | st.just(PARENT)}
    line = request | draw(st.fixed_dictionaries({}, optional=beside))
    if endpoint is not Endpoint.GENERATE or draw(st.booleans()):
        line["endpoint"] = str(endpoint)
    match draw(st.sampled_from(["native", "matrix", "batch"])):
        case "matrix":
            names = draw(st.lists(st.sampled_from(sorted(FIELDS[endpoint])), min_size=1, max_size=2, unique=True))
            made = {name: draw(st.lists(values(fields(endpoint)[name].type), min_size=1, max_size=2)) for name in names}
            line = {name: value for name, value in line.items() if name not in made} | {"matrix": made}
        case "batch":
            line = {"custom_id": draw(TEXT), "method": "POST", "url": f"/v1{endpoint}", "body": request}
    if draw(st.booleans()):
        where = draw(st.sampled_from([part for part in (line, line.get("body"), line.get("matrix")) if part]))
        keys = [*where, *RESERVED, "url", "schema", "request", *FIELDS[Endpoint.GENERATE], "strange"]
        key = draw(st.sampled_from(sorted(keys)))
        if draw(st.booleans()):
            where.pop(key, None)
        else:
            where[key] = draw(anything)
    return line


def is_accepted(line, defaults):
    """Whether a line has valid keys and types, by the rules themselves."""
    job = draft(orjson.loads(orjson.dumps(line)))
    if job.complaints:
        return False
    requests = [job.request]
    if job.matrix is not None:
        found = matrix.branches(job, defaults, 1)
        if found.complaints:
            return False
        requests = [{**job.request, **fields} for fields, _ in found.branches]
    return not any(problems(job.endpoint, defaults.apply(job.endpoint, request)) for request in requests)


def test_it_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@given(line=lines(), values=st.sampled_from([{}, {"model": "m"}, {"prompt": "p"}]))
def test_the_schema_accepts_every_line_that_the_check_accepts(line, values):
    if is_accepted(line, Defaults(values)):
        validator(*values).validate(line)


@given(endpoint=st.sampled_from(list(Endpoint)), data=st.data())
def test_a_value_is_accepted_by_both_or_by_neither(endpoint, data):
    kinds = fields(endpoint)
    name = data.draw(st.sampled_from(sorted(kinds)))
    value = data.draw(values(kinds[name].type) | anything)
    # JSON Schema takes 4.0 for an integer, and blank for text.
    assume(not (isinstance(value, float) and value.is_integer()))
    assume(not (isinstance(value, str) and value.isspace()))
    named = Draft202012Validator(SCHEMA["$defs"][REQUESTS[endpoint].__name__]["properties"][name] | DEFINITIONS)
    assert named.is_valid(value) == (not explain_field(endpoint, name, value))


@pytest.mark.parametrize(
    "line",
    [
        {},
        [],
        {"prompt": "p"},
        {"model": "m"},
        LINE | {"id": ""},
        LINE | {"id": "x" * 513},
        LINE | {"id": 7},
        LINE | {"id": "a\u2028b"},
        LINE | {"endpoint": "/image/paint"},
        LINE | {"endpoint": "/images/generations", "width": 512},
        LINE | {"size": "auto"},
        LINE | {"metadata": []},
        LINE | {"parent": {"id": "a", "sha256": "0" * 63, "variant": 1}},
        LINE | {"parent": {"id": "a", "sha256": "0" * 64}},
        LINE | {"promt": "p"},
        LINE | {"width": 1281},
        LINE | {"width": "512"},
        LINE | {"seed": None},
        LINE | {"variants": 0},
        LINE | {"format": "gif"},
        LINE | {"style_references": [{"strength": 0.5}]},
        LINE | {"matrix": {}},
        LINE | {"matrix": {"seed": []}},
        LINE | {"matrix": {"seed": [1, "2"]}},
        LINE | {"matrix": {"sede": [1]}},
        {"matrix": {"model": ["m"]}},
        BATCH | {"method": "GET"},
        BATCH | {"url": "/v1/chat/completions"},
        BATCH | {"body": {}},
        BATCH | {"body": {"model": "m", "prompt": "p", "width": 512}},
        BATCH | {"body": {"prompt": "p"}},
        BATCH | {"prompt": "p"},
        BATCH | {"custom_id": ""},
        {"custom_id": "a"},
    ],
    ids=lambda line: orjson.dumps(line).decode()[:60],
)
def test_the_schema_refuses_the_mistakes_of_a_single_line(line):
    assert not VALIDATOR.is_valid(line)
    assert isinstance(line, list) or not is_accepted(line, Defaults())


@pytest.mark.parametrize(
    "line",
    [
        LINE,
        {"matrix": {"model": ["m"], "prompt": ["p", "q"]}},
        {"prompt": "p", "matrix": {"model": ["m"]}},
        {"endpoint": "/images/generations", "model": "m", "prompt": "p", "size": None},
        BATCH,
        BATCH | {"url": "https://api.venice.ai/api/v1/image/generate", "body": LINE},
        {"schema": 1, "id": "a", "status": "succeeded", "request": LINE, "files": []},
    ],
)
def test_each_shape_is_accepted(line):
    VALIDATOR.validate(line)


@pytest.mark.parametrize(
    ("picture", "is_valid"),
    [
        ({"path": "cat.png"}, True),
        ({"job": "cat"}, True),
        ({"job": "cat", "variant": 2}, True),
        ({"job": "cat", "pick": True}, True),
        ({"job": "cat", "variant": 2, "pick": False}, True),
        ({}, False),
        ({"pick": True}, False),
        ({"path": "cat.png", "pick": True}, False),
        ({"path": "cat.png", "job": "cat"}, False),
        ({"job": "cat", "sha256": "0" * 64}, False),
        ({"job": "cat", "variant": 2, "pick": True}, False),
        ({"job": "cat", "variant": 0}, False),
    ],
)
def test_a_picture_is_a_file_or_another_jobs_image(picture, is_valid):
    lines = [
        {"endpoint": "/image/upscale", "image": picture},
        {"endpoint": "/image/multi-edit", "images": [picture], "prompt": "p"},
    ]
    assert [VALIDATOR.is_valid(line) for line in lines] == [is_valid] * 2
    assert bool(explain_field(Endpoint.UPSCALE, "image", picture)) is not is_valid


def test_fields_with_a_default_are_not_required():
    validator = Draft202012Validator(schema({"model": "m"}))
    validator.validate({"prompt": "p"})
    validator.validate(BATCH | {"url": "/v1/image/generate", "body": {"prompt": "p"}})
    assert not validator.is_valid({"model": "m"})
    assert validator.schema["$defs"]["GenerateRequest"]["properties"]["model"]["default"] == "m"


def test_an_array_of_jobs_has_a_schema_too():
    validator = Draft202012Validator(schema(array=True))
    validator.validate([LINE, BATCH])
    assert not validator.is_valid([LINE, {}])
    assert not validator.is_valid(LINE)


@pytest.mark.parametrize("endpoint", Endpoint)
def test_every_field_is_explained_and_every_default_is_a_valid_one(endpoint):
    kinds = fields(endpoint)
    described = SCHEMA["$defs"][REQUESTS[endpoint].__name__]["properties"]
    assert described.keys() == kinds.keys() == FIELDS[endpoint]
    for name, field in described.items():
        assert field["description"].endswith("."), name
        for value in [*field.get("examples", ()), *([field["default"]] if "default" in field else [])]:
            assert not [problem for problem in problems(endpoint, {name: value}) if problem[0] == name], (name, value)
    assert DEFAULTS.get(endpoint, {}).keys() <= kinds.keys()


def test_nothing_is_explained_that_no_endpoint_takes():
    assert NOTES.keys() <= set().union(*FIELDS.values())
    assert set(DEFAULTS) <= set(Endpoint)


def test_suggestions_are_examples_and_no_rule():
    made = schema(suggestions={Endpoint.GENERATE: {"model": ["one", "two"]}})
    assert made["$defs"]["GenerateRequest"]["properties"]["model"]["examples"] == ["one", "two"]
    Draft202012Validator(made).validate(LINE)
