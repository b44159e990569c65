"""Variables in prompts, such as `{subject}`, and the lists of values that options give."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from venice_batch.errors import UsageError
from venice_batch.jobfile.defaults import complaint, field_value, parse_field
from venice_batch.jobfile.exact import losses
from venice_batch.jobfile.request_check import did_you_mean, printable, values_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

TEXTS = ("prompt", "negative_prompt")
"""The fields in which variables are replaced."""

NAME = r"[A-Za-z_][A-Za-z0-9_]{0,39}"
"""A variable's name, as a regular expression."""

_NAMED = re.compile(r"\{(" + NAME + r")\}")
_BRACES = re.compile(r"\{\{|\}\}|\{(" + NAME + r")\}")


def texts_in(request: Mapping[str, Any]) -> list[str]:
    """Return the fields of a request in which variables are replaced."""
    return [name for name in TEXTS if isinstance(request.get(name), str)]


def names_in(text: str) -> list[str]:
    """Return the variables that a prompt names, in order, once each; `{{` and `}}` stand for braces."""
    return list(dict.fromkeys(match[1] for match in _BRACES.finditer(text) if match[1])) if "{" in text else []


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with its variables replaced, and `{{` and `}}` as single braces. Other braces stay."""
    return _BRACES.sub(lambda match: values[match[1]] if match[1] else match[0][0], text)


def unfilled(request: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return a warning for each text field that looks like a prompt with variables, although there are no values."""
    found = []
    for field in TEXTS:
        text = request.get(field)
        if isinstance(text, str) and "{" in text and (match := _NAMED.search(text)):
            what = f"{match[0]} is sent as written; --var {match[1]}=A,B gives it values"
            found.append((field, what))
    return tuple(found)


def unknown(name: str, known: Collection[str]) -> str:
    """Return the message about a variable without values."""
    close = did_you_mean(name, known)
    return f"{{{name}}} has no values{close or f'; add --var {name}=A,B, or write {{{{{name}}}}} for a brace'}"


def faults(variables: object) -> list[tuple[str, str]]:
    """Return what is wrong with a line's `vars`."""
    if not isinstance(variables, dict) or not variables:
        return [("vars", 'expected an object of arrays, as in {"subject": ["a cat", "a dog"]}')]
    return [
        (f"vars.{printable(name)}", what)
        for name, values in variables.items()
        if (what := variable_fault(name, values)) is not None
    ]


def variable_fault(name: str, values: object) -> str | None:
    """Return what is wrong with a variable, or None if nothing is."""
    if not re.fullmatch(NAME, name):
        return "is not a variable's name; it has up to 40 letters, digits and underscores and begins with no digit"
    if (wrong := values_fault(values)) is not None:
        return wrong
    assert isinstance(values, list)  # noqa: S101 - for the type checker
    wrong_value = next((value for value in values if not isinstance(value, str)), None)
    return None if wrong_value is None else f"{wrong_value} is not text; put it in quotes"


def parse_matrix(settings: Iterable[str], *, allow_unknown: bool = False) -> dict[str, list[Any]]:
    """Return the values by field from several `FIELD=A,B,C`; the last one for a field wins.

    Values are read as `--set` reads them. A value in double quotes may hold commas, a JSON array is a list too, and
    `@FILE` reads one value a line.

    Raises:
        UsageError: there is no such field, or no endpoint takes a value for it.
    """
    found = {}
    for setting in settings:
        name, text = _parted(setting, "--matrix", "FIELD=A,B,C, as in --matrix seed=1,2,3")
        name = name if allow_unknown else parse_field(name, "--matrix")
        found[name] = _values(text, f"--matrix {name}", partial(field_value, name))
    check_lists(found, {}, allow_unknown=allow_unknown)
    return found


def matrix_fault(name: str, values: object, *, allow_unknown: bool = False) -> tuple[str, str] | None:
    """Return what is wrong with the values that an option or a settings file gives a field, as (path, what)."""
    if (wrong := values_fault(values)) is not None:
        return name, wrong
    assert isinstance(values, list)  # noqa: S101 - for the type checker
    return next((bad for value in values if (bad := complaint(name, value, allow_unknown=allow_unknown))), None)


def check_lists(
    matrix: Mapping[str, Sequence[Any]], variables: Mapping[str, Sequence[str]], *, allow_unknown: bool = False
) -> None:
    """Raise UsageError if the values that a program gives for `--matrix` or `--var` cannot be any."""
    for name, values in matrix.items():
        if wrong := matrix_fault(name, list(values), allow_unknown=allow_unknown):
            raise UsageError(f"--matrix {wrong[0]}: {wrong[1]}")
    for name, texts in variables.items():
        if what := variable_fault(name, list(texts)):
            raise UsageError(f"--var {printable(name)}: {what}")


def parse_variables(settings: Iterable[str]) -> dict[str, list[str]]:
    """Return the values by variable from several `NAME=A,B,C` or `NAME=@FILE`; the last one for a name wins.

    Raises:
        UsageError: a name or a value cannot be one, or the file cannot be read.
    """
    found = {}
    for setting in settings:
        name, text = _parted(setting, "--var", "NAME=A,B,C or NAME=@FILE, as in --var subject=cat,dog")
        found[name] = _values(text, f"--var {printable(name)}", str)
    check_lists({}, found)
    return found


def _parted(setting: str, option: str, expected: str) -> tuple[str, str]:
    name, equals, text = setting.partition("=")
    if not equals:
        raise UsageError(f"{option} {printable(setting)}: expected {expected}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(f"{option} {printable(name)}: the value is not valid UTF-8")
    return name.strip(), text


def _values(text: str, where: str, read: Callable[[str], Any]) -> list[Any]:
    """Return the values of a list: a JSON array, the lines of `@FILE`, or values between commas."""
    if text.startswith("@"):
        return [read(value) for value in _lines_of(text[1:], where)]
    if text.lstrip().startswith("["):
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
        else:
            if lost := losses(text.encode(), found):
                raise UsageError(f"{where}: {lost[0][1]}")
            return list(found)
    import csv

    try:
        rows = list(csv.reader([text], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise UsageError(
            f"{where}: {error}; put a value with a comma in double quotes, and write a quote twice"
        ) from None
    values = [value.strip() for row in rows for value in row]
    if not values or not all(values):
        raise UsageError(f"{where}: a value is empty")
    return [read(value) for value in values]


def _lines_of(name: str, where: str) -> list[str]:
    """Return the lines of a file, without blank ones and comments. Raises UsageError."""
    try:
        text = Path(name).read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{where}: {name} cannot be read: {getattr(error, 'strerror', None) or 'not valid UTF-8'}"
        ) from error
    found = [line.strip() for line in text.splitlines()]
    found = [line for line in found if line and not is_comment(line)]
    if not found:
        raise UsageError(f"{where}: {name} holds no values")
    return found


def is_comment(line: str) -> bool:
    """Return whether a line of text is a comment: a `#` and a space, or a `#` alone."""
    return line == "#" or line.startswith(("# ", "#\t"))
