"""The JSON Schema of a job line, generated from the rules that the check itself uses."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from venice_batch.jobfile.draft import CONTROL, MAX_ID, URL_PREFIX
from venice_batch.jobfile.fields import DEFAULTS, NOTES, REQUESTS
from venice_batch.jobfile.variables import NAME
from venice_batch.model import Endpoint

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_NONE: Mapping[Any, Any] = MappingProxyType({})


def schema(
    defaults: Mapping[str, Any] = _NONE,
    suggestions: Mapping[Endpoint, Mapping[str, Sequence[str]]] = _NONE,
    *,
    array: bool = False,
) -> Schema:
    """Return the schema of a line, or with `array` of an array of lines.

    It accepts everything that the jobs file's own check accepts. It also accepts some lines that the check refuses: it
    cannot express duplicate ids, fields that exclude each other (a field both in the line and in its `matrix`, for
    one), blank text, the limits of a model, or missing pictures. It does not describe a manifest's record.

    `defaults` are those of the run: a line need not have these fields. `suggestions` are values for an editor to offer,
    by endpoint and field; other values are just as valid.
    """
    defs: dict[str, Schema]
    _, defs = msgspec.json.schema_components(REQUESTS.values(), ref_template="#/$defs/{name}")
    for endpoint, rules in REQUESTS.items():
        body = defs[rules.__name__]
        body["description"] = f"The body of a request to {endpoint}."
        body["properties"] = {
            name: _annotated(field, name, endpoint, defaults, suggestions.get(endpoint, _NONE))
            for name, field in body["properties"].items()
        }
        body["required"] = [name for name in body.get("required", ()) if name not in defaults]
        defs[_line_name(endpoint)] = _line(endpoint, body["properties"], body["required"])
    defs["NamedPicture"]["oneOf"] = _FILE_OR_JOB
    defs |= {"Id": _ID, "Endpoint": _ENDPOINT, "Metadata": _METADATA, "Parent": _PARENT, "Variables": _VARIABLES}
    defs |= {"NativeLine": _native(), "BatchLine": _batch()}
    job = {
        "title": "venice-batch job",
        "type": "object",
        # The same order of questions as in `line.draft`.
        "if": {"anyOf": [{"required": ["custom_id"]}, {"required": ["body"]}]},
        "then": _ref("BatchLine"),
        "else": {
            "if": {"required": ["schema", "request"], "properties": {"request": {"type": "object"}}},
            "else": _ref("NativeLine"),
        },
    }
    top = {"title": "venice-batch jobs", "type": "array", "items": job} if array else job
    return {"$schema": DIALECT, **top, "$defs": defs}


_ID = {
    "description": "Names the job and its image; by default a hash of the request.",
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_ID,
    "pattern": f"^[^{CONTROL}]*$",
    "examples": ["gondola-01"],
}
_ENDPOINT = {
    "description": "Where the request goes.",
    "enum": [str(endpoint) for endpoint in Endpoint],
    "default": str(Endpoint.GENERATE),
}
# A struct's own schema cannot say which of its fields belong together.
_FILE_OR_JOB = [
    {"required": ["path"], "properties": {"job": False, "variant": False, "pick": False}},
    {
        "required": ["job"],
        "properties": {"path": False, "sha256": False},
        "not": {"required": ["variant", "pick"], "properties": {"pick": {"const": True}}},
    },
]
_VARIABLES = {
    "description": "Values for the names that a prompt has in braces: one job for every combination of them.",
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"pattern": f"^{NAME}$"},
    "additionalProperties": {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"type": "string"}},
    "examples": [{"subject": ["a cat", "a dog"]}],
}
_METADATA = {"description": "Any object; copied to the manifest.", "type": ["object", "null"]}

_PARENT = {
    "description": "The image that the job was derived from; copied to the manifest.",
    "type": ["object", "null"],
    "properties": {
        "id": {"description": "The job that made the image.", "$ref": "#/$defs/Id"},
        "sha256": {"description": "The image's hash.", "type": "string", "pattern": "^[0-9a-f]{64}$"},
        "variant": {"description": "The image's number in its job.", "type": "integer", "minimum": 1},
    },
    "required": ["id", "sha256", "variant"],
    "additionalProperties": False,
}


def _annotated(
    field: Schema,
    name: str,
    endpoint: Endpoint,
    defaults: Mapping[str, Any],
    suggestions: Mapping[str, Sequence[str]],
) -> Schema:
    note = NOTES[name]
    default = {**DEFAULTS.get(endpoint, _NONE), **defaults}
    examples = list(suggestions.get(name, note.examples))
    return {
        "description": note.text,
        **field,
        **({"default": default[name]} if name in default else {}),
        **({"examples": examples} if examples else {}),
    }


def _line(endpoint: Endpoint, fields: Collection[str], required: Sequence[str]) -> Schema:
    """Return the schema of a native line for `endpoint`; its matrix may provide required fields."""
    body = REQUESTS[endpoint].__name__
    values = {name: {"type": "array", "minItems": 1, "items": _ref(body, name)} for name in fields}
    matrix = {
        "description": "Values by field: the line makes one job for every combination of them.",
        "type": "object",
        "minProperties": 1,
        "properties": values,
        "additionalProperties": False,
    }
    either = [{"anyOf": [{"required": [name]}, {"properties": {"matrix": {"required": [name]}}}]} for name in required]
    return {
        "description": f"A job for {endpoint}.",
        "type": "object",
        "properties": {
            "id": _ref("Id"),
            "endpoint": _ref("Endpoint"),
            **{name: _ref(body, name) for name in fields},
            "metadata": _ref("Metadata"),
            "parent": _ref("Parent"),
            "matrix": matrix,
            "vars": _ref("Variables"),
        },
        "additionalProperties": False,
        "if": {"required": ["matrix"]},
        "then": {"allOf": either} if either else {},
        "else": {"required": list(required)},
    }


def _native() -> Schema:
    return {
        "properties": {"endpoint": _ref("Endpoint")},
        "allOf": [
            {"if": _goes_to(endpoint, is_default=endpoint is Endpoint.GENERATE), "then": _ref(_line_name(endpoint))}
            for endpoint in REQUESTS
        ],
    }


def _goes_to(endpoint: Endpoint, *, is_default: bool) -> Schema:
    named: Schema = {"properties": {"endpoint": {"const": str(endpoint)}}}
    return named if is_default else {**named, "required": ["endpoint"]}


def _batch() -> Schema:
    urls = {endpoint: f"^{URL_PREFIX}{endpoint}$" for endpoint in REQUESTS}
    return {
        "description": "A line in the OpenAI batch format.",
        "type": "object",
        "properties": {
            "custom_id": _ref("Id"),
            "method": {"const": "POST"},
            "url": {
                "description": "Where the request goes; anything before the path is ignored.",
                "type": "string",
                "anyOf": [{"pattern": pattern} for pattern in urls.values()],
                "examples": [f"/v1{endpoint}" for endpoint in REQUESTS],
            },
            "body": {"description": "The request.", "type": "object"},
        },
        "required": ["method", "url", "body"],
        "additionalProperties": False,
        "allOf": [
            {
                "if": {"properties": {"url": {"pattern": pattern}}, "required": ["url"]},
                "then": {"properties": {"body": _ref(REQUESTS[endpoint].__name__)}},
            }
            for endpoint, pattern in urls.items()
        ],
    }


def _line_name(endpoint: Endpoint) -> str:
    return REQUESTS[endpoint].__name__.removesuffix("Request") + "Line"


def _ref(name: str, field: str | None = None) -> Schema:
    return {"$ref": f"#/$defs/{name}" + ("" if field is None else f"/properties/{field}")}
