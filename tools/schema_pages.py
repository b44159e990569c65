"""The schemas of the manifest's records and of the summary, as JSON Schema and in Markdown."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from tools.option_pages import NOTE, table
from venice_batch.model import Outcome, Summary
from venice_batch.report import log_lines

Schema = dict[str, Any]


def record_schema() -> Schema:
    """Return the JSON Schema of a line of manifest.jsonl."""
    return _schema(Outcome, "A record of venice-batch's manifest.jsonl")


def summary_schema() -> Schema:
    """Return the JSON Schema of summary.json."""
    return _schema(Summary, "venice-batch's summary.json")


def records_page() -> str:
    """Return the page with both schemas as tables."""
    record, summary = record_schema(), summary_schema()
    parts = [
        NOTE + "# Records and summary\n",
        "[The output folder and the manifest](../manifest.md) explains the fields. As JSON Schema:\n"
        "[manifest.schema.json](manifest.schema.json), [summary.schema.json](summary.schema.json). A program that\n"
        "copies records must keep fields that it does not know.\n",
    ]
    shown: set[str] = set()
    for title, schema in (("A record of `manifest.jsonl`", record), ("`summary.json`", summary)):
        parts.append(f"## {title}\n")
        for name, definition in schema["$defs"].items():
            if name in shown or "properties" not in definition:
                continue
            shown.add(name)
            parts += [f"### {name}\n", definition["description"] + "\n", _fields(definition, schema)]
    return "\n".join(parts)


def log_page() -> str:
    """Return the page with every kind of line of the JSON log as a table."""
    schema = log_lines.schema()
    parts = [
        NOTE + "# Lines of the JSON log\n",
        "[The JSON log](../log.md) explains them. As JSON Schema: [log.schema.json](log.schema.json), or\n"
        "`venice-batch schema --log`. Later versions may add fields and events.\n",
    ]
    common = log_lines.LogLine.__struct_fields__
    first = next(iter(schema["$defs"].values()))
    shared = {**first, "properties": {name: first["properties"][name] for name in common}}
    shared["properties"]["event"] = {"type": "string"}
    parts += ["## Every line\n", inspect.cleandoc(log_lines.LogLine.__doc__ or "") + "\n", _fields(shared, schema)]
    for name, definition in schema["$defs"].items():
        fields = {key: kind for key, kind in definition["properties"].items() if key not in common}
        event = definition["properties"].get("event")
        parts += [f"## {event['enum'][0] if event else name}\n", definition["description"] + "\n"]
        parts += [_fields({**definition, "properties": fields}, schema)] if fields else []
    return "\n".join(parts)


def _schema(kind: type, title: str) -> Schema:
    schema = msgspec.json.schema(kind)
    for definition in schema["$defs"].values():
        if "description" in definition:
            definition["description"] = inspect.cleandoc(definition["description"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **schema}


def _fields(definition: Schema, schema: Schema) -> str:
    required = definition.get("required", ())
    rows = [
        (f"`{name}`", _type(kind, schema) + ("" if name in required else ", may be absent"))
        for name, kind in definition["properties"].items()
    ]
    return table(("field", "type"), rows)


def _type(kind: Schema, schema: Schema) -> str:
    match kind:
        case {"$ref": ref}:
            name = ref.rsplit("/", 1)[1]
            return _type(schema["$defs"][name], schema) if "enum" in schema["$defs"][name] else name
        case {"enum": values}:
            return " or ".join(f"`{value}`" for value in values)
        case {"anyOf": kinds}:
            return " or ".join(_type(one, schema) for one in kinds)
        case {"type": "array", "items": items}:
            return f"array of {_type(items, schema)}"
        case {"type": "object", "additionalProperties": dict() as inner}:
            return f"object of {_type(inner, schema)}"
        case {"type": name}:
            return str(name)
        case _:
            return "any"
