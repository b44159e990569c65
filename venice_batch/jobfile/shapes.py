"""The ways to write a job: native, OpenAI batch, a manifest's record."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import orjson

from venice_batch.model import Endpoint

RESERVED = frozenset({"id", "endpoint", "metadata", "matrix"})
"""Keys of a native line that are not fields of the request."""

MAX_ID = 512
"""Length of an id in characters."""

CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
"""The characters that no id may have, besides lone surrogates, as a regular expression lists them."""

URL_PREFIX = r"(?:https?://[^/\s]+)?(?:/api)?(?:/v1)?"
"""What clients of other hosts write before the path, as a regular expression; --base-url says where a request goes."""

_ENDPOINTS = {str(endpoint): endpoint for endpoint in Endpoint}
_OPENAI_KEYS = frozenset({"custom_id", "method", "url", "body"})
_URL = re.compile(URL_PREFIX + r"(/images?/[a-z-]+)")
_CONTROL = re.compile(f"[{CONTROL}\\ud800-\\udfff]")


class Draft(NamedTuple):
    """A line's job as its shape gives it: the request unchecked, the id None where there is none."""

    id: str | None
    endpoint: Endpoint
    request: dict[str, Any]
    metadata: dict[str, Any] | None
    matrix: Any
    complaints: list[tuple[str, str]]


def draft(record: dict[str, Any]) -> Draft:
    """Return the draft of a parsed line; its `complaints` name what is wrong outside the request."""
    if "custom_id" in record or "body" in record:
        return _openai(record)
    if "schema" in record and isinstance(record.get("request"), dict):
        return _record(record)
    return _native(record)


def _native(record: dict[str, Any]) -> Draft:
    complaints: list[tuple[str, str]] = []
    # `record` was parsed for this call alone: what is taken out of it leaves the request.
    id_ = _id(record.pop("id"), "id", complaints) if "id" in record else None
    endpoint = Endpoint.GENERATE
    if "endpoint" in record:
        endpoint = _endpoint(record.pop("endpoint"), complaints)
    metadata = _metadata(record.pop("metadata"), complaints) if "metadata" in record else None
    matrix = None
    if "matrix" in record:
        matrix = record.pop("matrix")
        if not isinstance(matrix, dict) or not matrix:
            complaints.append(("matrix", 'expected an object of arrays, as in {"seed": [1, 2, 3]}'))
            matrix = None
    return Draft(id_, endpoint, record, metadata, matrix, complaints)


def _record(record: dict[str, Any]) -> Draft:
    # The keys of a record that are not a job's (files, attempts, …) tell of the past; see model.Outcome.
    return _native({key: record[key] for key in ("id", "endpoint", "metadata") if key in record} | record["request"])


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
        complaints += _strangers(record)
    return Draft(id_, endpoint, body, None, None, complaints)


def _strangers(record: dict[str, Any]) -> list[tuple[str, str]]:
    from venice_batch.jobfile.explain import printable

    what = "unknown beside custom_id, method, url, body; fields of the request go into body"
    return [(printable(key), what) for key in record if key not in _OPENAI_KEYS]


def _required(record: dict[str, Any], key: str, expected: str) -> str:
    from venice_batch.jobfile.explain import shown

    return f"{shown(record[key])} given; expected {expected}" if key in record else f"missing; expected {expected}"


def _endpoint(value: object, complaints: list[tuple[str, str]]) -> Endpoint:
    if isinstance(value, str) and value in _ENDPOINTS:
        return _ENDPOINTS[value]
    from venice_batch.jobfile.explain import shown

    complaints.append(("endpoint", f"{shown(value)} is not one of {', '.join(_ENDPOINTS)}"))
    return Endpoint.GENERATE


def _id(value: object, key: str, complaints: list[tuple[str, str]]) -> str | None:
    """Return the id if it will do; it names files, so that it has to be text of one line."""
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
        # isprintable() is the fast way; it refuses more (odd spaces, …) than the rule does.
        if value.isprintable() or not _CONTROL.search(value):
            return None
        return f"{value[:40]!r} holds a control character"
    from venice_batch.jobfile.explain import shown, type_name

    if isinstance(value, int | float) and not isinstance(value, bool):
        return f'{value} is a number; an id is text: put it in quotes, "{value}"'
    return f"{shown(value)} is {type_name(value)}; an id is text"


def _metadata(value: object, complaints: list[tuple[str, str]]) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        from venice_batch.jobfile.explain import shown, type_name

        complaints.append(("metadata", f"{shown(value)} is {type_name(value)}; expected an object"))
        return None
    try:
        # orjson reads 1,024 levels and writes 254: what it cannot write, the manifest cannot keep. The
        # brackets stand for the record around it.
        orjson.dumps([[[[value]]]])
    except orjson.JSONEncodeError:
        complaints.append(("metadata", "is nested too deeply; at most 250 levels"))
        return None
    return value
