"""The shapes that a line may have: a native job, a record of a manifest, a line of an OpenAI batch."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import orjson

from venice_batch.jobfile import variables
from venice_batch.jobfile.request_check import printable, shown, type_name
from venice_batch.model import Endpoint, Parent

MAX_ID = 512
"""The longest id, in characters."""

CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
"""Characters that no id may have, besides lone surrogates, as they are listed in a regular expression."""

URL_PREFIX = r"(?:https?://[^/\s]+)?(?:/api)?(?:/v1)?"
"""What may precede the path in a batch line, as a regular expression; --base-url decides where requests go."""

_ENDPOINTS = {str(endpoint): endpoint for endpoint in Endpoint}
_OPENAI_KEYS = frozenset({"custom_id", "method", "url", "body"})
_URL = re.compile(URL_PREFIX + r"(/images?/[a-z-]+)")
_CONTROL = re.compile(f"[{CONTROL}\\ud800-\\udfff]")


class Draft(msgspec.Struct, frozen=True, gc=False):
    """The job of a line with its request still unchecked; `id` is None if the line has none.

    `complaints` lists what is wrong outside the request.
    """

    id: str | None
    endpoint: Endpoint
    request: dict[str, Any]
    metadata: dict[str, Any] | None
    matrix: Any
    complaints: list[tuple[str, str]]
    parent: Parent | None = None
    variables: Any = None


def draft(record: dict[str, Any]) -> Draft:
    """Return the draft of a parsed line: a native line, an OpenAI batch line, or a manifest's record."""
    if "custom_id" in record or "body" in record:
        return _openai(record)
    if "schema" in record and isinstance(record.get("request"), dict):
        return _record(record)
    return _native(record)


def _native(record: dict[str, Any]) -> Draft:
    complaints: list[tuple[str, str]] = []
    # `record` belongs to this call alone: the keys that are left in it are the request.
    id_ = _id(record.pop("id"), "id", complaints) if "id" in record else None
    endpoint = Endpoint.GENERATE
    if "endpoint" in record:
        endpoint = _endpoint(record.pop("endpoint"), complaints)
    metadata = _metadata(record.pop("metadata"), complaints) if "metadata" in record else None
    parent = _parent(record.pop("parent"), complaints) if "parent" in record else None
    matrix = None
    if "matrix" in record:
        matrix = record.pop("matrix")
        if not isinstance(matrix, dict) or not matrix:
            complaints.append(("matrix", 'expected an object of arrays, as in {"seed": [1, 2, 3]}'))
            matrix = None
    values = None
    if "vars" in record and (wrong := variables.faults(values := record.pop("vars"))):
        complaints += wrong
        values = None
    return Draft(id_, endpoint, record, metadata, matrix, complaints, parent, values)


def _record(record: dict[str, Any]) -> Draft:
    # The other keys of a record (files, attempts, …) describe an earlier run; see model.Outcome.
    return _native(
        {key: record[key] for key in ("id", "endpoint", "metadata", "parent") if key in record} | record["request"]
    )


def _openai(record: dict[str, Any]) -> Draft:
    complaints: list[tuple[str, str]] = []
    id_ = _id(record["custom_id"], "custom_id", complaints) if "custom_id" in record else None
    endpoint = Endpoint.GENERATIONS
    if record.get("method") != "POST":
        complaints.append(("method", _required(record, "method", "'POST'")))
    url = record.get("url")
    match = _URL.fullmatch(url) if isinstance(url, str) else None
    if match and match[1] in _ENDPOINTS:
        endpoint = _ENDPOINTS[match[1]]
    else:
        expected = "'/v1/images/generations' or '/v1/image/generate'"
        complaints.append(("url", _required(record, "url", expected)))
    body = record.get("body")
    if not isinstance(body, dict):
        complaints.append(("body", _required(record, "body", "the request as an object")))
        body = {}
    if not record.keys() <= _OPENAI_KEYS:
        complaints += _unknown_keys(record)
    return Draft(id_, endpoint, body, None, None, complaints)


def _unknown_keys(record: dict[str, Any]) -> list[tuple[str, str]]:
    what = "unknown key (known: custom_id, method, url, body); fields of the request go into body"
    return [(printable(key), what) for key in record if key not in _OPENAI_KEYS]


def _required(record: dict[str, Any], key: str, expected: str) -> str:
    return f"{shown(record[key])} given; expected {expected}" if key in record else f"missing; expected {expected}"


def _endpoint(value: object, complaints: list[tuple[str, str]]) -> Endpoint:
    if isinstance(value, str) and value in _ENDPOINTS:
        return _ENDPOINTS[value]
    complaints.append(("endpoint", f"{shown(value)} is not one of {', '.join(_ENDPOINTS)}"))
    return Endpoint.GENERATE


def _id(value: object, key: str, complaints: list[tuple[str, str]]) -> str | None:
    """Return the id if it is valid; ids name files, so they have to be one line of text."""
    if (fault := _id_fault(value)) is not None:
        complaints.append((key, fault))
        return None
    return str(value)


def _id_fault(value: object) -> str | None:
    """Return why `value` cannot be an id, or None if it can."""
    if isinstance(value, str):
        if not value:
            return "is empty; leave it out or give each job its own"
        if len(value) > MAX_ID:
            return f"has {len(value):,} characters; at most {MAX_ID}"
        if value.isspace():
            return "is blank"
        # isprintable() is fast; it also refuses characters that the rule allows, such as odd spaces.
        if value.isprintable() or not _CONTROL.search(value):
            return None
        return f"{value[:40]!r} holds a control character"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f'{value} is a number; an id is text: put it in quotes, "{value}"'
    return f"{shown(value)} is {type_name(value)}; an id is text"


def _metadata(value: object, complaints: list[tuple[str, str]]) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        complaints.append(("metadata", f"{shown(value)} is {type_name(value)}; expected an object"))
        return None
    if not is_writable(value):
        complaints.append(("metadata", "is nested too deeply; at most 250 levels"))
        return None
    return value


_PARENT = {"id", "sha256", "variant"}
_SHA256 = re.compile("[0-9a-f]{64}")


def _parent(value: object, complaints: list[tuple[str, str]]) -> Parent | None:
    if value is None:
        return None
    if isinstance(value, dict) and value.keys() == _PARENT and _id_fault(value["id"]) is None:
        digest, variant = value["sha256"], value["variant"]
        if isinstance(digest, str) and _SHA256.fullmatch(digest) and type(variant) is int and variant > 0:
            return Parent(value["id"], digest, variant)
    complaints.append(("parent", 'expected {"id": an id, "sha256": 64 hex digits, "variant": a number from 1}'))
    return None


def is_writable(value: dict[str, Any]) -> bool:
    # orjson reads 1,024 levels and writes 254: the manifest cannot hold what it cannot write. The brackets stand for
    # the record around the value.
    try:
        orjson.dumps([[[[value]]]])
    except orjson.JSONEncodeError:
        return False
    return True
