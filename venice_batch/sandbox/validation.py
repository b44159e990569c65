"""Check one JSON object against a table of fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from venice_batch.sandbox.errors import Issue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

JsonType = Literal["string", "integer", "number", "boolean", "array", "any"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """The API description's rules for one field; lengths count characters."""

    type: JsonType
    required: bool = False
    nullable: bool = False
    above: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    min_length: int = 0
    max_length: int | None = None
    choices: tuple[str, ...] = ()


def check(
    body: Mapping[str, object], table: Mapping[str, Field], at: tuple[str | int, ...] = (), *, closed: bool = True
) -> list[Issue]:
    """Return every issue with the fields in the table, in its order, then one for unknown fields if it is `closed`.

    `at` is the path of `body` in the request.
    """
    issues: list[Issue] = []
    for name, rule in table.items():
        path = (*at, name)
        if name not in body:
            if rule.required:
                issues.append(Issue("invalid_type", path, "Required"))
            continue
        value = body[name]
        if value is None and rule.nullable:
            continue
        issues.extend(Issue(code, path, message) for code, message in _problems(value, rule))
    unknown = [name for name in body if name not in table]
    if unknown and closed:
        names = ", ".join(f"'{name}'" for name in unknown)
        issues.append(Issue("unrecognized_keys", at, f"Unrecognized key(s) in object: {names}"))
    return issues


def transparency_issues(name: str, model_id: str, format_: str, *, supported: bool) -> Iterator[Issue]:
    """Yield the issues with a transparent background; `name` is the field that asks for it."""
    if not supported:
        yield Issue("custom", (name,), f"{model_id} does not support transparent backgrounds")
    if format_ not in ("png", "webp"):
        yield Issue("custom", (name,), f"A transparent background needs png or webp, not {format_}")


def type_name(value: object) -> str:
    """Return the JSON type of a parsed value, as error messages name it."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    if value is None:
        return "null"
    return "array" if isinstance(value, list) else "object"


def _problems(value: object, rule: Field) -> Iterator[tuple[str, str]]:
    if rule.type == "any":
        return
    found = type_name(value)
    wanted = "number" if rule.type == "integer" else rule.type
    if found != wanted:
        yield "invalid_type", f"Expected {wanted}, received {found}"
    elif isinstance(value, str):
        yield from _text(value, rule)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number(value, rule)


def _text(value: str, rule: Field) -> Iterator[tuple[str, str]]:
    if rule.choices and value not in rule.choices:
        expected = " | ".join(f"'{choice}'" for choice in rule.choices)
        yield "invalid_enum_value", f"Invalid enum value. Expected {expected}, received '{value}'"
    if len(value) < rule.min_length:
        yield "too_small", f"String must contain at least {rule.min_length} character(s)"
    if rule.max_length is not None and len(value) > rule.max_length:
        yield "too_big", f"String must contain at most {rule.max_length} character(s)"


def _number(value: float, rule: Field) -> Iterator[tuple[str, str]]:
    # JSON has one type of number: 1024.0 is the integer 1024, as in the API's own JavaScript.
    if rule.type == "integer" and not float(value).is_integer():
        yield "invalid_type", "Expected integer, received float"
    if rule.above is not None and value <= rule.above:
        yield "too_small", f"Number must be greater than {rule.above:g}"
    if rule.minimum is not None and value < rule.minimum:
        yield "too_small", f"Number must be greater than or equal to {rule.minimum:.10g}"
    if rule.maximum is not None and value > rule.maximum:
        yield "too_big", f"Number must be less than or equal to {rule.maximum:.10g}"
