"""Prompt sets: named maps for files as somebody has published them; the packaged ones are in `sets.toml`."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from venice_batch.errors import UsageError
from venice_batch.jobfile.defaults import complaint
from venice_batch.jobfile.mapping import FieldMap, Mapped, Need, entry, target_fault
from venice_batch.jobfile.request_check import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from venice_batch.jobfile.mapping import Unknown

PACKAGED = Path(__file__).with_name("sets.toml")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_TEXTS = ("title", "url", "licence", "file", "layout", "notes")
_KEYS = (*_TEXTS, "prompts", "map", "unknown", "set")
_PICTURES = ("image", "images", "image_url")
"""Fields that may name files: no set can give them, nor make them of several columns."""

_MOST_TEXT = 2000


@dataclass(frozen=True, slots=True)
class PromptSet:
    """A published set: where it comes from, and how its files become jobs.

    `file` says what the files are called, `prompts` how many there are, `layout` which `--layout` its scorer reads. A
    file that has all columns of `signs`, which packaged sets have, is probably one of the set's. `columns` lists for
    each field the columns that it may come from. `values` are fields for jobs that lack them. `origin` is the settings
    file that has the set; "" for a packaged one.
    """

    name: str
    title: str = ""
    url: str = ""
    licence: str = ""
    file: str = ""
    prompts: int | None = None
    signs: tuple[str, ...] = ()
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unknown: Unknown | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    layout: str = ""
    notes: str = ""
    origin: str = ""

    @property
    def entries(self) -> tuple[Mapped, ...]:
        """The map's entries; the file need not have their columns, except one for the prompt."""
        origin = f"--from {self.name}"
        return tuple(
            entry(name, columns, origin, need=Need.INSTEAD if name == "prompt" else Need.NEVER)
            for name, columns in self.columns.items()
        )


@cache
def packaged() -> Mapping[str, PromptSet]:
    """Return the sets of this version by their names."""
    import tomllib

    tables = tomllib.loads(PACKAGED.read_text(encoding="utf-8"))
    return {name: prompt_set(name, table) for name, table in tables.items()}


def prompt_set(name: str, table: object, origin: str = "") -> PromptSet:
    """Return the set that a table of TOML describes. It can hold data only: no command, and no path that is opened.

    Raises:
        UsageError: the table has a wrong key or value; the message begins with the key.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{printable(name)}: a set's name has small letters, digits, dots, dashes and underscores")
    if not isinstance(table, dict):
        raise UsageError(f"{name}: expected a table, as in [from.{name}]")
    known = _KEYS if origin else (*_KEYS, "signs")
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the known ones are {', '.join(known)}"
            raise UsageError(f"{name}.{printable(key)}: no such key; {hint}")
    prompts = table.get("prompts")
    if prompts is not None and (type(prompts) is not int or prompts < 0):
        raise UsageError(f"{name}.prompts: expected a number of prompts")
    signs = table.get("signs", [])
    if not isinstance(signs, list) or not all(isinstance(sign, str) for sign in signs):
        raise UsageError(f"{name}.signs: expected a list of columns")
    unknown = table.get("unknown")
    if unknown not in (None, "error", "metadata"):
        raise UsageError(f"{name}.unknown: expected 'error' or 'metadata'")
    texts = {key: _text(f"{name}.{key}", table.get(key, "")) for key in _TEXTS}
    columns = _columns(f"{name}.map", table.get("map", {}))
    values = _values(f"{name}.set", table.get("set", {}))
    given: dict[str, Any] = {"columns": columns, "unknown": unknown, "values": values, "origin": origin, **texts}
    return PromptSet(name, prompts=prompts, signs=tuple(signs), **given)


def named(name: str, own: Mapping[str, PromptSet]) -> PromptSet:
    """Return the set `name`, one of the user's `own` or else a packaged one. Raises UsageError if there is none."""
    known = {**packaged(), **own}
    if name not in known:
        close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"--from {printable(name)}: no such prompt set; {hint}`venice-batch sets` lists them")
    return known[name]


def recognised(columns: Collection[str]) -> PromptSet | None:
    """Return the packaged set whose signs are all among a file's columns; None if there is none."""
    return next((one for one in packaged().values() if one.signs and set(one.signs) <= set(columns)), None)


def field_map(
    asked: Iterable[Mapped], remembered: Iterable[Mapped], chosen: PromptSet | None, unknown: Unknown | None
) -> FieldMap:
    """Return the map of everything that was given: `asked` by options, `remembered` in settings files, and by a set.

    For one field they count in this order, those of settings files and sets only if the file has their columns.
    """
    first = tuple(asked)
    taken = {one.field for one in first}
    rest = (*remembered, *(chosen.entries if chosen is not None else ()))
    settled = unknown or (chosen.unknown if chosen is not None else None) or "error"
    entries = (*first, *(one for one in rest if one.field not in taken))
    return FieldMap(entries, settled, has_suspects=chosen is None)


def columns_fault(name: str, value: object) -> str:
    """Return why a settings file cannot map the field `name` to `value`; "" if it can."""
    if what := target_fault(name):
        return what
    given = value if isinstance(value, list) else [value]
    if not given or not all(isinstance(column, str) and column.strip() for column in given):
        return "expected the name of a column, or a list of names"
    if name in _PICTURES and any("{" in str(column) for column in given):
        return "a picture is one column, without other text"  # a stranger's text could lead to any file
    return ""


def _columns(place: str, found: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(found, dict):
        raise UsageError(f'{place}: expected a table, as in map = {{ prompt = "Caption" }}')
    for name, value in found.items():
        if what := columns_fault(name, value):
            raise UsageError(f"{place}.{printable(name)}: {what}")
    return {name: tuple(value) if isinstance(value, list) else (value,) for name, value in found.items()}


def _values(place: str, found: object) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise UsageError(f"{place}: expected a table, as in set = {{ width = 768, height = 768 }}")
    import msgspec

    values: dict[str, Any] = msgspec.to_builtins(found)  # TOML's dates as text
    for name, value in values.items():
        if name in _PICTURES:
            raise UsageError(f"{place}.{name}: a set names no pictures; name them in the jobs")
        if wrong := complaint(name, value):
            raise UsageError(f"{place}.{wrong[0]}: {wrong[1]}")
    return values


def _text(place: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > _MOST_TEXT:
        raise UsageError(f"{place}: expected a text of at most {_MOST_TEXT:,} characters")
    return value
