"""The reference of the library, from its docstrings and signatures."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
import textwrap
import types

import msgspec

import venice_batch
from tools.option_pages import NOTE

SECTIONS = {"library": "Calls", "run.settings": "Calls", "model": "Values", "events": "Events", "errors": "Exceptions"}


def library_page() -> str:
    """Return the page: every public name under a heading for its kind."""
    parts = [
        NOTE + "# The library's names\n",
        "Import them from `venice_batch`; [the library](../library.md) shows how to use them.\n",
    ]
    heading = ""
    for name in sorted(_public(), key=_place):
        value = getattr(venice_batch, name)
        if SECTIONS[_home(name)] != heading:
            heading = SECTIONS[_home(name)]
            parts.append(f"## {heading}\n")
        parts += [f"### {name}\n", f"```text\n{_signature(name, value)}\n```\n", _doc(value) + "\n"]
    return "\n".join(parts)


def _public() -> list[str]:
    return [name for name in venice_batch.__all__ if not name.startswith("__")]


def _home(name: str) -> str:
    return venice_batch._HOME_OF[name]


def _place(name: str) -> tuple[int, str]:
    return list(SECTIONS).index(_home(name)), name


def _signature(name: str, value: object) -> str:
    if inspect.isfunction(value):
        kind = "async def" if inspect.iscoroutinefunction(value) else "async with" if _is_context(value) else "def"
        return _def(kind, name, inspect.signature(value))
    if isinstance(value, types.UnionType):
        return f"{name} = " + " | ".join(one.__name__ for one in value.__args__)
    assert isinstance(value, type)  # noqa: S101 - for the type checker
    bases = ", ".join(base.__name__ for base in value.__bases__ if base not in (object, msgspec.Struct))
    head = f"class {name}" + (f"({bases})" if bases else "")
    return "\n".join([head, *(f"    {line}" for line in _members(value))])


def _def(kind: str, name: str, signature: inspect.Signature) -> str:
    lines, starred = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            lines.append("    *,")
            starred = True
        lines.append(f"    {_parameter(parameter)},")
    returned = f" -> {signature.return_annotation}"
    return "\n".join([f"{kind} {name}(", *lines, f"){returned}"])


def _parameter(parameter: inspect.Parameter) -> str:
    stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{stars}{parameter.name}: {parameter.annotation}{default}"


def _members(value: type) -> list[str]:
    if issubclass(value, enum.Enum):
        return [f"{member.name} = {member.value!r}" for member in value]
    if issubclass(value, msgspec.Struct) or dataclasses.is_dataclass(value):
        return [f"{name}: {annotation}" for name, annotation in inspect.get_annotations(value).items()]
    return []


def _is_context(value: object) -> bool:
    return inspect.isasyncgenfunction(inspect.unwrap(value))  # type: ignore[arg-type]


def _doc(value: object) -> str:
    """Return the docstring in Markdown, with exceptions as a list and an indented example as a block."""
    text = "Any of these." if isinstance(value, types.UnionType) else inspect.cleandoc(inspect.getdoc(value) or "")
    body, raises, errors = text.partition("Raises:\n")
    blocks = [
        f"```text\n{textwrap.dedent(part)}\n```" if part.startswith("    ") else part
        for part in body.strip("\n").split("\n\n")
    ]
    found = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", errors, re.MULTILINE)
    listed = [f"- `{name}`: {' '.join(when.split())}" for name, when in found]
    return "\n\n".join([*blocks, *(["Raises:", "\n".join(listed)] if raises else [])])
