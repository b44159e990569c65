"""`venice-batch sets`: the prompt sets that `--from` knows, the user's own included."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from venice_batch.cli import column_options, options, settings
from venice_batch.cli.commands import command
from venice_batch.cli.text import json_line, table, terminal_width
from venice_batch.errors import one_line

if TYPE_CHECKING:
    from venice_batch.jobfile.sets import PromptSet


@command()
@click.argument("name", required=False, shell_complete=column_options.complete_sets)
@options.prints_json("one JSON array, or one object for NAME,")
def sets(name: str | None, as_json: bool) -> int:
    """List the published prompt sets that --from reads; or everything known about NAME.

    A table [from.NAME] in a settings file adds a set, or replaces one.
    """
    from venice_batch.jobfile.sets import named, packaged

    own = settings.of_command().sets
    if name is not None:
        found = named(name, own)
        click.echo(json_line(_as_json(found)) if as_json else _details(found))
        return 0
    known = list({**packaged(), **own}.values())
    if as_json:
        click.echo(json_line([_as_json(one) for one in known]))
        return 0
    header = ("set", "prompts", "title", "layout", *(("from",) if own else ()))
    rows = [_row(one, with_origin=bool(own)) for one in known]
    click.echo(table(header, rows, width=terminal_width(sys.stdout), right=("prompts",)))
    return 0


def _row(one: PromptSet, *, with_origin: bool) -> tuple[Any, ...]:
    row = (one.name, one.prompts, one_line(one.title) or None, one_line(one.layout) or None)
    return (*row, one_line(one.origin) or None) if with_origin else row


def _details(one: PromptSet) -> str:
    """Return everything known about a set, a line for each part."""
    width = max(map(len, one.columns), default=0)
    mapped = [f"{field:<{width}} = {' or '.join(names)}" for field, names in one.columns.items()]
    given = [f"{field} = {value}" for field, value in one.values.items()]
    lines = [
        ("set", f"{one.name}: {one.title}" if one.title else one.name),
        ("prompts", f"{one.prompts:,}" if one.prompts is not None else ""),
        ("source", one.url),
        ("licence", one.licence),
        ("file", one.file),
        *(("" if number else "map", text) for number, text in enumerate(mapped)),
        ("unknown", "other columns become metadata" if one.unknown == "metadata" else ""),
        *(("" if number else "gives", text) for number, text in enumerate(given)),
        ("layout", one.layout),
        ("notes", one.notes),
        ("from", one.origin),
    ]
    shown = [(label, text) for label, text in lines if text]
    broad = max(len(label) for label, _ in shown)
    return "\n".join(one_line(f"{label:<{broad}}  {text}") for label, text in shown)


def _as_json(one: PromptSet) -> dict[str, Any]:
    return {
        "name": one.name,
        "title": one.title or None,
        "url": one.url or None,
        "licence": one.licence or None,
        "file": one.file or None,
        "prompts": one.prompts,
        "map": {field: list(names) for field, names in one.columns.items()},
        "unknown": one.unknown or "error",
        "set": dict(one.values),
        "layout": one.layout or None,
        "notes": one.notes or None,
        "from": one.origin or None,
    }
